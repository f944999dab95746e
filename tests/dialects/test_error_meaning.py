"""Tests what upstreams' errors mean: the answers of a dozen servers, by status and body."""

# ruff: noqa: E501

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from kit import worded_errors
from kit.calls import make_call
from kit.error_answers import BY_STATUS, TOO_LONG, Case, anthropic, gemini, openai, vllm

from flask_gateway.dialects.body_transcript import BodyTranscript
from flask_gateway.dialects.error_mapping import error_for, page_error, reported_error
from flask_gateway.dialects.openai import envelope
from flask_gateway.model.errors import (
    GatewayError,
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamFlagged,
    UpstreamMisconfigured,
    UpstreamModelNotFound,
    UpstreamOutOfCredit,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRefusal,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamTooLong,
    UpstreamUnaffordable,
    Verdict,
)

#: For each class: the verdict on the upstream, and whether the call is retried elsewhere.
CONSEQUENCES: dict[type[GatewayError], tuple[Verdict, bool]] = {
    UpstreamTooLong: (Verdict.REJECTED, False),  # others are still tried: routing/retry.py
    UpstreamThrottled: (Verdict.THROTTLED, True),
    UpstreamQuotaExhausted: (Verdict.CREDENTIAL_REFUSED, True),
    UpstreamOutOfCredit: (Verdict.CREDENTIAL_REFUSED, True),
    UpstreamAuthFailed: (Verdict.CREDENTIAL_REFUSED, True),
    UpstreamUnaffordable: (Verdict.REJECTED, True),
    UpstreamFlagged: (Verdict.REJECTED, False),
    UpstreamModelNotFound: (Verdict.REJECTED, True),
    UpstreamMisconfigured: (Verdict.IGNORED, True),
    UpstreamTimeout: (Verdict.FAILURE, True),
    UpstreamOverloaded: (Verdict.FAILURE, True),
    UpstreamError: (Verdict.FAILURE, True),
    UpstreamRefusal: (Verdict.REJECTED, False),
}


def bytes_of(said: object) -> bytes:
    return said.encode() if isinstance(said, str) else json.dumps(said).encode()


def named(cases: list[Case]) -> list[Any]:
    return [pytest.param(case, id=f"{case.server}-{case.status}-{at}") for at, case in enumerate(cases)]


def check(error: GatewayError, case: Case) -> None:
    worded = envelope(error)["error"]
    assert type(error) is case.kind, error.message
    assert (error.status, error.upstream) == (case.caller, "llama")
    assert (error.verdict, error.retry_elsewhere) == CONSEQUENCES[case.kind]
    assert case.words in worded["message"]
    assert error.retry_after == case.pause
    assert isinstance(worded["message"], str)
    assert worded["message"]
    assert isinstance(worded["code"], str | None)
    assert isinstance(worded["type"], str)
    if case.code != "":
        assert worded["code"] == case.code
    msgspec.json.encode(worded)


@pytest.mark.parametrize("case", named(BY_STATUS + worded_errors.BY_STATUS))
def test_a_status_and_a_body_map_to_an_error(case: Case) -> None:
    error = error_for(
        case.status, case.headers or {}, bytes_of(case.said), "llama", url="http://llama.test/v1"
    )
    check(error, case)
    assert error.answered == case.status


#: Inside of a 200 the error has no status but its own.
INSIDE = [
    Case("sglang", 200, {"error": vllm("The input (9000 tokens) is longer than the model's context length (8192 tokens).")}, UpstreamTooLong, 400, "context length"),
    Case("openrouter", 200, {"error": {"message": "Rate limit exceeded: free-models-per-day", "code": 429, "metadata": {"headers": {"X-RateLimit-Remaining": "0"}}}}, UpstreamThrottled, 429, "free-models-per-day"),
    Case("openrouter's choice", 200, {"choices": [{"index": 0, "finish_reason": "error", "error": {"code": 502, "message": "Provider disconnected"}}]}, UpstreamError, 502),
    Case("openrouter's choice", 200, {"choices": [{"finish_reason": "error", "error": {"code": 429, "message": "slow down", "metadata": {"raw": "retry in 12s"}}}]}, UpstreamThrottled, 429, "slow down"),
    Case("anthropic", 200, anthropic("overloaded_error", "Overloaded"), UpstreamOverloaded, 502),
    Case("anthropic", 200, anthropic("rate_limit_error", "slow"), UpstreamThrottled, 429, "slow"),
    Case("anthropic", 200, anthropic("invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum"), UpstreamTooLong, 400),
    Case("responses", 200, {"type": "response.failed", "response": {"id": "r", "status": "failed", "error": {"code": "server_error", "message": "x"}}}, UpstreamError, 502),
    Case("responses", 200, {"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "Please try again in 2s."}}}, UpstreamThrottled, 429, "try again", 2.0),
    Case("responses", 200, {"type": "response.failed", "response": {"error": {"code": "context_length_exceeded", "message": "Your input exceeds the context window of this model."}}}, UpstreamTooLong, 400),
    Case("responses", 200, {"type": "response.failed", "response": {"error": {"code": "invalid_image_url", "message": "no image"}}}, UpstreamRefusal, 400, "no image"),
    Case("responses", 200, {"type": "response.failed", "response": {"error": {"code": "invalid_prompt", "message": "Invalid prompt: your prompt was flagged as potentially violating our usage policy."}}}, UpstreamFlagged, 400),
    Case("responses", 200, {"type": "error", "sequence_number": 2, "error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "You exceeded your current quota", "param": None}}, UpstreamOutOfCredit, 502, "exceeded your current quota"),
    Case("responses, flat", 200, {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None, "sequence_number": 3}, UpstreamThrottled, 429, "slow down"),
    Case("gemini", 200, gemini(503, "The model is overloaded.", "UNAVAILABLE"), UpstreamOverloaded, 502),
    Case("tgi", 200, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000", "error_type": "validation"}, UpstreamTooLong, 422) ,
    Case("tgi", 200, {"error": "CUDA out of memory", "error_type": "generation"}, UpstreamError, 502),
    Case("llama.cpp", 200, {"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error"}}, UpstreamTooLong, 400),
    Case("ollama", 200, {"error": "model 'x' not found"}, UpstreamModelNotFound, 404),
    Case("lm studio", 200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}, UpstreamMisconfigured, 502),
    Case("vllm", 200, {"error": vllm("Invalid grammar", "BadRequestError")}, UpstreamRefusal, 400, "Invalid grammar"),
    Case("a key", 200, openai("Incorrect API key provided", code="invalid_api_key"), UpstreamAuthFailed, 502),
    Case("text", 200, {"error": "down"}, UpstreamError, 502),
    Case("the caller's text in it", 200, {"error": "failed at 'prompt is too long: 5 tokens > 4 maximum'"}, UpstreamError, 502),
    Case("nothing", 200, {"type": "error"}, UpstreamError, 502),
    Case("nonsense", 200, None, UpstreamError, 502),
    Case("nonsense", 200, [[[]]], UpstreamError, 502),
    Case("nonsense", 200, 7, UpstreamError, 502),
    Case("groq", 200, {"error": {"message": "Failed to call a function.", "type": "invalid_request_error", "code": "tool_use_failed", "status_code": 400}}, UpstreamRefusal, 400),
    Case("openai", 200, openai("The server had an error while processing your request.", "server_error"), UpstreamError, 502),
    Case("bedrock", 200, {"error": {"message": "Too many tokens, please wait", "type": "throttlingException"}}, UpstreamThrottled, 429),
]  # fmt: skip


@pytest.mark.parametrize("case", named(INSIDE + worded_errors.INSIDE))
def test_an_error_inside_a_200_maps_to_an_error(case: Case) -> None:
    check(reported_error(case.said, "llama"), case)


@pytest.mark.parametrize("case", named([case for case in INSIDE if isinstance(case.said, dict)]))
def test_the_error_object_alone_means_the_same(case: Case) -> None:
    """Whether a whole event is handed over or the error in it."""
    assert isinstance(case.said, dict)
    alone = case.said.get("error")
    if isinstance(alone, dict):
        check(reported_error(alone, "llama"), case)


def test_words_of_a_failure_and_of_a_refused_credential_stay_out() -> None:
    for status in (401, 403, 407, 500, 502, 503, 504, 529, 424):
        body = bytes_of({"error": {"message": "sk-abc at 10.0.0.1", "code": "boom", "type": "t"}})
        assert "10.0.0.1" not in json.dumps(envelope(error_for(status, {}, body, "llama")))


def test_a_page_under_a_good_status() -> None:
    error = page_error(200, b"\n<!doctype html><html><head><title>Log &amp; in</title>", "llama")
    assert isinstance(error, UpstreamMisconfigured)
    assert error.verdict is Verdict.FAILURE
    assert "Log & in" in error.message
    assert page_error(200, b'{"choices": []}', "llama") is None
    transcript = BodyTranscript(make_call(), "llama")
    transcript.feed(b"<html><title>Log in</title></html>")
    with pytest.raises(UpstreamMisconfigured, match="Log in"):
        transcript.end()


def test_a_request_that_is_too_large_for_a_limit_is_not_tried_again() -> None:
    case = next(case for case in TOO_LONG if case.server == "openai 429")
    error = error_for(429, {"retry-after": "2"}, bytes_of(case.said), "llama")
    assert (error.retry_after, error.headers["x-should-retry"]) == (None, "false")
