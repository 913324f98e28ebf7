"""Calls of tools, JSON by a schema and thoughts, through OpenAI's client. The bundled model has no idea of any of this,
so what it writes is what the grammar makes it write."""
import concurrent.futures
import json

import jsonschema
import pytest
import templated_model
from serve_program import Server

openai = pytest.importorskip("openai")

PLACE = {"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}, "days": {"type": "integer", "minimum": 1,
         "maximum": 9}}, "required": ["city", "days"], "additionalProperties": False}
CLOCK = {"type": "object", "properties": {"zone": {"type": "string", "maxLength": 6}}, "required": ["zone"]}
FUNCTIONS = {"weather": PLACE, "clock": CLOCK}
TOOLS = [{"type": "function", "function": {"name": name, "description": f"Tells the {name}", "parameters": schema}}
         for name, schema in FUNCTIONS.items()]
FLAT_TOOLS = [{"type": "function", **tool["function"]} for tool in TOOLS]
USER = {"role": "user", "content": "How will it be?"}


def check_call(name, arguments):
    jsonschema.validate(json.loads(arguments), FUNCTIONS[name])


def gathered(chunks):
    """The message that the chunks of a stream tell."""
    text, thoughts, calls, reason = "", "", [], None
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            thoughts += getattr(choice.delta, "reasoning_content", None) or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or []:
                if call.index == len(calls):
                    assert call.id and call.type == "function" and call.function.name
                    calls.append([call.id, call.function.name, ""])
                calls[call.index][2] += call.function.arguments
    return text, thoughts, calls, reason


@pytest.fixture(scope="module", params=sorted(templated_model.FAMILIES))
def client(request, tmp_path_factory):
    pytest.importorskip("gguf")
    model = templated_model.family(tmp_path_factory.mktemp("models"), request.param)
    with Server("--window", "200", model=model) as running:
        yield running.client()


def test_a_required_call_is_made_and_its_result_read(client):
    request = dict(model="m", messages=[USER], tools=TOOLS, tool_choice="required", max_tokens=200, seed=5)
    answer = client.chat.completions.create(**request)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    call = message.tool_calls[0]
    check_call(call.function.name, call.function.arguments)
    text, _, calls, reason = gathered(client.chat.completions.create(**request, stream=True))
    assert reason == "tool_calls"
    assert [c[1:] for c in calls] == [[c.function.name, c.function.arguments] for c in message.tool_calls]
    history = [USER, message.model_dump(exclude_none=True),
               {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    after = client.chat.completions.create(model="m", messages=history, tools=TOOLS, max_tokens=5, seed=1)
    assert after.usage.prompt_tokens_details.cached_tokens == answer.usage.total_tokens
    assert after.usage.prompt_tokens - answer.usage.total_tokens < 80  # the result alone was read


def test_a_named_function_is_the_one_that_is_called(client):
    choice = {"type": "function", "function": {"name": "clock"}}
    for stream in (False, True):
        answer = client.chat.completions.create(model="m", messages=[USER], tools=TOOLS, tool_choice=choice, max_tokens=200,
                                                stream=stream)
        if stream:
            calls = [(c[1], c[2]) for c in gathered(answer)[2]]
        else:
            calls = [(c.function.name, c.function.arguments) for c in answer.choices[0].message.tool_calls]
        assert [name for name, _ in calls] == ["clock"]
        check_call(*calls[0])


def test_an_answer_by_a_schema(client):
    form = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": PLACE}}
    for tools in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        answer = client.chat.completions.create(model="m", messages=[USER], response_format=form, max_tokens=200, **tools)
        assert answer.choices[0].finish_reason == "stop"
        jsonschema.validate(json.loads(answer.choices[0].message.content), PLACE)


def test_responses_call_and_go_on(client):
    request = dict(model="m", input="How will it be?", tools=FLAT_TOOLS, tool_choice="required", max_output_tokens=200)
    events = list(client.responses.create(**request, stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    done = [e for e in events if e.type == "response.function_call_arguments.done"]
    deltas = "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta")
    response = events[-1].response
    assert response.status == "completed"
    call = next(item for item in response.output if item.type == "function_call")
    assert deltas == done[0].arguments == call.arguments
    check_call(call.name, call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    after = client.responses.create(model="m", input=[result], previous_response_id=response.id, tools=FLAT_TOOLS,
                                    max_output_tokens=5)
    assert after.usage.input_tokens_details.cached_tokens == response.usage.total_tokens
    assert after.usage.input_tokens - response.usage.total_tokens < 80


@pytest.fixture(scope="module")
def plain():
    with Server("--window", "200", "--chat-template", "chatml") as running:
        yield running.client()


def test_any_object_and_a_schema_in_responses(plain):
    answer = plain.chat.completions.create(model="m", messages=[USER], response_format={"type": "json_object"},
                                           max_tokens=400, seed=2, temperature=0.3)
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content), dict)
    text = {"format": {"type": "json_schema", "name": "place", "schema": PLACE, "strict": True}}
    response = plain.responses.create(model="m", input="Go", text=text)  # without a bound, and no end of the model's own
    assert response.status == "completed"
    jsonschema.validate(json.loads(response.output_text), PLACE)
    endless = plain.responses.create(model="m", input="Go", text=text, extra_body={"ignore_eos": True})
    jsonschema.validate(json.loads(endless.output_text), PLACE)


def test_a_call_over_a_websocket(plain):
    pytest.importorskip("websockets")
    with plain.responses.connect() as connection:
        connection.response.create(model="m", input="Go", tools=FLAT_TOOLS, tool_choice={"type": "function", "name": "clock"},
                                   max_output_tokens=200)
        events = []
        while not events or not events[-1]["type"].startswith(("response.completed", "response.incomplete")):
            events.append(json.loads(connection.recv_bytes()))
    [done] = [e for e in events if e["type"] == "response.function_call_arguments.done"]
    check_call(done["name"], done["arguments"])
    assert events[-1]["response"]["output"][0]["arguments"] == done["arguments"]


def test_a_conversation_is_told_of_tools_when_they_come(plain):
    conversation = plain.conversations.create(items=[{"type": "message", "role": "system", "content": "You are a captain."}])
    common = dict(model="m", conversation=conversation.id, tools=FLAT_TOOLS, max_output_tokens=200)
    first = plain.responses.create(input="Well?", tool_choice="required", **common)
    call = first.output[0]
    check_call(call.name, call.arguments)
    second = plain.responses.create(input=[{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}],
                                    **{**common, "max_output_tokens": 5})
    assert second.usage.input_tokens - first.usage.total_tokens < 100  # the tools are not told again
    kinds = [i.type for i in plain.conversations.items.list(conversation.id, order="asc")]
    assert kinds[:4] == ["message", "message", "function_call", "function_call_output"]


def test_parsed_by_the_client(plain):
    pydantic = pytest.importorskip("pydantic")

    class Place(pydantic.BaseModel):
        city: str = pydantic.Field(max_length=8)
        days: int = pydantic.Field(ge=1, le=9)

    answer = plain.chat.completions.parse(model="m", messages=[USER], response_format=Place, max_tokens=300)
    assert 1 <= answer.choices[0].message.parsed.days <= 9
    response = plain.responses.parse(model="m", input="Go", text_format=Place, max_output_tokens=300)
    assert 1 <= response.output_parsed.days <= 9


def test_tools_that_may_be_called_and_are_not(plain):
    answer = plain.chat.completions.create(model="m", messages=[USER], tools=TOOLS, max_tokens=10)
    assert answer.choices[0].message.content and not answer.choices[0].message.tool_calls


def test_several_calls_in_one_answer(plain):
    answer = plain.chat.completions.create(model="m", messages=[USER], tools=TOOLS[:1], tool_choice="required",
                                           parallel_tool_calls=True, max_tokens=1000, seed=4)
    calls = answer.choices[0].message.tool_calls
    assert len(calls) > 1 and len({call.id for call in calls}) == len(calls)
    for call in calls[:-1]:
        check_call(call.function.name, call.function.arguments)


def test_a_constrained_stream_among_others_gets_what_it_gets_alone(plain):
    form = {"type": "json_schema", "json_schema": {"name": "p", "schema": {
        "type": "object", "properties": {"tale": {"type": "string", "minLength": 30, "maxLength": 60}, **PLACE["properties"]},
        "required": ["tale", "city", "days"]}}}

    def ask(i):
        more = {"response_format": form} if i % 2 else {}
        return plain.chat.completions.create(model="m", messages=[{"role": "user", "content": f"Chapter {i}."}],
                                             max_tokens=60, seed=i, **more).choices[0].message.content
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(8)))
    assert together == [ask(i) for i in range(8)]


@pytest.mark.parametrize("body, param", [
    ({"response_format": {"type": "yaml"}}, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {
        "type": "string", "pattern": "a+"}}}}, "response_format"),
    ({"tools": [{"type": "web_search"}]}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools"),
    ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nobody"}}}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"not": {}}}}], "tool_choice": "required"},
     "tools"),
])
def test_refusals_name_the_field_and_the_keyword(plain, body, param):
    with pytest.raises(openai.BadRequestError) as error:
        plain.post("/chat/completions", cast_to=object, body={"messages": [USER], **body})
    assert error.value.param == param
    if "pattern" in json.dumps(body):
        assert "pattern" in error.value.message


def test_thoughts_have_their_own_field(tmp_path):
    template = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}{# </think> #}")
    model = templated_model.write(tmp_path / "thinks.gguf", template, ["<|im_start|>", "<|im_end|>"], "<|im_end|>")
    with Server("--window", "200", model=model) as running:
        client = running.client()
        request = dict(model="m", messages=[USER], max_tokens=12, seed=3)
        whole = client.chat.completions.create(**request)
        thoughts = whole.choices[0].message.reasoning_content
        assert thoughts and not whole.choices[0].message.content
        usage = whole.usage
        assert 0 < usage.completion_tokens_details.reasoning_tokens <= usage.completion_tokens
        assert gathered(client.chat.completions.create(**request, stream=True))[:2] == ("", thoughts)
        events = list(client.responses.create(model="m", input="Hm?", max_output_tokens=12, stream=True,
                                              extra_body={"seed": 3, "ignore_eos": True}))
        told = "".join(e.delta for e in events if e.type == "response.reasoning_text.delta")
        item = events[-1].response.output[0]
        assert item.type == "reasoning" and item.content[0].text == told
        form = {"type": "json_schema", "json_schema": {"name": "place", "schema": PLACE}}
        answer = client.chat.completions.create(model="m", messages=[USER], response_format=form, max_tokens=200)
        jsonschema.validate(json.loads(answer.choices[0].message.content), PLACE)
