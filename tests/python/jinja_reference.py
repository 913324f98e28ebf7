"""Jinja as transformers sets it up for chat templates, and conversations to try it with."""
import datetime
import json
import random

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2006, 1, 2, 15, 4, 6)


class Generation(jinja2.ext.Extension):
    """{% generation %}, which marks the assistant's text and changes nothing."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_text", [])
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _text(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.filters["tojson"] = to_json
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


WORDS = ["", "Hi", "  padded \n", "two\n\nlines", "naïve café", "日本語です", "{{ x }}", "{% raw %}", "<|im_end|>",
         "[INST] no [/INST]", "a'b\"c", "tab\tend", "</think>done", "<think>\nhm\n</think>\n\nyes", "\\n", "🙂 ok",
         "line\r\nbreak", "<tool_call>", "1.5e3", "null", "&lt;"]
NAMES = ["get_weather", "search", "f", "send_mail"]


def some_text(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 3)))


def some_value(rng, depth=0):
    kinds = ["text", "int", "float", "bool", "none"] + ["list", "dict"] * (depth < 2)
    kind = rng.choice(kinds)
    if kind == "text":
        return some_text(rng)
    if kind == "int":
        return rng.randint(-3, 1000000)
    if kind == "float":
        return rng.choice([0.5, -1.25, 1e20, 3.0, 1e-7])
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "none":
        return None
    if kind == "list":
        return [some_value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {rng.choice(["city", "unit", "n", "über"]): some_value(rng, depth + 1) for _ in range(rng.randint(0, 3))}


def some_schema(rng, depth=0):
    kind = rng.choice(["string", "integer", "number", "boolean"] + ["object", "array"] * (depth < 2))
    schema = {"type": kind}
    if rng.random() < 0.6:
        schema["description"] = some_text(rng)
    if kind == "string" and rng.random() < 0.3:
        schema["enum"] = ["a", "b c"]
    if kind == "array":
        schema["items"] = some_schema(rng, depth + 1)
    if kind == "object":
        names = rng.sample(["city", "unit", "days", "who"], rng.randint(0, 3))
        schema["properties"] = {name: some_schema(rng, depth + 1) for name in names}
        if names and rng.random() < 0.7:
            schema["required"] = names[:1]
    return schema


def some_tool(rng):
    parameters = {"type": "object", "properties": {n: some_schema(rng, 1) for n in rng.sample(["city", "unit", "q"], 2)},
                  "required": ["city"]}
    return {"type": "function", "function": {"name": rng.choice(NAMES), "description": some_text(rng),
                                             "parameters": parameters}}


def some_call(rng, i):
    arguments = {name: some_value(rng, 1) for name in rng.sample(["city", "unit", "q"], rng.randint(0, 3))}
    return {"id": f"call{i:05d}", "type": "function", "function": {"name": rng.choice(NAMES), "arguments": arguments}}


def conversation(seed):
    """The variables of one rendering: messages, tools and switches as clients send them."""
    rng = random.Random(seed)
    messages = []
    if rng.random() < 0.5:
        messages.append({"role": "system", "content": some_text(rng)})
    has_tools = rng.random() < 0.4
    for turn in range(rng.randint(1, 4)):
        messages.append({"role": "user", "content": some_text(rng)})
        if rng.random() < 0.1:
            messages[-1]["content"] = [{"type": "text", "text": some_text(rng)}, {"type": "text", "text": some_text(rng)}]
        if has_tools and rng.random() < 0.5:
            calls = [some_call(rng, turn * 10 + i) for i in range(rng.randint(1, 2))]
            content = rng.choice([None, "", some_text(rng)])
            messages.append({"role": "assistant", "content": content, "tool_calls": calls})
            for call in calls:
                messages.append({"role": "tool", "content": some_text(rng), "tool_call_id": call["id"],
                                 "name": call["function"]["name"]})
        answer = {"role": "assistant", "content": some_text(rng)}
        if rng.random() < 0.2:
            answer["reasoning_content"] = some_text(rng)
        if rng.random() < 0.8:
            messages.append(answer)
    if rng.random() < 0.7 and messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "content": some_text(rng)})
    variables = {"messages": messages, "tools": [some_tool(rng) for _ in range(rng.randint(1, 2))] if has_tools else None,
                 "documents": None, "add_generation_prompt": rng.random() < 0.8,
                 "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
                 "datetime": "2006-01-02"}
    if rng.random() < 0.3:
        variables["enable_thinking"] = rng.random() < 0.5
    if rng.random() < 0.1:
        variables["reasoning_effort"] = rng.choice(["low", "high"])
    return variables
