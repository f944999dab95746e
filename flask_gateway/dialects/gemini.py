"""The dialect of Google's Gemini API: its paths, its events, and its words for errors.

https://ai.google.dev/api/generate-content. The model and the method are in the path:
``/v1beta/models/NAME:generateContent``.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ..model.call import GEMINI, Call, Operation
from ..model.errors import GatewayError, UpstreamRefusal
from .dialect import Dialect, Reader
from .openai import PING_EVENT
from .reported_usage import ReportedUsage
from .usage import Tally
from .values import error_in

_METHOD = r".+:(?:(?:streamG|g)enerateContent|countTokens|embedContent|batchEmbedContents)"
#: The paths of the API, and those of its methods on a model.
is_path = re.compile(rf"/+v1beta(?:/.*)?|/+(?:v1/+)*models/{_METHOD}", re.DOTALL).fullmatch
is_method = re.compile(_METHOD, re.DOTALL).fullmatch

#: The names of errors by status: https://cloud.google.com/apis/design/errors
_STATUSES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    504: "DEADLINE_EXCEEDED",
}
_DOMAIN = "flask-gateway"
_TYPES = "type.googleapis.com/google.rpc."


def envelope(error: GatewayError, request_id: str = "") -> dict[str, Any]:
    """Word an error as Google's error object. ``details`` has the code, and the wait if there is one."""
    status = _STATUSES.get(error.status, "INVALID_ARGUMENT" if error.status < 500 else "UNAVAILABLE")
    metadata = {"param": error.param} if error.param else {}
    metadata |= {"request_id": request_id} if request_id else {}
    info = {"@type": f"{_TYPES}ErrorInfo", "reason": error.code or "", "domain": _DOMAIN}
    details: list[dict[str, Any]] = [{**info, "metadata": metadata}]
    if error.retry_after is not None:
        details.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{error.retry_after:.3f}s"})
    if isinstance(error, UpstreamRefusal) and isinstance(error.error_object.get("status"), str):
        status = error.error_object["status"]
    return {"error": {"code": error.status, "message": error.message, "status": status, "details": details}}


def error_event(error: GatewayError, reader: Reader | None) -> bytes:
    """Write an error into a stream that has begun. Google's SDKs raise on it."""
    return b"data: " + msgspec.json.encode(envelope(error)) + b"\n\n"


#: Parts of an answer that are content, even without text.
_CONTENT = ("functionCall", "inlineData", "executableCode", "codeExecutionResult", "fileData")


def add_usage(reported: ReportedUsage, fields: Any) -> None:
    """Add a ``usageMetadata``: thoughts are no part of the candidates' tokens, and cached tokens are of the
    prompt's."""
    if not isinstance(fields, dict):
        return
    counts = {name: value for name, value in fields.items() if type(value) is int}
    thoughts, tools = counts.get("thoughtsTokenCount", 0), counts.get("toolUsePromptTokenCount", 0)
    usage: dict[str, Any] = {}
    if "promptTokenCount" in counts:
        usage["prompt_tokens"] = counts["promptTokenCount"] + tools
    if "candidatesTokenCount" in counts or thoughts:
        usage["completion_tokens"] = counts.get("candidatesTokenCount", 0) + thoughts
    usage["prompt_tokens_details"] = {
        "cached_tokens": counts.get("cachedContentTokenCount", 0),
        **_of_kinds(fields.get("promptTokensDetails")),
    }
    answer = {"reasoning_tokens": thoughts, **_of_kinds(fields.get("candidatesTokensDetails"))}
    usage["completion_tokens_details"] = answer
    reported.add(usage)


def _of_kinds(details: Any) -> dict[str, int]:
    """The tokens of sound and of pictures."""
    found = {}
    for item in details if isinstance(details, list) else ():
        if isinstance(item, dict) and type(item.get("tokenCount")) is int:
            if item.get("modality") == "AUDIO":
                found["audio_tokens"] = item["tokenCount"]
            elif item.get("modality") == "IMAGE":
                found["image_tokens"] = item["tokenCount"]
    return found


class GeminiReader:
    """Reads the events of one stream, in order (``dialect.Reader``). Nothing marks the end: it is over when
    each candidate has its ``finishReason``."""

    usage_only = usage_null = False
    may_end = finished = ended_in_content = False

    def __init__(self, call: Call) -> None:
        self.complete = False
        self.reported = ReportedUsage()
        self.error: object = None
        self.tally = Tally()
        #: Whether each candidate has ended, by its index.
        self._ended: dict[int, bool] = {}

    def read(self, data: bytes) -> bool:
        return self.read_object(msgspec.json.decode(data))

    def read_object(self, document: Any) -> bool:
        if not isinstance(document, dict):
            raise ValueError("no object")
        self.error = error_in(document) if "error" in document else None
        if self.error is not None:
            return False
        add_usage(self.reported, document.get("usageMetadata"))
        feedback = document.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):  # an answer, and no fault
            self.complete = True
            return True
        candidates = document.get("candidates")
        items = candidates if isinstance(candidates, list) else []
        said = [self._read_candidate(item) for item in items if isinstance(item, dict)]
        self.complete = bool(self._ended) and all(self._ended.values())
        return any(said)

    def _read_candidate(self, candidate: dict[str, Any]) -> bool:
        index = candidate.get("index")
        ended = bool(candidate.get("finishReason"))
        place = index if type(index) is int else 0
        if len(self._ended) < _MOST_CANDIDATES or place in self._ended:
            self._ended[place] = ended or self._ended.get(place, False)
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        said = [self._read_part(part) for part in parts or () if isinstance(part, dict)]
        return any(said) or ended

    def _read_part(self, part: dict[str, Any]) -> bool:
        text = part.get("text")
        if isinstance(text, str):
            self.tally.add(text)
        call = part.get("functionCall")
        if isinstance(call, dict):
            self.tally.add(msgspec.json.encode(call).decode())
        return bool(text) or any(name in part for name in _CONTENT)


_MOST_CANDIDATES = 128


def _gemini(operation: Operation) -> Dialect:
    path = f"models/{{model}}:{operation}"
    return Dialect(path, GeminiReader, envelope, error_event, b"", PING_EVENT)


#: Every operation of the API.
DIALECTS = {operation: _gemini(operation) for operation in GEMINI}
