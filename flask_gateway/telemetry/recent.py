"""Keeps the last requests of this machine for the operator's page: no prompts, no keys, no bodies."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

import msgspec

from ..model.errors import CallerLeft, Verdict
from ..model.spend import total
from .request_record import RequestRecord
from .rings import ALL, Marked, decoded

#: The most characters of a text, and the most attempts, of an entry that is too long. The first that fits.
_SHORTER = ((60, 6), (24, 4), (10, 2))
#: The most characters of an id, by which requests are searched.
_LONGEST_ID = 130


class EndKind(StrEnum):
    """How a request ended."""

    OK = "ok"
    #: The gateway or an upstream failed, or an upstream asked for a pause.
    FAILED = "failed"
    #: The caller's own fault or limit: a bad body, a wrong key, a rate limit, a budget.
    REFUSED = "refused"
    #: The caller has left before the end.
    LEFT = "left"


_FAILED = frozenset({Verdict.FAILURE.value, Verdict.THROTTLED.value, Verdict.CREDENTIAL_REFUSED.value})


def kind_of(record: RequestRecord) -> EndKind:
    """Say how a request ended."""
    if record.code == CallerLeft.code:
        return EndKind.LEFT
    if record.status >= 500 or record.outcome in _FAILED:
        return EndKind.FAILED
    return EndKind.REFUSED if record.status >= 400 else EndKind.OK


class AttemptEntry(msgspec.Struct, frozen=True, array_like=True):
    """One attempt at an upstream. ``at``: seconds from the arrival of the request to its beginning."""

    upstream: str
    result: str
    at: float
    seconds: float
    model: str | None = None


class RequestEntry(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """A request as the page shows it. The fields are those of :class:`RequestRecord`.

    :param at: when the request ended, seconds since the epoch.
    :param cost: nano-dollars; ``None`` where it is not known.
    """

    at: float
    kind: str
    status: int
    seconds: float
    request_id: str
    trace_id: str
    key: str | None
    method: str | None
    path: str | None
    stream: bool
    model: str | None
    upstream: str | None
    upstream_model: str | None
    outcome: str | None
    code: str | None
    limited: str | None
    first_byte: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    cost: int | None
    attempts: tuple[AttemptEntry, ...]


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(RequestEntry).decode


def encoded(record: RequestRecord, kind: EndKind, now: float, most: int) -> bytes:
    """Encode a request as an :class:`RequestEntry`.

    :param now: seconds since the epoch. :param most: the longest result, bytes; texts are cut to fit.
    """
    ids, usage, started = record.ids, record.usage, record.started_ns
    tokens = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) if usage else _NO_TOKENS
    fields = (
        now,
        kind,
        record.status,
        record.seconds,
        ids.request,
        ids.trace,
        record.key,
        record.method,
        record.path,
        record.stream,
        record.model,
        record.upstream,
        record.upstream_model,
        record.outcome,
        record.code,
        record.limited,
        record.first_byte,
        *tokens,
        total(record.legs) if record.legs else None,
        [
            (one.upstream, one.result, (one.started_ns - started) / 1e9, one.seconds, one.model)
            for one in record.attempts
        ],
    )
    body = _encode(fields)
    if len(body) <= most:
        return body
    for longest, attempts in _SHORTER:
        short: list[object] = [_shortened(field, longest, attempts) for field in fields]
        short[4:6] = ids.request[:_LONGEST_ID], ids.trace[:_LONGEST_ID]
        body = _encode(short)
        if len(body) <= most:
            break
    return body


_NO_TOKENS = (None, None, None)


_MARKS = {kind: place << 10 for place, kind in enumerate(EndKind)}


def mark_of(kind: EndKind, status: int) -> int:
    """The mark of an entry, by which it is found without being decoded: its kind and its status."""
    return _MARKS[kind] | status & 1023


def marked_by(status: str) -> Marked:
    """The marks of all entries with this end, which is a kind (``failed``), a status (``429``) or empty."""
    if status in _MARKS:
        return Marked(3 << 10, _MARKS[EndKind(status)])
    return Marked(1023, int(status)) if is_status(status) else ALL


def is_status(text: str) -> bool:
    """Whether a text is a status of HTTP."""
    return len(text) == 3 and text.isascii() and text.isdigit()


def needle(value: str) -> bytes:
    """The bytes that an entry contains which has this text in a field: the length, then the text."""
    return _encode(value.encode("utf-8", "replace").decode())


def ended_before(moment: float, body: bytes) -> bool:
    """Whether the entry with this body ended before that moment, seconds since the epoch."""
    try:
        return decode(body).at < moment
    except msgspec.MsgspecError:
        return True


def _shortened(value: Any, longest: int, attempts: int) -> Any:
    """The same with short texts, and with the first attempts."""
    if isinstance(value, str):
        return value if len(value) <= longest else value[: longest - 1] + "…"
    if isinstance(value, tuple | list):
        kept = value[:attempts] if isinstance(value, list) else value
        return [_shortened(one, longest, attempts) for one in kept]
    return value


def merged(rings: Iterable[Iterator[bytes]]) -> Iterator[RequestEntry]:
    """Yield the entries of several rings, the newest first, each once. Other threads get their turn
    meanwhile."""
    seen: set[tuple[str, float]] = set()
    for number, entry in enumerate(
        heapq.merge(*(decoded(ring, decode) for ring in rings), key=lambda one: -one.at), 1
    ):
        if number % 256 == 0:
            time.sleep(0)
        if (entry.request_id, entry.at) not in seen:
            seen.add((entry.request_id, entry.at))
            yield entry
