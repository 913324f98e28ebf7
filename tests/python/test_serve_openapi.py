"""The document that the server ships: it names every path, and what is sent by it gets answers as it says."""
import json
import re
from pathlib import Path

import pytest
from serve_program import Server

ROOT = Path(__file__).resolve().parents[2]
NOT_CALLED = {"/v1/embeddings"}  # answers 501, whatever comes
LONG = {"max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict"}


@pytest.fixture(scope="module")
def server():
    with Server("--window", "64", "--chat-template", "chatml") as running:
        yield running


def test_the_document_names_every_path():
    document = json.loads((ROOT / "src/serve/protocols/openapi.json").read_text())
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    served = set()
    for source in (ROOT / "src/serve/protocols").glob("*.cpp*"):
        text = source.read_text()
        served |= set(re.findall(r'"(GET|POST|DELETE)",\s*"(/[^"]*)"', text))
        served |= {("POST", path) for path in re.findall(r'route\("(/[^"]*)"', text)}
    assert told == served


def test_requests_by_the_document_get_answers_by_it(server):
    schemathesis = pytest.importorskip("schemathesis")
    hypothesis = pytest.importorskip("hypothesis")
    document = json.loads(server.get("/openapi.json"))
    document["paths"] = {path: methods for path, methods in document["paths"].items() if path not in NOT_CALLED}
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url)
    checks = [schemathesis.checks.not_a_server_error]
    from schemathesis.specs.openapi.checks import (content_type_conformance, response_schema_conformance,
                                                   status_code_conformance)
    checks += [status_code_conformance, content_type_conformance, response_schema_conformance]
    n_called = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(max_examples=10, deadline=None, database=None, derandomize=True,
                             suppress_health_check=list(hypothesis.HealthCheck))
        def call(case):
            nonlocal n_called
            body = case.body
            if isinstance(body, dict):  # answers of few tokens
                for name in LONG - {"num_predict"}:
                    if name in body or case.method.upper() == "POST" and operation.path in (
                            "/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"):
                        body[name] = 3
                if operation.path.startswith("/api/") and "options" in body or operation.path in ("/api/chat", "/api/generate"):
                    body["options"] = {**(body.get("options") or {}), "num_predict": 3}
                for name in ("response_format", "text", "format", "output_config", "tool_choice"):
                    body.pop(name, None)  # tested elsewhere; a tiny model may need long for any JSON
            case.call_and_validate(checks=checks)
            n_called += 1

        call()
    assert n_called > 100
