#!/usr/bin/env python3
"""The server under the load of many clients for minutes: tokens a second, how long clients wait, and whether memory stays.

  python3 bench/serve.py build/runnel models/novella-7m-q8_0.gguf --minutes 10
  python3 bench/serve.py build/runnel MODEL --peer path/to/llama-server

Each client has a conversation of its own. It feeds it, or lets it write, by turns, far past the window. Beside it, where
a path is given, llama.cpp's server: its clients bring their last messages with every request, since it keeps no
conversation and refuses what is longer than its context.
"""
import argparse
import http.client
import json
import random
import re
import socket
import subprocess
import sys
import threading
import time

WORDS = ("the wind was rising over moor and an old man sat by fire listening to rain that fell on roof of house "
         "while his daughter read from a book about ships which had gone to north many years before").split()


def text(rng, n_words):
    return " ".join(rng.choice(WORDS) for _ in range(n_words)).capitalize() + "."


class Measures:
    def __init__(self):
        self.lock = threading.Lock()
        self.first, self.gaps, self.feeds = [], [], []  # seconds
        self.written = self.failed = 0

    def add(self, **lists):
        with self.lock:
            for name, values in lists.items():
                getattr(self, name).extend(values)


def post(port, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {answer.read()[:200]}")
    return answer


def take_stream(answer, measures, begin):
    """Of server-sent events: when each piece of text came."""
    last, gaps, first = begin, [], []
    for line in answer:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        is_text = event.get("type") == "response.output_text.delta" or any(
            choice.get("delta", {}).get("content") for choice in event.get("choices", []))
        if not is_text:
            continue
        now = time.monotonic()
        (gaps if first else first).append(now - last)
        last = now
    measures.add(first=first, gaps=gaps)


def stream_client(port, options, measures, end, seed):
    rng = random.Random(seed)
    conversation = json.load(post(port, "/v1/conversations", {"items": [
        {"type": "message", "role": "system", "content": "Tell a tale."}]}))["id"]
    while time.monotonic() < end:
        if rng.random() < 0.5:
            begin = time.monotonic()
            post(port, f"/v1/conversations/{conversation}/items", {"items": [
                {"type": "message", "role": "user", "content": text(rng, options.feed)}]}).read()
            measures.add(feeds=[time.monotonic() - begin])
        else:
            begin = time.monotonic()
            take_stream(post(port, "/v1/responses", {
                "conversation": conversation, "input": text(rng, 8), "stream": True, "ignore_eos": True,
                "max_output_tokens": options.write}), measures, begin)


def history_client(port, options, measures, end, seed):
    rng = random.Random(seed)
    messages = []
    while time.monotonic() < end:
        messages = messages[-2:] + [{"role": "user", "content": text(rng, options.feed if rng.random() < 0.5 else 8)}]
        begin = time.monotonic()
        take_stream(post(port, "/v1/chat/completions", {
            "messages": messages, "stream": True, "max_tokens": options.write, "ignore_eos": True}), measures, begin)


def resident_mib(pid):
    for line in open(f"/proc/{pid}/status", encoding="ascii"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0


def metrics(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[:1] != "#")}


def run(name, process, port, client, options):
    measures = Measures()
    begin = time.monotonic()
    end = begin + 60 * options.minutes

    def work(seed):
        try:
            client(port, options, measures, end, seed)
        except Exception as error:  # told at the end
            measures.failed += 1
            print(f"{name}: a client failed: {error}", file=sys.stderr)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(options.clients)]
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        time.sleep(min(1, 6 * options.minutes))
        if process.poll() is not None:
            sys.exit(f"{name}: the server ended")
        memory.append(resident_mib(process.pid))
    seconds = time.monotonic() - begin
    written = len(measures.first) + len(measures.gaps)
    print(f"\n{name}: {options.clients} clients, {seconds:.0f} s, {measures.failed} failed")
    print(f"  pieces of text written: {written}, {written / seconds:.0f} a second")
    for what, values in (("first piece", measures.first), ("between pieces", measures.gaps),
                         ("a feed", measures.feeds)):
        if values:
            values.sort()
            shares = [1000 * values[min(len(values) - 1, int(q * len(values)))] for q in (0.5, 0.9, 0.99, 1)]
            print("  {:<15} ms: p50 {:.0f}, p90 {:.0f}, p99 {:.0f}, longest {:.0f}  ({})".format(
                what, *shares, len(values)))
    tenth = max(1, len(memory) // 10)
    marks = [memory[min(len(memory) - 1, i)] for i in (tenth, len(memory) // 2, len(memory) - 1)]
    print("  resident MiB after a tenth, a half, all: {:.1f}, {:.1f}, {:.1f}".format(*marks))
    return measures.failed


def serve_runnel(options):
    command = [options.program, "serve", options.model, "--port", "0", "--threads", str(options.threads),
               *options.option]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if found := re.search(r"http://[^ :]+:(\d+)", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, int(found.group(1))
    sys.exit("the server did not start")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def serve_peer(options, port):
    process = subprocess.Popen(
        [options.peer, "-m", options.model, "--host", "127.0.0.1", "--port", str(port), "-t", str(options.threads),
         "-np", str(options.clients), "-c", str(options.clients * options.context)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return process
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit("the peer did not start")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--feed", type=int, default=120, help="words of a feed")
    parser.add_argument("--write", type=int, default=48, help="tokens of an answer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--option", action="append", default=[], help="for runnel serve, as --option=--window=100")
    parser.add_argument("--peer", help="llama.cpp's llama-server")
    parser.add_argument("--peer-port", type=int, default=0, help="default: any that is free")
    parser.add_argument("--context", type=int, default=512, help="of each of the peer's slots, in tokens")
    options = parser.parse_args()

    process, port = serve_runnel(options)
    try:
        failed = run("runnel", process, port, stream_client, options)
        values = metrics(port)
        for name in ("runnel_tokens_read_total", "runnel_tokens_written_total", "runnel_tokens_evicted_total",
                     "runnel_streams", "runnel_stream_bytes", "runnel_store_bytes", "runnel_longest_step_seconds"):
            print(f"  {name} {values[name]:.6g}")
    finally:
        process.terminate()
        process.wait()
    if options.peer:
        port = options.peer_port or free_port()
        process = serve_peer(options, port)
        try:
            failed += run("peer", process, port, history_client, options)
        finally:
            process.terminate()
            process.wait()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
