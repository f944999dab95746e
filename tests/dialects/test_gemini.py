"""The dialect of Google's Gemini API: its events, its usage, its words for errors."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.dialects.gemini import GeminiReader, envelope, error_event, is_path
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Call, Operation
from flask_gateway.model.errors import RateLimited, Unauthorized, UpstreamCut, UpstreamError, UpstreamRefusal


def call(*, stream: bool = True) -> Call:
    made = make_call("g", stream=stream)
    return msgspec.structs.replace(made, operation=Operation.GENERATE)


def event(*parts: Any, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts)}, "index": index}
    return {"candidates": [candidate | ({"finishReason": finish} if finish else {})], **more}


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: %b\r\n\r\n" % json.dumps(each).encode() for each in events)


USAGE = {
    "promptTokenCount": 10,
    "toolUsePromptTokenCount": 2,
    "candidatesTokenCount": 3,
    "thoughtsTokenCount": 5,
    "cachedContentTokenCount": 4,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}, {"modality": "AUDIO", "tokenCount": 1}],
}


def test_a_stream_is_complete_by_its_finish_reason_and_needs_no_end_marker():
    transcript = transcript_for(call(), "google")
    sent = transcript.feed(
        sse(event({"text": "Hel"}), event({"text": "lo"}, finish="STOP", usageMetadata=USAGE))
    )
    assert transcript.ready
    assert transcript.end() == b""
    assert sent.count(b"data: ") == 2
    usage = transcript.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (12, 8, 4)
    assert usage.parts == {"reasoning": 5, "input_audio": 1}


def test_a_stream_without_a_finish_reason_is_cut():
    transcript = transcript_for(call(), "google")
    transcript.feed(sse(event({"text": "Hel"})))
    with pytest.raises(UpstreamCut):
        transcript.end()


def test_each_candidate_has_to_end():
    reader = GeminiReader(call())
    reader.read_object(event({"text": "a"}, finish="STOP"))
    reader.read_object(event({"text": "b"}, index=1))
    assert not reader.complete
    reader.read_object(event(finish="MAX_TOKENS", index=1))
    assert reader.complete


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"text": "x"}, True),
        ({"text": "x", "thought": True}, True),
        ({"functionCall": {"name": "f", "args": {}}}, True),
        ({"inlineData": {"data": "AA"}}, True),
        ({"text": ""}, False),
        ({"thoughtSignature": "s"}, False),
    ],
)
def test_parts_that_count_as_content(part: dict[str, Any], says: bool):
    assert GeminiReader(call()).read_object(event(part)) is says


def test_a_blocked_prompt_is_an_answer_and_an_error_is_none():
    reader = GeminiReader(call())
    assert reader.read_object({"promptFeedback": {"blockReason": "SAFETY"}})
    assert reader.complete
    assert reader.error is None
    reader.read_object({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}})
    assert reader.error is not None
    with pytest.raises(ValueError, match="no object"):
        reader.read(b"[1]")


def test_errors_have_googles_form_with_the_code_and_the_wait():
    error = envelope(RateLimited("Slow down. Try again.", retry_after=2.5), "req-1")["error"]
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
    info, retry = error["details"]
    assert (info["reason"], info["metadata"]) == ("rate_limit_exceeded", {"request_id": "req-1"})
    assert retry["retryDelay"] == "2.500s"
    assert envelope(Unauthorized("no"))["error"]["status"] == "UNAUTHENTICATED"
    assert envelope(UpstreamError("no"))["error"]["status"] == "UNAVAILABLE"
    refusal = UpstreamRefusal("no", status=400, error_object={"status": "FAILED_PRECONDITION"})
    assert envelope(refusal)["error"]["status"] == "FAILED_PRECONDITION"
    assert error_event(UpstreamError("no"), None).startswith(b'data: {"error":{"code":502,')


@pytest.mark.parametrize(
    ("path", "google"),
    [
        ("/v1beta/models", True),
        ("/v1beta/models/a/b:generateContent", True),
        ("/v1/models/a:streamGenerateContent", True),
        ("/v1/models/llama3:latest", False),
        ("/v1/models", False),
        ("/v1betax", False),
    ],
)
def test_the_paths_of_the_api(path: str, google: bool):
    assert bool(is_path(path)) is google
