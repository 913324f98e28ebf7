"""For whoever runs the server: what it tells of itself, its limits, and clients that mean no good."""
import http.client
import json
import os
import re
import resource
import selectors
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest
from serve_program import Server, wait_for

N_CONNECTIONS = 10000


@pytest.fixture(scope="module")
def server():
    with Server("--window", "100", "--max-connections", str(N_CONNECTIONS + 2000)) as one:
        yield one


def post(server, path, body, timeout=60):
    """Status and text of the answer; `body` is bytes, or becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data,
                                     {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def is_well(server):
    return post(server, "/v1/completions", {"prompt": "Once", "max_tokens": 3})[0] == 200


def test_metrics_are_text_that_prometheus_reads(server):
    assert is_well(server)
    text = server.get("/metrics")
    kinds, helped, values = {}, set(), {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            kinds[name] = kind
        elif line.startswith("# HELP "):
            helped.add(line.split(" ")[2])
        else:
            found = re.fullmatch(r'([a-z_:][a-z0-9_:]*)(\{[a-z_]+="[^"\\\n]*"\})? (\S+)', line)
            assert found, line
            assert line.rsplit(" ", 1)[0] not in values
            values[line.rsplit(" ", 1)[0]] = float(found.group(3))
            name = found.group(1)
            base = re.sub("_(bucket|sum|count)$", "", name)
            kind = kinds.get(name) or kinds.get(base)
            assert kind == ("histogram" if name not in kinds else kinds[name]), line
            assert not name.endswith("_total") or kind == "counter"
    assert helped == set(kinds)
    assert text.endswith("\n")
    for name in ("first_token_seconds", "token_seconds"):
        buckets = [v for k, v in values.items() if k.startswith(f"runnel_{name}_bucket")]
        assert buckets == sorted(buckets)
        assert buckets[-1] == values[f"runnel_{name}_count"] > 0
    assert values["runnel_tokens_written_total"] >= 3
    assert values["runnel_resident_memory_bytes"] > 2**20


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/responses",
                                  "/v1/conversations"])
@pytest.mark.parametrize("body", [
    b"{", b"null", b"[]", b"\xff\xfe", b'{"prompt": "\xed\xa0\x80", "input": "\xc3"}',
    b'{"a":' * 500 + b"1" + b"}" * 500, b'{"temperature": "hot", "prompt": 1, "input": 7}',
    b'{"max_tokens": -1, "max_output_tokens": -1, "items": 1, "messages": "x"}',
    b'{"max_tokens": 1e400}', b'{"messages": [[]], "input": [[]], "items": [[]], "prompt": [[]]}',
    b'{"messages": [{"role": 1}], "input": [{"role": 1}], "items": [{"type": 2}]}',
    b'{"stream": "yes", "prompt": null, "input": null, "metadata": 3}',
    b'{"model": {}, "stop": {"a": 1}, "logit_bias": [], "seed": "x"}'], ids=range(13))
def test_nonsense_is_refused(server, path, body):
    status, text = post(server, path, body)
    if status == 200:  # none of the fields that are nonsense there is known here
        assert path in ("/v1/conversations", "/v1/completions"), (body, text)
    else:
        assert status == 400 and json.loads(text)["error"]["message"], (status, text)


def sockets_to(server, n, first_bytes):
    """So many connections, on each of which this was sent."""
    selector = selectors.DefaultSelector()
    made = []
    for i in range(n):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", server.port))
        made.append(one)
        selector.register(one, selectors.EVENT_WRITE)
        if len(selector.get_map()) >= 500 or i == n - 1:
            end = time.monotonic() + 30
            while selector.get_map() and time.monotonic() < end:
                for key, _ in selector.select(1):
                    selector.unregister(key.fileobj)
                    if first_bytes:
                        key.fileobj.send(first_bytes)
            assert not selector.get_map(), "connections did not come about"
    return made


def test_ten_thousand_connections_leave_the_server_answering(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < N_CONNECTIONS + 1000:
        pytest.skip(f"this system lets a process have {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    made = []
    try:
        made += sockets_to(server, N_CONNECTIONS // 2, b"")  # silent
        made += sockets_to(server, N_CONNECTIONS // 4,       # a request that never ends
                           b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
        half = sockets_to(server, N_CONNECTIONS // 4, b"GET /hea")  # and nothing more will come
        for one in half:
            one.shutdown(socket.SHUT_WR)
        made += half
        wait_for(lambda: float(server.metrics()["runnel_http_connections_total"]) > N_CONNECTIONS)
        assert float(server.metrics()["runnel_http_connections_open"]) > N_CONNECTIONS // 2
        begin = time.monotonic()
        assert is_well(server)
        assert time.monotonic() - begin < 30
    finally:
        for one in made:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_for(lambda: float(server.metrics()["runnel_http_connections_open"]) < 100)
    assert is_well(server)


def test_web_sockets_count_as_connections():
    websockets = pytest.importorskip("websockets.sync.client")
    with Server("--max-connections", "3") as server:
        url = server.url.replace("http", "ws") + "/v1/responses"

        def comes_in():
            try:
                with websockets.connect(url, open_timeout=5):
                    return True
            except Exception:  # of several kinds, as the connection ends at once
                return False
        with websockets.connect(url), websockets.connect(url), websockets.connect(url):
            assert not comes_in()
        wait_for(comes_in, 20)


def test_it_is_not_ready_while_it_stops(tmp_path):
    """Whoever asks meanwhile is told, and health stays what it is."""
    with Server("--window", "100", state=tmp_path) as server:
        assert json.loads(server.get("/ready"))["status"] == "ok"
        client = server.client()
        for _ in range(30):
            client.conversations.create(items=[{"type": "message", "role": "user",
                                                "content": "The wind was rising. " * 20}])
        seen = set()

        def ask():
            try:
                while True:
                    seen.add(post(server, "/v1/completions", {"prompt": "x", "max_tokens": 1})[0])
            except OSError:
                pass
        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.3)
        assert server.stop() == 0
        thread.join()
        assert 200 in seen and seen <= {200, 503, 500}
        assert len(os.listdir(tmp_path / "streams")) == 30


def test_options_come_from_a_file_and_the_command_line_has_the_last_word(tmp_path):
    config = tmp_path / "runnel.toml"
    config.write_text('window = 77\nmodel-id = "from-file"\nmax-body = 1\nlog-format = "json"\n')
    with Server("--config", str(config), "--model-id", "from-line") as server:
        model = json.loads(server.get("/v1/models"))["data"][0]
        assert model["id"] == "from-line"
        assert '"window":77' in server.get("/v1/models").replace(" ", "")
        assert json.loads(server.lines[-1])["level"] == "info"
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.putrequest("POST", "/tokenize")
        connection.putheader("Content-Length", str(2 << 20))
        connection.endheaders()  # refused for what it says, before any of it is sent
        assert connection.getresponse().status == 413
