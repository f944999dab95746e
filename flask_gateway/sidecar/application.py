"""The WSGI application of the LiteLLM sidecar: chat completions and embeddings, answered by LiteLLM's SDK.

The gateway calls it as an OpenAI upstream and keeps all that it has for one: limits, breakers, failover. So
the SDK gets no retries, no fallbacks and no callbacks.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

#: The variable with the secret that the gateway sends as its key, and the one with the longest call, seconds.
SECRET, SECONDS = "LITELLM_SIDECAR_KEY", "LITELLM_SIDECAR_SECONDS"
LONGEST_SECONDS = 600.0
#: The largest body, bytes.
MOST_BODY = 64 * 1024 * 1024
#: Fields of a body that would lead the SDK elsewhere, or make it print.
_NOT_PASSED = frozenset(
    (
        *("api_base", "api_key", "base_url", "api_version", "custom_llm_provider", "callbacks", "logger_fn"),
        *("num_retries", "max_retries", "fallbacks", "timeout", "mock_response", "extra_headers", "headers"),
    )
)
Start = Callable[[str, list[tuple[str, str]]], Any]
_STATUS = {200: "200 OK", 400: "400 Bad Request", 401: "401 Unauthorized", 404: "404 Not Found"}


class Sidecar:
    """The application. :param litellm: the SDK's module. :param secret: without it every call is refused."""

    def __init__(self, litellm: Any, secret: str, seconds: float = LONGEST_SECONDS) -> None:
        self._litellm = litellm
        self._secret = secret
        self._seconds = seconds
        litellm.telemetry = False
        litellm.drop_params = False
        litellm.suppress_debug_info = True
        self._calls = {"/v1/chat/completions": litellm.completion, "/v1/embeddings": litellm.embedding}

    def __call__(self, environ: Mapping[str, Any], start: Start) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/health":
            return _answer(start, 200, {"status": "ok"})
        if not self._may(environ.get("HTTP_AUTHORIZATION", "")):
            return _answer(
                start, 401, _error("The secret is wrong. Set it on both sides.", "invalid_api_key")
            )
        call = self._calls.get(path)
        if call is None or environ.get("REQUEST_METHOD") != "POST":
            return _answer(
                start, 404, _error("Use POST /v1/chat/completions or /v1/embeddings.", "not_found")
            )
        try:
            body = _body(environ)
        except ValueError as error:
            return _answer(start, 400, _error(f"Send one JSON object: {error}.", "invalid_json"))
        return self._called(call, body, start)

    def _may(self, authorization: str) -> bool:
        given = authorization.encode("latin-1", "replace")
        return bool(self._secret) and hmac.compare_digest(given, f"Bearer {self._secret}".encode())

    def _called(self, call: Callable[..., Any], body: dict[str, Any], start: Start) -> Iterable[bytes]:
        fields = {name: value for name, value in body.items() if name not in _NOT_PASSED}
        try:
            answer = call(**fields, timeout=self._seconds, num_retries=0)
            if not fields.get("stream"):
                return _answer(start, 200, _plain(answer))
            chunks = iter(answer)
            first = next(chunks, None)
        except Exception as error:  # noqa: BLE001  # the SDK raises anything; the gateway gets it as an error
            return _answer(start, *_failed(error), _wait_of(error))
        start(_STATUS[200], [("Content-Type", "text/event-stream")])
        return _events(first, chunks)


def _events(first: Any, chunks: Iterator[Any]) -> Iterator[bytes]:
    try:
        if first is not None:
            yield _event(_plain(first))
        for chunk in chunks:
            yield _event(_plain(chunk))
        yield b"data: [DONE]\n\n"
    except Exception as error:  # noqa: BLE001  # the stream has begun: its error is its last event
        yield _event(_failed(error)[1])


def _event(document: Any) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def _plain(answer: Any) -> Any:
    """The SDK's object as JSON, without the fields that it only fills in."""
    return answer.model_dump(mode="json", exclude_none=True) if hasattr(answer, "model_dump") else answer


def _body(environ: Mapping[str, Any]) -> dict[str, Any]:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if not 0 < length <= MOST_BODY:
        raise ValueError("its length is missing or too large")
    document = json.loads(environ["wsgi.input"].read(length))
    if not isinstance(document, dict):
        raise ValueError("it is something else")
    return document


def _failed(error: Exception) -> tuple[int, dict[str, Any]]:
    """The status and the body of an exception of the SDK, whose classes are those of the openai SDK.

    ``code``, ``param`` and ``type`` are the provider's, where the SDK has kept its error.
    """
    status = getattr(error, "status_code", None)
    status = status if isinstance(status, int) and 400 <= status < 600 else 500
    said = getattr(error, "body", None)
    said = said if isinstance(said, dict) else {}
    code = said.get("code") or getattr(error, "code", None) or type(error).__name__
    fields = {name: said[name] for name in ("type", "param") if isinstance(said.get(name), str)}
    return status, _error(str(error)[:2000], str(code), **fields)


#: The headers with which a provider says how long to wait.
_WAITS = ("retry-after", "retry-after-ms")


def _wait_of(error: Exception) -> list[tuple[str, str]]:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    found = [(name, str(headers[name])) for name in _WAITS if name in headers]
    return [(name, value) for name, value in found if value.isascii() and value.isprintable()]


def _error(message: str, code: str, **fields: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "litellm_error", "param": None, "code": code, **fields}}


def _answer(start: Start, status: int, document: Any, headers: Iterable[tuple[str, str]] = ()) -> list[bytes]:
    body = json.dumps(document, separators=(",", ":")).encode()
    line = _STATUS.get(status, f"{status} Refused")
    start(line, [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers])
    return [body]


def from_environment() -> Sidecar:
    """The application for gunicorn. LiteLLM's own list of prices is used: nothing is fetched at the start."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    seconds = float(os.environ.get(SECONDS, LONGEST_SECONDS))
    return Sidecar(import_module("litellm"), os.environ.get(SECRET, ""), seconds)
