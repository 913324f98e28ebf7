"""Two servers, a Redis and an HAProxy on loopback: one server is killed, and every conversation goes on with exactly
the next token."""
import json
import os
import shutil
import socket
import subprocess
import threading
import time

import pytest
from serve_program import Server, wait_for

openai = pytest.importorskip("openai")

OPTIONS = ("--window", "100", "--lease", "2")
N_CONVERSATIONS = 6
N_TURNS = 12


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answers(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    path = shutil.which("redis-server") or shutil.which("valkey-server")
    if path is None:
        pytest.skip("neither redis-server nor valkey-server is there")
    port = free_port()
    process = subprocess.Popen([path, "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                                "--dir", str(tmp_path_factory.mktemp("redis"))],
                               stdout=subprocess.DEVNULL)
    wait_for(lambda: answers(port))
    yield f"redis://127.0.0.1:{port}"
    process.kill()
    process.wait()


class Balancer:
    def __init__(self, a, b):
        path = shutil.which("haproxy") or "/usr/sbin/haproxy"
        if not os.path.exists(path):
            pytest.skip("haproxy is not there")
        self.port = free_port()
        self.process = subprocess.Popen(
            [path, "-q", "-f", "packaging/cluster/haproxy.cfg"],
            env={**os.environ, "FRONT": f"127.0.0.1:{self.port}", "A": f"127.0.0.1:{a.port}",
                 "B": f"127.0.0.1:{b.port}"})
        wait_for(lambda: answers(self.port))

    def client(self):
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none",
                             timeout=120, max_retries=10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def begun(client):
    conversation = client.conversations.create(
        items=[{"type": "message", "role": "system", "content": "Tell a tale."}])
    client.conversations.items.create(
        conversation.id, items=[{"type": "message", "role": "user",
                                 "content": "The wind was rising over the moor. " * 8}])
    return conversation.id


def ask(client, conversation, turn):
    return client.responses.create(model="m", conversation=conversation, input=f"Go on, {turn}.",
                                   max_output_tokens=20, extra_body={"seed": 11})


@pytest.fixture(scope="module")
def wanted():
    """The answers of a conversation that nobody interrupts."""
    with Server(*OPTIONS[:2]) as server:
        client = server.client()
        conversation = begun(client)
        return [ask(client, conversation, turn).output_text for turn in range(N_TURNS)]


def position(client, conversation):
    return client.get(f"/conversations/{conversation}", cast_to=dict)["runnel"]["position"]


def test_a_server_is_killed_under_load_and_every_conversation_goes_on(redis, wanted):
    with Server(*OPTIONS, "--cluster", redis) as a, Server(*OPTIONS, "--cluster", redis) as b, \
            Balancer(a, b) as balancer:
        conversations = [begun(balancer.client()) for _ in range(N_CONVERSATIONS)]
        held = [float(one.metrics()["runnel_streams"]) for one in (a, b)]
        assert sum(held) == N_CONVERSATIONS
        texts = {one: [] for one in conversations}
        failures = []

        def work(conversation):
            try:
                client = balancer.client()
                for turn in range(N_TURNS):
                    texts[conversation].append(ask(client, conversation, turn).output_text)
            except Exception as error:  # told by the test
                failures.append(error)
        threads = [threading.Thread(target=work, args=(one,)) for one in conversations]
        for thread in threads:
            thread.start()
        wait_for(lambda: sum(map(len, texts.values())) >= 2 * N_CONVERSATIONS)
        killed, left = (a, b) if held[0] >= held[1] else (b, a)
        killed.kill()
        for thread in threads:
            thread.join()
        assert not failures
        assert list(texts.values()) == [wanted] * N_CONVERSATIONS
        assert float(left.metrics()["runnel_streams"]) == N_CONVERSATIONS


def test_a_streamed_answer_is_finished_by_the_other_server(redis):
    def create(client, conversation):
        return client.responses.create(model="m", conversation=conversation, input="Go on.",
                                       max_output_tokens=300, stream=True, extra_body={"seed": 3})
    with Server(*OPTIONS, "--cluster", redis) as a, Server(*OPTIONS, "--cluster", redis) as b:
        client = b.client()
        whole = list(create(client, begun(client)))
        client = a.client()
        stream = create(client, begun(client))
        seen = [event for _, event in zip(range(80), stream)]
        a.kill()
        other = b.client(max_retries=10)
        rest = list(other.responses.retrieve(seen[0].response.id, stream=True,
                                             starting_after=seen[-1].sequence_number))
        assert [e.sequence_number for e in seen + rest] == list(range(len(seen + rest)))
        assert rest[-1].response.output_text == whole[-1].response.output_text
        assert rest[-1].response.usage == whole[-1].response.usage


def test_a_stream_goes_to_whoever_asks_and_an_owner_of_before_can_write_nothing(redis, wanted):
    with Server(*OPTIONS, "--cluster", redis) as a, Server(*OPTIONS, "--cluster", redis) as b:
        one, other = a.client(max_retries=5), b.client(max_retries=5)
        conversation = begun(one)
        texts = [ask(client, conversation, turn).output_text
                 for turn, client in enumerate([one, other, one])]
        assert texts == wanted[:3]
        # Stopped for longer than its lease, and not killed: what it had is another's now.
        os.kill(a.process.pid, 19)
        texts.append(ask(other, conversation, 3).output_text)
        os.kill(a.process.pid, 18)
        wait_for(lambda: a.metrics()["runnel_streams"] == "0", 20)
        texts.append(ask(other, conversation, 4).output_text)
        texts.append(ask(one, conversation, 5).output_text)
        assert texts == wanted[:6]


def test_a_stopped_server_leaves_everything_to_the_others_at_once(redis, wanted):
    with Server(*OPTIONS[:2], "--lease", "600", "--cluster", redis) as b:
        with Server(*OPTIONS[:2], "--lease", "600", "--cluster", redis) as a:
            conversation = begun(a.client())
            assert ask(a.client(), conversation, 0).output_text == wanted[0]
            assert a.stop() == 0
        begin = time.monotonic()
        assert ask(b.client(), conversation, 1).output_text == wanted[1]
        assert time.monotonic() - begin < 20
        client = b.client()
        assert len(client.conversations.items.list(conversation).data) == 6
        client.conversations.delete(conversation)
        with pytest.raises(openai.NotFoundError):
            ask(client, conversation, 2)


def test_an_endless_answer_goes_on_where_somebody_asks_for_it(redis):
    request = dict(model="m", input="For ever.", background=True, extra_body={"seed": 4, "ignore_eos": True})
    with Server(*OPTIONS, "--cluster", redis) as a, Server(*OPTIONS, "--cluster", redis) as b:
        one, other = a.client(), b.client(max_retries=5)
        wanted = one.responses.create(**{**request, "background": False}, max_output_tokens=3000).output_text
        response = one.responses.create(**request)
        begin = time.monotonic()
        text, events = "", other.responses.retrieve(response.id, stream=True, starting_after=0)
        for event in events:
            text += event.delta if event.type == "response.output_text.delta" else ""
            if len(text) > 500 and b.metrics()["runnel_answers"] == "1":
                break
        assert time.monotonic() - begin < 25
        events.close()
        assert wanted.startswith(text[:len(wanted)]) and text
        wait_for(lambda: a.metrics()["runnel_answers"] == "0")
        assert other.responses.cancel(response.id).status == "cancelled"


def ids_of(client, **query):
    return [one["id"] for one in client.get("/conversations", cast_to=dict, options={"params": query})["data"]]


def test_the_list_of_conversations_is_that_of_all_servers(redis):
    with Server(*OPTIONS, "--cluster", redis) as a, Server(*OPTIONS, "--cluster", redis) as b:
        clients = [a.client(max_retries=5), b.client(max_retries=5)]
        made = [clients[i % 2].conversations.create(metadata={"n": str(i)}).id for i in range(7)][::-1]
        for client in clients:
            listed = ids_of(client, limit=100)
            assert [one for one in listed if one in made] == made
            assert ids_of(client, limit=3) == made[:3]
            assert ids_of(client, limit=3, after=made[2]) == made[3:6]
            assert ids_of(client, limit=3, after=made[4], order="asc") == made[3:0:-1]
        clients[1].conversations.delete(made[0])
        assert ids_of(clients[0], limit=2) == made[1:3]


def test_responses_over_a_websocket_through_the_balancer(redis, wanted):
    pytest.importorskip("websockets")
    with Server(*OPTIONS, "--cluster", redis) as a, Server(*OPTIONS, "--cluster", redis) as b, \
            Balancer(a, b) as balancer:
        client = balancer.client()
        texts = []
        for _ in range(3):  # each connection goes to any of the servers, and the stream comes to it
            conversation = begun(client)
            with client.responses.connect() as connection:
                connection.send({"type": "response.create", "model": "m", "conversation": conversation,
                                 "input": "Go on, 0.", "max_output_tokens": 20, "seed": 11})
                while True:
                    event = json.loads(connection.recv_bytes())
                    if event["type"] in ("response.completed", "response.incomplete"):
                        break
                    assert event["type"] != "error", event
            texts.append(event["response"]["output"][0]["content"][0]["text"])
            assert ask(client, conversation, 1).output_text == wanted[1]
        assert texts == [wanted[0]] * 3


def test_an_address_that_is_none_is_refused():
    from serve_program import MODEL, program
    for url in ("http://127.0.0.1", "redis://", "redis://127.0.0.1:1"):
        done = subprocess.run([program(), "serve", MODEL, "--port", "0", "--cluster", url],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "redis" in done.stderr, json.dumps(done.stderr)
