"""Other clients that people have: Anthropic's, Ollama's, LangChain's, LiteLLM's."""
import hashlib
import json
import os
import urllib.request

import jsonschema
import pytest
import templated_model
from serve_program import Server
from test_serve_tools import FUNCTIONS, PLACE, TOOLS, check_call

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its prices come with it

WINDOW = 100
ASK = [{"role": "user", "content": "Who goes there?"}]
USES = [{"name": name, "description": "", "input_schema": schema} for name, schema in FUNCTIONS.items()]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pytest.importorskip("gguf")
    model = templated_model.chatml(tmp_path_factory.mktemp("models") / "chatml.gguf")
    with Server("--window", str(WINDOW), "--model-id", "novella", model=model) as running:
        yield running


def post(server, path, body):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return [json.loads(line) for line in answer]


@pytest.fixture(scope="module")
def claude(server):
    anthropic = pytest.importorskip("anthropic")
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=120)


def test_messages_streamed_are_messages_whole(claude):
    request = dict(model="m", messages=ASK, max_tokens=20, system="Tell tales.", extra_body={"seed": 3})
    whole = claude.messages.create(**request)
    assert whole.stop_reason in ("max_tokens", "end_turn") and whole.content[0].type == "text"
    with claude.messages.stream(**request) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert final.usage.output_tokens == whole.usage.output_tokens
    counted = claude.messages.count_tokens(model="m", messages=ASK, system="Tell tales.")
    assert counted.input_tokens == whole.usage.input_tokens + whole.usage.cache_read_input_tokens


def test_messages_stop_at_a_sequence(claude):
    request = dict(model="m", messages=ASK, max_tokens=40, extra_body={"seed": 1})
    text = claude.messages.create(**request).content[0].text
    answer = claude.messages.create(**request, stop_sequences=[text[10:14]])
    assert answer.stop_reason == "stop_sequence" and answer.stop_sequence == text[10:14]
    assert answer.content[0].text == text[:text.index(text[10:14])]


def test_messages_go_on_with_what_the_assistant_began(claude):
    begun = ASK + [{"role": "assistant", "content": "It was the old"}]
    answer = claude.messages.create(model="m", messages=begun, max_tokens=5)
    whole = ASK + [{"role": "assistant", "content": "It was the old" + answer.content[0].text}, *ASK]
    after = claude.messages.create(model="m", messages=whole, max_tokens=5)
    assert after.usage.cache_read_input_tokens == answer.usage.input_tokens + answer.usage.output_tokens


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "clock"}])
def test_messages_use_tools(claude, choice):
    request = dict(model="m", messages=ASK, max_tokens=300, tools=USES, tool_choice=choice, extra_body={"seed": 2})
    whole = claude.messages.create(**request)
    assert whole.stop_reason == "tool_use"
    use = whole.content[-1]
    jsonschema.validate(use.input, FUNCTIONS[use.name])
    with claude.messages.stream(**request) as stream:
        final = stream.get_final_message()
    assert final.content[-1].input == use.input and final.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": final.content[-1].id, "content": [{"type": "text", "text": "rain"}]}
    history = ASK + [{"role": "assistant", "content": final.content}, {"role": "user", "content": [result]}]
    after = claude.messages.create(model="m", messages=history, max_tokens=5, tools=USES)
    assert after.usage.cache_read_input_tokens > 0
    assert after.usage.input_tokens < 80


def test_messages_by_a_schema(claude):
    answer = claude.messages.create(model="m", messages=ASK, max_tokens=300,
                                    extra_body={"output_config": {"format": {"type": "json_schema", "schema": PLACE}}})
    jsonschema.validate(json.loads(answer.content[0].text), PLACE)


def test_messages_refuse_in_their_own_words(claude):
    anthropic = pytest.importorskip("anthropic")
    with pytest.raises(anthropic.BadRequestError) as error:
        claude.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": [{"type": "image", "source": {
            "type": "base64", "media_type": "image/png", "data": "AA=="}}]}])
    assert error.value.body["error"]["type"] == "invalid_request_error"
    assert "messages[0].content[0]" in error.value.body["error"]["message"]


@pytest.fixture(scope="module")
def llama(server):
    ollama = pytest.importorskip("ollama")
    return ollama.Client(host=server.url)


def test_ollama_chats_streamed_and_whole(llama):
    options = {"seed": 3, "num_predict": 20}
    whole = llama.chat(model="novella", messages=ASK, options=options)
    lines = list(llama.chat(model="novella", messages=ASK, options=options, stream=True))
    assert "".join(line.message.content for line in lines) == whole.message.content != ""
    assert lines[-1].done and lines[-1].eval_count == whole.eval_count > 0
    assert whole.done_reason in ("length", "stop") and whole.total_duration > 0


def test_ollama_generates(llama):
    answer = llama.generate(model="novella", prompt="It was a dark", raw=True, options={"num_predict": 6, "seed": 1})
    assert answer.response and answer.prompt_eval_count > 2
    assert "".join(p.response for p in llama.generate(model="novella", prompt="Hello", stream=True,
                                                      options={"num_predict": 6, "seed": 1, "ignore_eos": True}))


def test_ollama_keeps_to_a_schema(llama):
    answer = llama.chat(model="novella", messages=ASK, format=PLACE)
    jsonschema.validate(json.loads(answer.message.content), PLACE)


def test_ollama_calls_tools_and_reads_results(server, llama):
    request = {"model": "novella", "messages": ASK, "tools": TOOLS, "tool_choice": "required", "stream": False}
    [answer] = post(server, "/api/chat", request)
    call = answer["message"]["tool_calls"][0]["function"]
    check_call(call["name"], json.dumps(call["arguments"]))
    lines = post(server, "/api/chat", {**request, "stream": True})
    assert sum(len(line["message"].get("tool_calls", [])) for line in lines) == 1
    history = ASK + [answer["message"], {"role": "tool", "content": "rain", "tool_name": call["name"]}]
    after = llama.chat(model="novella", messages=history, tools=TOOLS, options={"num_predict": 5})
    assert after.eval_count > 0
    [again] = post(server, "/api/chat", {"model": "novella", "messages": history + [
        {"role": "assistant", "content": after.message.content}, *ASK], "tools": TOOLS, "stream": False})
    assert again["prompt_cached_count"] > answer["prompt_eval_count"]


def test_ollama_says_what_there_is(llama, server):
    ollama = pytest.importorskip("ollama")
    path = server.process.args[2]
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    for models in (llama.list().models, llama.ps().models):
        [one] = models
        assert one.model == "novella" and one.digest == digest and one.size == os.path.getsize(path)
        assert one.details.family and one.details.parameter_size == "7.34M" and one.details.quantization_level == "Q8_0"
    assert int(llama.list().models[0].modified_at.timestamp()) == int(os.path.getmtime(path))
    assert llama.ps().models[0].expires_at.year == 9999
    shown = llama.show("novella")
    assert "tools" in shown.capabilities and shown.modelinfo["general.architecture"]
    with pytest.raises(ollama.ResponseError) as error:
        llama.show("another")
    assert error.value.status_code == 404 and "another" in error.value.error


@pytest.mark.parametrize("protocol", ["anthropic", "ollama"])
def test_a_history_ten_times_the_window_passes_the_model_once(server, protocol):
    messages, known = [{"role": "user", "content": "Begin."}], 0
    for turn in range(14):
        if protocol == "anthropic":
            [answer] = post(server, "/v1/messages", {"model": "m", "messages": messages, "max_tokens": 80, "seed": turn,
                                                     "ignore_eos": True})
            usage, text = answer["usage"], answer["content"][0]["text"]
            cached, read, written = usage["cache_read_input_tokens"], usage["input_tokens"], usage["output_tokens"]
        else:
            [answer] = post(server, "/api/chat", {"model": "novella", "messages": messages, "stream": False,
                                                  "options": {"num_predict": 80, "seed": turn, "ignore_eos": True}})
            text, cached, written = answer["message"]["content"], answer["prompt_cached_count"], answer["eval_count"]
            read = answer["prompt_eval_count"] - cached
        assert cached == known and read < 40
        known = cached + read + written
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": f"And then, {turn} {protocol}?"}]
    assert known > 10 * WINDOW
    assert answer["runnel"]["evicted"] > 9 * WINDOW


def test_a_side_request_does_not_disturb_a_dialogue(server):
    """Pages ask for titles and tags in between, with the dialogue as text or as messages."""
    chat = lambda messages: post(server, "/v1/chat/completions", {"messages": messages, "max_tokens": 8})[0]
    messages = [{"role": "user", "content": "A tale of two side requests."}]
    first = chat(messages)
    messages.append(first["choices"][0]["message"])
    chat([{"role": "user", "content": "### Task:\nGenerate a title.\n<chat_history>A tale</chat_history>"}])
    side = chat(messages + [{"role": "user", "content": "Name this dialogue in three words."}])
    assert side["usage"]["prompt_tokens_details"]["cached_tokens"] == first["usage"]["total_tokens"]
    after = chat(messages + [{"role": "user", "content": "And then?"}])
    assert after["usage"]["prompt_tokens_details"]["cached_tokens"] == first["usage"]["total_tokens"]


def test_langchain_chats_calls_and_chains(server):
    langchain = pytest.importorskip("langchain_openai")
    common = dict(base_url=server.url + "/v1", api_key="none", model="m", max_retries=0)
    plain = langchain.ChatOpenAI(**common, max_tokens=10, seed=1)
    whole = plain.invoke("Who goes there?")
    assert "".join(chunk.content for chunk in plain.stream("Who goes there?")) == whole.content
    called = langchain.ChatOpenAI(**common, max_tokens=300).bind_tools(TOOLS, tool_choice="clock").invoke("When?")
    assert called.tool_calls[0]["name"] == "clock"
    form = langchain.ChatOpenAI(**common, max_tokens=300).with_structured_output(
        {"title": "place", **PLACE}, method="json_schema")
    jsonschema.validate(form.invoke("Where?"), PLACE)
    chain = langchain.ChatOpenAI(**common, max_tokens=10, use_responses_api=True, use_previous_response_id=True)
    first = chain.invoke([("user", "Hello")])
    second = chain.invoke([("user", "Hello"), first, ("user", "And?")])
    assert second.usage_metadata["input_token_details"]["cache_read"] == first.usage_metadata["total_tokens"]
    assert second.usage_metadata["input_tokens"] - first.usage_metadata["total_tokens"] < 40
    assert [chunk for chunk in chain.stream([("user", "Hello"), first, ("user", "Then?")])]


def test_litellm_speaks_all_three(server):
    litellm = pytest.importorskip("litellm")
    litellm.suppress_debug_info = True
    for model, base in (("openai/m", server.url + "/v1"), ("anthropic/m", server.url), ("ollama_chat/novella", server.url)):
        common = dict(model=model, api_base=base, api_key="none", messages=ASK, max_tokens=8)
        assert litellm.completion(**common).choices[0].message.content, model
        text = "".join(chunk.choices[0].delta.content or "" for chunk in litellm.completion(**common, stream=True))
        assert text, model
