"""Connections that are not as usual: half closed, refused while they still send, asked for first; and what the log says
of requests."""
import json
import re
import shutil
import socket
import ssl
import subprocess
import time

import pytest
from serve_program import Server, wait_for


@pytest.fixture(scope="module")
def server():
    with Server("--window", "100", "--max-body", "1") as running:
        yield running


def request_of(path, body, *headers, version="1.1"):
    text = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {len(text)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + text


def all_of(connection):
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def metric(server, name):
    return float(server.metrics()[name])


@pytest.mark.parametrize("body, is_streamed", [
    ({"prompt": "Once", "max_tokens": 40, "seed": 1}, False), ({"prompt": "Once", "max_tokens": 40, "stream": True}, True),
])
def test_a_client_that_has_closed_its_side_gets_its_answer(server, body, is_streamed):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as one:
        one.sendall(request_of("/v1/completions", body))
        one.shutdown(socket.SHUT_WR)
        answer = all_of(one)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (b"data: [DONE]" in answer) == is_streamed
    assert b'"finish_reason":"length"' in answer


@pytest.mark.parametrize("version, before", [("1.0", rb""), ("1.1", rb"(HTTP/1\.1 100 Continue\r\n\r\n)*")])
def test_a_half_closed_client_gets_an_answer_that_takes_long(server, version, before):
    """Nothing comes before it but what a client of HTTP/1.1 passes over, and to one of HTTP/1.0 nothing at all."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as one:
        one.sendall(request_of("/v1/completions", {"prompt": "Once", "max_tokens": 2500, "ignore_eos": True},
                               version=version))
        one.shutdown(socket.SHUT_WR)
        answer = all_of(one)
    assert re.match(before + rb"HTTP/1\.1 200 OK\r\n", answer) and b"100 Continue" not in answer.partition(b"200 OK")[2]
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["usage"]["completion_tokens"] == 2500


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_client_that_leaves_ends_its_answer(server, is_streamed):
    wait_for(lambda: metric(server, "runnel_answers") == 0)
    one = socket.create_connection(("127.0.0.1", server.port))
    one.sendall(request_of("/v1/completions", {"prompt": "On", "max_tokens": 10**9, "ignore_eos": True,
                                               "stream": is_streamed}))
    wait_for(lambda: metric(server, "runnel_answers") == 1)
    one.close()
    wait_for(lambda: metric(server, "runnel_answers") == 0, 10)


def test_a_client_reads_why_it_was_refused_while_it_still_sends(server):
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as one:
            one.sendall(b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 8388608\r\n\r\n")
            for _ in range(8 << 20 >> 16):
                one.sendall(b"x" * (1 << 16))  # no reset
            answer = all_of(one)
        assert answer.startswith(b"HTTP/1.1 413 ") and b"body_too_large" in answer


def test_who_sends_for_ever_is_let_go(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as one:
        one.sendall(b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n")
        begin = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() < begin + 30:
                one.sendall(b"x" * 1000)
                time.sleep(0.01)
    assert time.monotonic() - begin < 20


def test_who_asks_first_is_told_to_go_on_or_refused(server):
    whole = request_of("/tokenize", {"content": "Once upon"}, "Expect: 100-continue")
    head, _, body = whole.partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as one:
        one.sendall(head + b"\r\n\r\n")
        assert one.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.sendall(body)
        assert one.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as one:
        one.sendall(b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 8388608\r\nExpect: 100-continue\r\n\r\n")
        assert one.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_each_request_is_a_line_without_what_it_said(log_format):
    with Server("--window", "64", "--access-log", "--log-format", log_format) as server:
        client = server.client()
        client.completions.create(model="m", prompt="A secret word", max_tokens=2, extra_query={"also": "secret"})
        with pytest.raises(Exception):
            client.models.retrieve("another")
        stream = client.completions.create(model="m", prompt="A secret word", max_tokens=10**6, stream=True)
        next(iter(stream))
        stream.close()
        wait_for(lambda: metric(server, "runnel_answers") == 0)
        assert server.stop() == 0
        lines = [line for line in server.lines if "/v1/" in line]
    assert len(lines) == 3 and "secret" not in "".join(lines)
    if log_format == "json":
        rows = [json.loads(line) for line in lines]
        assert [(row["method"], row["status"]) for row in rows] == [("POST", 200), ("GET", 404), ("POST", 200)]
        assert [row["cut"] for row in rows] == [False, False, True]
        assert rows[0]["path"] == "/v1/completions" and rows[0]["client"] == "127.0.0.1"
        assert rows[0]["milliseconds"] > 0 and rows[0]["bytes"] > 100
    else:
        assert re.search(r"info    127\.0\.0\.1 POST /v1/completions 200 \d+ bytes \d+\.\d ms\n", lines[0])
        assert lines[2].endswith(", cut off\n")


def test_a_web_socket_over_tls(tmp_path):
    websockets = pytest.importorskip("websockets.sync.client")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not there")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/CN=localhost", "-days", "2", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    with Server("--window", "100", "--tls-cert", str(certificate), "--tls-key", str(key)) as one:
        url = f"wss://localhost:{one.port}/v1/responses"
        with websockets.connect(url, ssl=context, max_size=None) as talk:
            # Longer than a record of TLS, there and back.
            talk.send(json.dumps({"type": "response.create", "model": "m", "input": "The wind was rising. " * 5000,
                                  "max_output_tokens": 5}))
            kinds = []
            while not kinds or kinds[-1] != "response.incomplete":
                kinds.append(json.loads(talk.recv(timeout=60))["type"])
            assert kinds[0] == "response.created"
            talk.close()
            assert talk.close_code == 1000
        assert one.stop() == 0
