"""Maps an upstream's error to the gateway's error class: by its status, its body or an event of a stream."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..model import errors
from .error_body import ErrorBody, clean, presentable, read_error, read_error_body
from .error_meaning import Meaning, meaning_of, status_of
from .pause import limit_reset, pause_in_error, pause_in_words, retry_after

#: At most this much of an error's body is read, bytes.
MAX_ERROR_BODY = 64 * 1024

#: Refusals that the caller sees in the upstream's own words, and the code where the upstream sends none.
_REFUSALS: dict[Meaning, tuple[type[errors.UpstreamRefusal], str | None]] = {
    Meaning.TOO_LONG: (errors.UpstreamTooLong, "context_length_exceeded"),
    Meaning.RATE_LIMITED: (errors.UpstreamThrottled, "rate_limit_exceeded"),
    Meaning.UNAFFORDABLE: (errors.UpstreamUnaffordable, None),
    Meaning.CONTENT_FLAGGED: (errors.UpstreamFlagged, "content_policy_violation"),
    Meaning.MODEL_NOT_FOUND: (errors.UpstreamModelNotFound, "model_not_found"),
    Meaning.REJECTED: (errors.UpstreamRefusal, None),
}


def error_for(
    status: int, headers: Mapping[str, str], body: bytes, upstream: str, *, url: str = ""
) -> errors.UpstreamError:
    """Return the error for an answer with that status.

    :param body: the answer's body, up to ``MAX_ERROR_BODY``.
    :param url: the URL that the request was sent to.
    """
    summary = f"Upstream '{upstream}' answered {status}"
    error = _error(summary, status, headers, read_error_body(body), upstream, url)
    error.answered = status
    return error


def reported_error(document: object, upstream: str) -> errors.UpstreamError:
    """Return the error for one that an upstream reported in an answer of status 200.

    :param document: the error object, or the body, event or list around it.
    """
    body = read_error(document)
    named = _named(document) or next(iter(sorted(body.codes)), None) or body.number
    code = f" ({str(named)[:64]})" if named else ""
    return _error(f"Upstream '{upstream}' reported an error{code} in its answer", 200, {}, body, upstream, "")


def page_error(status: int, body: bytes, upstream: str) -> errors.UpstreamShowsPage | None:
    """Return the error for a web page with a good status; ``None`` when the body is none."""
    page = read_error_body(body).page if body.lstrip()[:1] == b"<" else None
    if page is None:
        return None
    summary = f"Upstream '{upstream}' answered {status} with a web page{_quoted(page)}"
    return errors.UpstreamShowsPage(f"{summary}, as a login or a wrong URL does: {_CHECK}", upstream=upstream)


_CHECK = "check the scheme, host, port and path of its URL; tell the operator."


def _named(document: object) -> str | None:
    name = (document.get("code") or document.get("type")) if isinstance(document, Mapping) else None
    return clean(str(name)) if isinstance(name, str | int) and name else None


def _error(
    summary: str, http: int, headers: Mapping[str, str], body: ErrorBody, upstream: str, url: str
) -> errors.UpstreamError:
    status = status_of(http, body)
    meaning = meaning_of(status, body)
    if meaning is Meaning.OUT_OF_CREDIT:
        return _out_of_credit(summary, status, headers, body, upstream)
    if meaning in _REFUSALS:
        return _refusal(meaning, summary, status, headers, body, upstream)
    wait = _pause(headers, body)
    match meaning:
        case Meaning.CREDENTIAL_REFUSED:
            return errors.UpstreamAuthFailed(
                f"{summary}: it does not accept the credential that the gateway is configured with. "
                "Your own key is fine; tell the operator.",
                upstream=upstream,
            )
        case Meaning.MISCONFIGURED | Meaning.NEEDS_TLS:
            return errors.UpstreamMisconfigured(
                _what_to_change(summary, meaning, status, headers, body, url), upstream=upstream
            )
        case Meaning.TIMED_OUT:
            return errors.UpstreamTimeout(
                f"{summary}: it gave up waiting. Ask for a shorter answer, or send the request again.",
                retry_after=wait,
                upstream=upstream,
            )
        case Meaning.OVERLOADED:
            return errors.UpstreamOverloaded(
                f"{summary}: it has too much to do, or is still loading its model. Try again later.",
                retry_after=wait,
                upstream=upstream,
            )
    return errors.UpstreamError(f"{summary}. {errors.SEND_AGAIN}", retry_after=wait, upstream=upstream)


def _refusal(
    meaning: Meaning, summary: str, status: int, headers: Mapping[str, str], body: ErrorBody, upstream: str
) -> errors.UpstreamRefusal:
    kind, code = _REFUSALS[meaning]
    throttled = meaning is Meaning.RATE_LIMITED
    status = 429 if throttled else status if status < 500 else 400
    message = summary + (": too many requests." if throttled else ".")
    fields = _error_object(body, message, "requests" if throttled else "invalid_request_error")
    if code is not None and (fields.get("code") is None or str(fields["code"]).isdigit()):
        fields["code"] = code
    wait = _pause(headers, body) if throttled else None
    error = kind(message, status=status, error_object=fields, retry_after=wait, upstream=upstream)
    if status == 429 and not throttled:
        error.headers["x-should-retry"] = "false"  # the request itself is too large for the limit
    return error


def _out_of_credit(
    summary: str, status: int, headers: Mapping[str, str], body: ErrorBody, upstream: str
) -> errors.UpstreamError:
    if status == 429:
        message = summary + ": too many requests."
        fields = _error_object(body, message, "requests")
        wait = _pause(headers, body)
        return errors.UpstreamQuotaExhausted(
            message, status=429, error_object=fields, retry_after=wait, upstream=upstream
        )
    return errors.UpstreamOutOfCredit(
        f"{summary}: the gateway's account there has nothing left to spend{_quoted(body.words)}. "
        "Your own key is fine; tell the operator.",
        upstream=upstream,
    )


def _error_object(body: ErrorBody, message: str, kind: str) -> dict[str, Any]:
    """Return the upstream's own ``error`` object, in OpenAI's shape as far as possible."""
    fields = presentable(body.fields)
    fields["message"] = body.words or message
    if not isinstance(fields.get("type"), str):
        fields["type"] = kind
    if not isinstance(fields.get("param"), str):
        fields["param"] = None
    code = fields.get("code")
    fields["code"] = code if isinstance(code, str | int) and not isinstance(code, bool) else None
    return fields


def _pause(headers: Mapping[str, str], body: ErrorBody) -> float | None:
    now = time.time()
    waits = [retry_after(headers, now), *(pause_in_error(layer, now) for layer in body.layers)]
    waits += [pause_in_words(body.words), limit_reset(headers, now)]
    return next((wait for wait in waits if wait is not None), None)


def _what_to_change(
    summary: str, meaning: Meaning, status: int, headers: Mapping[str, str], body: ErrorBody, url: str
) -> str:
    if meaning is Meaning.NEEDS_TLS:
        return f"{summary}: its port expects TLS. Its URL has to begin with https://; tell the operator."
    if 300 <= status < 400:
        secure = url.startswith("http://") and headers.get("location", "").startswith("https://")
        if secure:
            return f"{summary}, a redirect to https: its URL has to begin with https://; tell the operator."
        return f"{summary}, a redirect, which no OpenAI API does: {_CHECK}"
    if status in (404, 410):
        nothing = f"{summary}: there is nothing at this address{_quoted(body.words)}"
        return f"{nothing}. Most URLs end in /v1: {_CHECK}"
    if body.page is not None:
        return f"{summary} with a web page{_quoted(body.page)}, as a firewall or a login does: {_CHECK}"
    return f"{summary}, which no OpenAI API does: {_CHECK}"


def _quoted(words: str) -> str:
    return f" ('{words[:300]}')" if words else ""
