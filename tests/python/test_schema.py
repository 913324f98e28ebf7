"""Texts that constraints allow, judged by jsonschema: random schemas, random walks through the constraint."""
import json
import os
import pathlib
import random
import subprocess

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build")) / "tests" / "runnel_schema_lines"
N_SCHEMAS = int(os.environ.get("RUNNEL_SCHEMAS", "150"))
NAMES = ["a", "b", "city name", "über", "q\"uote", "n"]


def some_schema(rng, depth=0):
    kinds = ["string", "integer", "number", "boolean", "null", "enum", "const", "any", "types"]
    if depth < 3:
        kinds += ["object", "array", "tuple", "anyOf", "oneOf", "map"] * 2
    kind = rng.choice(kinds)
    inner = lambda: some_schema(rng, depth + 1)
    if kind == "string":
        low = rng.choice([None, 0, 2])
        schema = {"type": "string"} | ({} if low is None else {"minLength": low, "maxLength": low + rng.randint(0, 5)})
        return schema if rng.random() < 0.8 else {"type": "string", "format": rng.choice(["date", "date-time", "uuid"])}
    if kind == "integer":
        schema = {"type": "integer"}
        low = rng.randint(-2000, 2000)
        if rng.random() < 0.5:
            schema[rng.choice(["minimum", "exclusiveMinimum"])] = low
        if rng.random() < 0.5:
            schema[rng.choice(["maximum", "exclusiveMaximum"])] = low + rng.randint(2, 3000)
        return schema
    if kind == "enum":
        return {"enum": [1, "é\n", None, {"k": [True]}][: rng.randint(1, 4)]}
    if kind == "const":
        return {"const": rng.choice(["x", 3, False, [1, 2]])}
    if kind == "any":
        return rng.choice([{}, True, {"description": "anything"}])
    if kind == "types":
        return {"type": rng.sample(["string", "null", "integer", "boolean"], 2)}
    if kind == "object":
        names = rng.sample(NAMES, rng.randint(0, 4))
        schema = {"type": "object", "properties": {name: inner() for name in names},
                  "required": [name for name in names if rng.random() < 0.6]}
        if rng.random() < 0.5:
            schema["additionalProperties"] = False
        return schema
    if kind == "map":
        return {"type": "object", "additionalProperties": inner()}
    if kind == "array":
        low = rng.choice([0, 0, 1, 3])
        schema = {"type": "array", "items": inner(), "minItems": low}
        return schema | ({"maxItems": low + rng.randint(0, 2)} if rng.random() < 0.7 else {})
    if kind == "tuple":
        return {"type": "array", "prefixItems": [inner() for _ in range(rng.randint(1, 3))], "items": rng.choice([False, {"type": "null"}])}
    if kind == "anyOf":
        return {"anyOf": [inner() for _ in range(rng.randint(1, 3))]}
    if kind == "oneOf":
        return {"oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}, "v": inner()}, "required": ["kind"]},
                          {"type": "object", "properties": {"kind": {"const": "b"}}, "required": ["kind"]}, {"type": "null"}]}
    return {"type": kind}


def answers(lines):
    asked = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([PROGRAM], input=asked.encode(), stdout=subprocess.PIPE, check=True, timeout=600)
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def test_every_text_that_a_constraint_allows_is_valid():
    rng = random.Random(7)
    lines = [{"schema": some_schema(rng), "seed": i, "count": 8} for i in range(N_SCHEMAS)]
    n_texts = 0
    for line, answer in zip(lines, answers(lines)):
        assert "error" not in answer, (answer, line)
        judge = jsonschema.Draft202012Validator(line["schema"])
        for text in answer["texts"]:
            if text is None:
                continue
            n_texts += 1
            value = json.loads(text)
            judge.validate(value)
    assert n_texts > 5 * N_SCHEMAS, "most walks should come to an end"
