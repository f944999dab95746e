"""Requests to Google's Gemini API, at its own host and at Vertex AI."""

from __future__ import annotations

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.config.kinds import KINDS
from flask_gateway.model.call import Call, Operation
from flask_gateway.model.errors import UpstreamError, UpstreamRefusal
from flask_gateway.upstreams.gemini_requests import gemini_error, gemini_head, gemini_request

VERTEX = "https://x-aiplatform.googleapis.com/v1/projects/p/locations/x"


def call(operation: Operation = Operation.GENERATE, query: str = "") -> Call:
    fields = {"contents": msgspec.Raw(b'[ {"a" : 1.0} ]')}
    made = make_call("gemini-x")
    return msgspec.structs.replace(made, operation=operation, query=query, fields=fields)


@pytest.mark.parametrize(
    ("kind", "base", "operation", "query", "expected"),
    [
        ("gemini", KINDS["gemini"].url, Operation.GENERATE, "", "/v1beta/models/gemini-x:generateContent"),
        ("gemini", KINDS["gemini"].url, Operation.GENERATE_COUNT, "", "/v1beta/models/gemini-x:countTokens"),
        (
            *("vertex", VERTEX, Operation.GENERATE, "alt=sse"),
            "/publishers/google/models/gemini-x:streamGenerateContent?alt=sse",
        ),
    ],
)
def test_the_model_is_in_the_path_and_values_are_as_written(
    kind: str, base: str, operation: Operation, query: str, expected: str
):
    url, body = gemini_request(KINDS[kind], base, call(operation, query))
    assert url.endswith(expected)
    assert "openai" not in url
    assert body == b'{"contents":[ {"a" : 1.0} ]}'


def test_each_request_of_a_batch_names_the_upstreams_model():
    requests = msgspec.Raw(b'[{"model":"models/mine","content": {"parts":[]}},{"content":1}]')
    asked = msgspec.structs.replace(call(Operation.EMBED_CONTENTS), fields={"requests": requests})
    url, body = gemini_request(KINDS["gemini"], KINDS["gemini"].url, asked)
    assert url.endswith("/v1beta/models/gemini-x:batchEmbedContents")
    model = b'"model":"models/gemini-x"'
    assert body == b'{"requests":[{%b,"content":{"parts":[]}},{"content":1,%b}]}' % (model, model)


def test_the_key_is_in_googles_header_alone():
    head = {"Authorization": "Bearer k", "x-request-id": "r"}
    assert gemini_head(KINDS["gemini"], head, "k") == {"x-request-id": "r", "x-goog-api-key": "k"}
    assert gemini_head(KINDS["vertex"], head, "k") == {"x-request-id": "r", "Authorization": "Bearer k"}
    assert gemini_head(KINDS["gemini"], head, None) == {"x-request-id": "r"}


@pytest.mark.parametrize(("body", "kept"), [(b'{"error": {"code": 400}}', True), (b"<html>", False)])
def test_a_refusal_keeps_the_body_that_is_an_error(body: bytes, kept: bool):
    error = gemini_error(UpstreamRefusal("no", status=400, error_object={}), body)
    assert isinstance(error, UpstreamRefusal)
    assert error.body == (body if kept else None)
    other = UpstreamError("no")
    assert gemini_error(other, body) is other
