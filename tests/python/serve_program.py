"""Starts and stops `runnel serve` for tests."""
import os
import re
import signal
import subprocess
import time
import urllib.request

import pytest

MODEL = "models/novella-7m-q8_0.gguf"


def program():
    path = os.environ.get("RUNNEL")
    if not path or not os.path.exists(path):
        pytest.skip("the built program is not named: RUNNEL")
    return path


class Server:
    """A server with the bundled model on a port that is free."""

    def __init__(self, *options, state=None, model=MODEL):
        command = [program(), "serve", model, "--port", "0", "--threads", "2", *options]
        if state is not None:
            command += ["--state", str(state)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.port = self._port()
        self.url = f"http://127.0.0.1:{self.port}"

    def _port(self):
        for line in self.process.stderr:
            self.lines.append(line)
            found = re.search(r"https?://[^ :]+:(\d+)", line)
            if found:
                return int(found.group(1))
        raise AssertionError(f"the server ended: {self.lines}")

    def client(self, **options):
        openai = pytest.importorskip("openai")
        return openai.OpenAI(base_url=self.url + "/v1", api_key="none", timeout=120,
                             **{"max_retries": 0, **options})

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read().decode()

    def metrics(self):
        """Of /metrics: each name, with its labels, and its value."""
        return dict(line.rsplit(" ", 1) for line in self.get("/metrics").splitlines()
                    if line[:1] != "#")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def stop(self):
        """As systemd does; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        self.lines += self.process.stderr.readlines()
        self.process.stderr.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")
