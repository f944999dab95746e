"""Compares docs/openapi.yaml with the code: routes, errors and limits are the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient

from flask_gateway.model import errors
from flask_gateway.model.call import GEMINI, WITH_MODEL, Operation
from flask_gateway.web import json_limits, request_body

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]


def test_the_file_that_is_served_is_up_to_date_and_indented():
    served = (ROOT / "flask_gateway/web/openapi.json").read_text()
    assert served == json.dumps(DOCUMENT, indent=1) + "\n", "make openapi"


def test_openapi_json_equals_the_yaml_document(client: FlaskClient):
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json == DOCUMENT, "make openapi"
    assert b"flask_gateway" not in answer.data


def test_the_document_has_every_route_and_no_other(app: Flask):
    there = {
        (re.sub("<(?:path:)?", "{", rule.rule).replace(">", "}"), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
    }
    assert there == {(path, method) for path, item in DOCUMENT["paths"].items() for method in item}
    assert {f"/v1/{operation}" for operation in {*WITH_MODEL} - {Operation.RESPONSE_SESSION, *GEMINI}} <= set(
        DOCUMENT["paths"]
    )


def own_errors() -> Iterator[type[errors.GatewayError]]:
    waiting: list[type[errors.GatewayError]] = [errors.GatewayError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if not issubclass(kind, errors.CallerLeft):  # the caller has gone, so it never gets this error
            yield kind


@pytest.mark.parametrize("kind", sorted(own_errors(), key=lambda kind: kind.__name__))
def test_the_document_lists_every_error_code_under_its_status(kind: type[errors.GatewayError]):
    answers = DOCUMENT["paths"]["/v1/chat/completions"]["post"]["responses"]
    name = answers[str(kind.status)]["$ref"].rpartition("/")[2]
    if kind.code is not None:
        assert f"`{kind.code}`" in DOCUMENT["components"]["responses"][name]["description"]


def test_the_document_states_the_limits_of_the_code():
    prose = " ".join(DOCUMENT["info"]["description"].split())
    for limit in (
        json_limits.MAX_DEPTH,
        json_limits.MAX_NAMES,
        json_limits.MAX_PARTS,
        json_limits.MAX_DIGITS,
    ):
        assert f" {limit} " in prose
    for name in request_body.NOT_FORWARDED:
        assert f"`{name}`" in prose
    assert SCHEMAS["ChatRequest"]["properties"]["messages"]["maxItems"] == request_body.MAX_MESSAGES
    assert SCHEMAS["Fallbacks"]["anyOf"][0]["maxItems"] == request_body.MAX_CHAIN
    counts = {name for name, schema in SCHEMAS["Common"]["properties"].items() if "Count" in str(schema)}
    assert counts == request_body._COUNTS


def test_the_document_states_the_limits_of_gunicorn_conf():
    server = dict(
        re.findall(
            r"^(\w+) = (\d+)$", (ROOT / "flask_gateway/server/gunicorn_settings.py").read_text(), re.MULTILINE
        )
    )
    description = DOCUMENT["components"]["responses"]["NotHttp"]["description"]
    for name in ("limit_request_line", "limit_request_fields", "limit_request_field_size"):
        assert f" {server[name]} " in description


def test_every_reference_in_the_document_has_a_target():
    text = json.dumps(DOCUMENT)
    for reference in {part.partition('"')[0] for part in text.split('"$ref": "#/')[1:]}:
        node: Any = DOCUMENT
        for name in reference.split("/"):
            node = node[name]
