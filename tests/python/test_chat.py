"""Dialogues in OpenAI's dicts."""

import json

import pytest

runnel = pytest.importorskip("runnel", reason="the Python module is not built")

SYSTEM = {"role": "system", "content": "You tell stories."}
USER = {"role": "user", "content": "Who goes there?"}
OPTIONS = dict(template="zephyr", max_tokens=20, seed=3, window=120)


def test_an_answer_is_a_completion(m):
    found = m.chat([SYSTEM, USER], **OPTIONS)
    assert found["object"] == "chat.completion" and found["id"].startswith("chatcmpl-")
    (choice,) = found["choices"]
    assert choice["message"]["role"] == "assistant" and choice["message"]["content"]
    assert choice["finish_reason"] in ("length", "stop")
    usage = found["usage"]
    assert 0 < usage["completion_tokens"] <= 20
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_pieces_add_up_to_the_answer(m):
    whole = m.chat([SYSTEM, USER], **OPTIONS)["choices"][0]["message"]["content"]
    m.forget()
    chunks = list(m.chat([SYSTEM, USER], stream=True, **OPTIONS))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant"}
    assert chunks[-1]["choices"][0]["finish_reason"] in ("length", "stop")
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == whole


def test_a_dialogue_that_goes_on_feeds_what_is_new(m):
    messages = [SYSTEM, USER]
    first = m.chat(messages, **OPTIONS)
    messages += [first["choices"][0]["message"], {"role": "user", "content": "And then?"}]
    second = m.chat(messages, **OPTIONS)
    assert second["usage"]["prompt_tokens"] < first["usage"]["prompt_tokens"]
    m.forget()
    assert m.chat(messages, **OPTIONS)["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]


def test_an_answer_ends_at_a_stop(m):
    whole = m.chat([USER], **OPTIONS)["choices"][0]["message"]["content"]
    stop = whole.strip()[2:5]
    m.forget()
    cut = m.chat([USER], stop=[stop], **OPTIONS)["choices"][0]
    assert cut["finish_reason"] == "stop" and cut["message"]["content"] == whole[:whole.index(stop)]


def test_messages_that_are_none_are_named(m):
    with pytest.raises(runnel.Error, match="want a dict with a role"):
        m.chat(["hello"], **OPTIONS)
    with pytest.raises(runnel.Error, match="type 'image_url'"):
        m.chat([{"role": "user", "content": [{"type": "image_url"}]}], **OPTIONS)
    with pytest.raises(runnel.Error):
        m.chat([USER], template="nonsense")


TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"]}}}]


@pytest.fixture(scope="module")
def tools_model(tmp_path_factory):
    pytest.importorskip("gguf")
    import templated_model
    return runnel.Model(templated_model.chatml(tmp_path_factory.mktemp("models") / "chatml.gguf"), threads=1)


def test_calls_of_tools_are_taken_out_of_the_text(tools_model):
    asked = dict(tools=TOOLS, tool_choice="required", max_tokens=120, seed=1)
    (choice,) = tools_model.chat([USER], **asked)["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] == ""
    assert call["type"] == "function" and call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"])["city"] in ("Rome", "Oslo")
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    after = tools_model.chat([USER, choice["message"], result], tools=TOOLS, tool_choice="none", max_tokens=5, seed=1)
    assert after["choices"][0]["message"]["content"]
    tools_model.forget()
    pieces = ""
    for chunk in tools_model.chat([USER], stream=True, **asked):
        for part in chunk["choices"][0]["delta"].get("tool_calls", ()):
            assert "id" not in part or part["function"]["name"] == "weather"
            pieces += part["function"]["arguments"]
    assert pieces == call["function"]["arguments"]


def test_an_answer_is_json_where_that_is_asked_for(tools_model):
    schema = {"type": "object", "properties": {"dark": {"type": "boolean"}}, "required": ["dark"]}
    form = {"type": "json_schema", "json_schema": {"name": "night", "schema": schema}}
    (choice,) = tools_model.chat([USER], response_format=form, max_tokens=80)["choices"]
    assert isinstance(json.loads(choice["message"]["content"])["dark"], bool) and choice["finish_reason"] == "stop"
    for wrong in (dict(response_format={"type": "xml"}), dict(tools=TOOLS, tool_choice="some"), dict(messages=[])):
        with pytest.raises(runnel.Error, match="want"):
            tools_model.chat(**{"messages": [USER], "max_tokens": 3, **wrong})
