"""bench/serve.py, for seconds, with a program in the place of llama.cpp's server."""
import re
import subprocess
import sys

from serve_program import MODEL, program

PEER = f"""#!{sys.executable}
import http.server, json, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["messages"][-1]["content"] and asked["stream"]
        self.send_response(200)
        self.end_headers()
        for i in range(asked["max_tokens"]):
            piece = {{"choices": [{{"delta": {{"content": "word "}}}}]}}
            self.wfile.write(b"data: " + json.dumps(piece).encode() + b"\\n\\n")
        self.wfile.write(b"data: [DONE]\\n\\n")

    def log_message(self, *_):
        pass

option = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert option["-m"] and option["-np"] == "3" and option["-c"] == str(3 * 512)
http.server.ThreadingHTTPServer((option["--host"], int(option["--port"])), Handler).serve_forever()
"""


def test_it_measures_both_and_says_so(tmp_path):
    peer = tmp_path / "peer"
    peer.write_text(PEER)
    peer.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "bench/serve.py", program(), MODEL, "--minutes", "0.05", "--clients", "3", "--feed", "20",
         "--write", "8", "--peer", str(peer)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for name in ("runnel", "peer"):
        part = done.stdout[done.stdout.index(f"\n{name}: 3 clients"):]
        assert re.search(r"\d+ s, 0 failed\n  pieces of text written: [1-9]\d*, [1-9]\d* a second\n", part)
        assert re.search(r"first piece +ms: p50 \d+, p90 \d+, p99 \d+, longest \d+", part)
        assert re.search(r"resident MiB after a tenth, a half, all: [1-9]", part)
    assert "a feed" in done.stdout and re.search(r"runnel_tokens_written_total [1-9]", done.stdout)
