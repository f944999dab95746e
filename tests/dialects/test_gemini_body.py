"""Answers of the Gemini API in one piece."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.dialects.gemini_body import GeminiBody
from flask_gateway.dialects.redaction import Redaction
from flask_gateway.model.call import Operation
from flask_gateway.model.errors import UpstreamError, UpstreamMalformed

ANSWER = {"candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}]}
USAGE = {"promptTokenCount": 4, "candidatesTokenCount": 2}


def answered(document: Any, operation: Operation = Operation.GENERATE) -> GeminiBody:
    body = GeminiBody(msgspec.structs.replace(make_call("g"), operation=operation), "google")
    sent = document if isinstance(document, bytes) else json.dumps(document, indent=2).encode()
    assert body.feed(sent) == b""
    assert body.end() == sent
    return body


@pytest.mark.parametrize(
    "document",
    [
        {**ANSWER, "usageMetadata": USAGE},
        [ANSWER, {"candidates": [], "usageMetadata": USAGE}],
    ],
)
def test_an_answer_passes_as_it_is_with_its_usage(document: Any):
    usage = answered(document).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.source) == (4, 2, "reported")


def test_usage_that_is_missing_is_estimated():
    usage = answered(ANSWER).usage
    assert usage is not None
    assert usage.source == "estimated"
    assert usage.completion_tokens > 0


def test_a_blocked_prompt_is_an_answer():
    answered({"promptFeedback": {"blockReason": "SAFETY"}})


def test_a_count_has_no_usage():
    assert answered({"totalTokens": 7}, Operation.GENERATE_COUNT).usage is None


@pytest.mark.parametrize(
    ("document", "operation"),
    [
        ({"embedding": {"values": [0.5]}}, Operation.EMBED_CONTENT),
        ({"embeddings": [{"values": [0.5]}]}, Operation.EMBED_CONTENTS),
    ],
)
@pytest.mark.parametrize("reported", [{}, {"usageMetadata": {"promptTokenCount": 4}}])
def test_embeddings_cost_the_tokens_of_the_prompt(document: Any, operation: Operation, reported: Any):
    usage = answered({**document, **reported}, operation).usage
    assert usage is not None
    assert usage.completion_tokens == 0
    assert (usage.source, usage.prompt_tokens) == ("reported", 4) if reported else ("estimated", 1)


@pytest.mark.parametrize(
    ("document", "operation"),
    [
        ({"candidates": []}, Operation.EMBED_CONTENT),
        ({"embedding": {}}, Operation.EMBED_CONTENTS),
        (b"nothing", Operation.GENERATE),
        (b'{"candidates": "\xff"}', Operation.GENERATE),
        ({}, Operation.GENERATE),
        ([], Operation.GENERATE),
        ([1], Operation.GENERATE),
        ({"candidates": []}, Operation.GENERATE_COUNT),
    ],
)
def test_other_documents_are_refused(document: Any, operation: Operation):
    with pytest.raises(UpstreamMalformed):
        answered(document, operation)


@pytest.mark.parametrize("operation", [Operation.GENERATE, Operation.GENERATE_COUNT])
def test_an_error_in_a_200_is_an_error(operation: Operation):
    with pytest.raises(UpstreamError):
        answered({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}, operation)


def test_the_upstreams_key_is_taken_out():
    redaction = Redaction.of("AIza-secret-key-of-the-upstream")
    body = GeminiBody(
        msgspec.structs.replace(make_call("g"), operation=Operation.GENERATE), "google", redaction
    )
    body.feed(json.dumps({**ANSWER, "x": "AIza-secret-key-of-the-upstream"}).encode())
    assert b"AIza" not in body.end()
