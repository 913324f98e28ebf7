"""Tokens chosen by a grammar of llguidance and pushed into a stream."""

import json

import pytest
from conftest import OPENING

llguidance = pytest.importorskip("llguidance")
guidance = pytest.importorskip("runnel.guidance", reason="the Python module is not built")


def written(m, grammar, most=120):
    stream = m.stream(window=60)
    stream.feed(OPENING)
    matcher = llguidance.LLMatcher(guidance.tokenizer(m), grammar)
    text = ""
    for _ in range(most):
        if matcher.is_stopped():
            break
        text += guidance.next(stream, matcher).text
    assert matcher.is_accepting() or matcher.is_stopped(), text
    return text


def test_text_keeps_to_a_regular_expression(m):
    text = written(m, llguidance.LLMatcher.grammar_from_regex(r" (yes|no), [a-z]{3,8}\."))
    assert __import__("re").fullmatch(r" (yes|no), [a-z]{3,8}\.", text)


def test_text_is_json_of_a_schema(m):
    schema = {"x-guidance": {"whitespace_flexible": False}, "type": "object", "additionalProperties": False, "required": ["name", "age"],
              "properties": {"name": {"type": "string", "maxLength": 12},
                             "age": {"type": "integer", "maximum": 99, "minimum": 10}}}
    found = json.loads(written(m, llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))))
    assert set(found) == {"name", "age"} and 10 <= found["age"] <= 99
