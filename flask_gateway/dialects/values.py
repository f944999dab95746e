"""Classifies values in an upstream's answer: finish reasons, errors, keep-alives, content. Pure functions.

The values are those of OpenAI, Azure, vLLM, SGLang, llama.cpp, Ollama, TGI, Mistral, Moonshot, DeepSeek,
OpenRouter, Groq, Gemini's OpenAI endpoint and proxies in front of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

#: A larger event or body, bytes, is not mended: mending takes some 20 ms a megabyte.
MAX_MENDED = 1024 * 1024
#: Values nested deeper count as content.
_DEPTH = 5


class Ending(Enum):
    """The meaning of a finish reason."""

    NOT_YET = "not yet"
    WELL = "well"
    BROKEN = "broken"


#: Finish reasons that stand for "not finished yet".
_NO_REASON = frozenset(
    {
        "",
        "null",
        "none",
        "nil",
        "undefined",
        "false",
        "unspecified",
        "finish_reason_unspecified",
        "not_finished",
        "in_progress",
        "streaming",
        "running",
        "generating",
        "pending",
        "continue",
    }
)
#: Finish reasons of a choice that failed: OpenRouter's ``error``, the ``abort`` of vLLM and SGLang,
#: DeepSeek's ``insufficient_system_resource``, Zhipu's ``network_error``.
_FAILED = frozenset(
    {"abort", "aborted", "cancel", "canceled", "cancelled", "engine_overloaded", "error", "exception"}
    | {"fail", "failed", "failure", "insufficient_system_resource", "interrupted", "overloaded"}
    | {"timed_out", "timeout", "internal_server_error"}
    | {f"{cause}_error" for cause in ("api", "connection", "generation", "internal", "model")}
    | {f"{cause}_error" for cause in ("network", "provider", "server", "upstream")}
)


def ending(reason: Any) -> Ending:
    """Return the meaning of a ``finish_reason``. SGLang's own API writes an object with a ``type``."""
    if isinstance(reason, dict):
        reason = reason.get("type")
    if not reason:
        return Ending.NOT_YET
    if not isinstance(reason, str):
        return Ending.WELL
    word = reason.strip().lower()
    if word in _NO_REASON:
        return Ending.NOT_YET
    return Ending.BROKEN if word in _FAILED else Ending.WELL


def error_of_choice(error: object, reason: Any) -> object | None:
    """Return the error in a choice's fields ``error`` and ``finish_reason``; ``None`` when it has none."""
    if is_error(error):
        return error
    if ending(reason) is not Ending.BROKEN:
        return None
    word = str(reason.get("type") if isinstance(reason, dict) else reason)[:64]
    return {"code": word, "message": f"The model stopped with finish_reason '{word}'."}


def says(value: Any, depth: int = _DEPTH) -> bool:
    """Whether a value carries content: ``[{"type": "text", "text": ""}]`` carries none."""
    if isinstance(value, dict) and depth:
        return any(says(inner, depth - 1) for name, inner in value.items() if name != "type")
    if isinstance(value, list) and depth:
        return any(says(inner, depth - 1) for inner in value)
    return value is not None and value != ""


_ALIVE = frozenset({"keepalive", "ping", "pong", "heartbeat", "noop", "rate_limits", "ratelimits"})


def is_sign_of_life(kind: str) -> bool:
    """Whether an event of this type is only a keep-alive, as ``response.keepalive`` is."""
    words = kind.lower().replace("keep-alive", "keepalive").replace("keep_alive", "keepalive").split(".")
    return not _ALIVE.isdisjoint(words)


_IDLE = frozenset({b"", b"ping", b"pong", b"keep-alive", b"keepalive", b"heartbeat", b"null", b"[done]"})


def is_idle_text(data: bytes) -> bool:
    """Whether data that is no JSON object only keeps a stream open, as ``data: ping`` does."""
    return len(data) < 64 and data.strip(b' :"\t').lower() in _IDLE


#: An answer has one of these fields, an error has none.
_OF_ANSWERS = ("choices", "data", "output", "results", "delta", "response", "usage")
#: Fields that hold an error's message in a document without an object ``error``.
_WORDS = ("message", "msg", "error_msg", "error_message", "errorMessage", "detail", "details", "errors")


def error_in(document: Any) -> object | None:
    """Return the raw error in a document that is no answer; ``None`` when there is none.

    Gemini's OpenAI endpoint puts the error into a list. FastAPI's ``detail``, vLLM's ``object: error`` and
    ``{"code": 500, "message": …}`` are errors without a field ``error``.
    """
    if isinstance(document, list):
        errors = (error_in(item) for item in document[:10] if isinstance(item, dict))
        return next((error for error in errors if error is not None), None)
    if not isinstance(document, dict):
        return None
    if is_error(document.get("error")):
        error: object = document["error"]
        return error
    if "error" in (document.get("object"), document.get("type")):
        return document
    if any(document.get(name) is not None for name in _OF_ANSWERS):
        return None
    if _is_minimax_error(document.get("base_resp")):
        return document
    if not any(document.get(name) for name in _WORDS):
        return None
    return document if _is_marked_error(document) else None


def _is_minimax_error(base: Any) -> bool:
    """Whether MiniMax reports an error: a ``status_code`` other than 0 in an answer of status 200."""
    return isinstance(base, dict) and bool(base.get("status_code"))


def is_error(value: Any) -> bool:
    """Whether the value of a field ``error`` is an error: ``null``, ``{}`` and ``{"code": 0}`` are none."""
    if isinstance(value, dict):
        return "type" in value or any(inner and says(inner) for inner in value.values())
    return bool(value)


#: Codes of success, as text. SiliconFlow's error codes have five digits and begin with 2, too.
_GOOD_CODE = re.compile(r"0*|2\d\d")


def _is_marked_error(document: Mapping[str, Any]) -> bool:
    """Whether a document with a message reports an error, and not the state of a queue or a job."""
    if any(document.get(name) for name in ("detail", "errors", "error_code", "error_msg", "error_message")):
        return True
    kind = f"{document.get('type')} {document.get('object')} {document.get('status')}".lower()
    if "error" in kind or "exception" in kind or "fail" in kind:
        return True
    numbers = [document.get(name) for name in ("code", "status", "status_code", "statusCode")]
    codes = [str(number) for number in numbers if number is not None and number is not False]
    return any(not _GOOD_CODE.fullmatch(code) for code in codes)


def mend(data: bytes) -> tuple[bytes, dict[str, Any]] | None:
    """Repair a JSON object that servers in Python write and other readers refuse.

    Return valid JSON and its value; ``None`` when it cannot be repaired. ``NaN`` and ``Infinity`` become
    ``null``. ``-Infinity`` becomes -9999.0, OpenAI's own value for a very low logprob. Half an emoji, bytes
    that are no UTF-8 and control characters in texts are repaired too.
    """
    if len(data) > MAX_MENDED:
        return None
    constants = {"-Infinity": -9999.0}
    try:
        read = json.loads(data.decode("utf-8", "replace"), strict=False, parse_constant=constants.get)
        if not isinstance(read, dict):
            return None
        return json.dumps(read, separators=(",", ":"), allow_nan=False).encode(), read
    except (ValueError, RecursionError):
        return None
