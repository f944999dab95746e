"""Writes one line per request to standard error: JSON for machines, text for people.

A line never has a key, and it has a prompt only if the record has one (``GATEWAY_LOG_PROMPTS``).
docs/observability.md explains each field. A line has at most ``log_output.LONGEST`` bytes, so that the lines
of several workers do not mix in a pipe. If it is longer, the longest field that a caller chose is cut.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TextIO

import msgspec

from ..model.money import dollars
from ..model.spend import Leg, total
from .log_output import LONGEST, STDERR, is_plain
from .request_record import Observer, RequestRecord

#: Fields that may be long, because a caller chooses them.
_CHOSEN = ("model", "path", "upstream_model", "attempts", "prompt")
_CUT = "..."


def log_to(form: str, stream: TextIO | None = None) -> Observer:
    """Make the observer that writes the lines.

    :param form: ``json`` or ``text``.
    :param stream: where to write; by default the ``sys.stderr`` of the moment.
    """
    render = _json if form == "json" else _text

    def observe(record: RequestRecord) -> None:
        now = time.time()
        line = _fitted(_line(record, _timestamp(now)), render)
        if stream is None and is_plain():
            STDERR.write(line)
            return
        out = stream or sys.stderr
        out.write(line.decode())
        out.flush()

    return observe


class _Line(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The fields of a line, in this order. A field without a value is left out."""

    time: str = ""
    request_id: str
    trace_id: str
    key: str | None = None
    method: str | None = None
    path: str | None = None
    stream: bool = False
    model: str | None = None
    upstream_model: str | None = None
    upstream: str | None = None
    attempts: str | None = None
    status: int
    outcome: str | None = None
    code: str | None = None
    duration_seconds: float
    first_byte_seconds: float | None = None
    overhead_seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    usage_source: str | None = None
    cost_usd: str | None = None
    cost_source: str | None = None
    dropped_events: int = 0
    plugins: str | None = None
    prompt: str | None = None


#: The names of all fields, in the order of the line.
LOG_FIELDS = _Line.__struct_fields__


def _line(record: RequestRecord, time: str) -> _Line:
    usage = record.usage
    return _Line(
        time=time,
        request_id=record.ids.request,
        trace_id=record.ids.trace,
        key=record.key,
        method=record.method,
        path=record.path,
        stream=record.stream,
        model=record.model,
        upstream_model=record.upstream_model,
        upstream=record.upstream,
        attempts=", ".join(map(str, record.attempts)) or None,
        status=record.status,
        outcome=record.outcome,
        code=record.code,
        duration_seconds=round(record.seconds, 6),
        first_byte_seconds=_rounded(record.first_byte),
        overhead_seconds=_rounded(record.overhead),
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        cached_tokens=(usage.cached_tokens or None) if usage else None,
        usage_source=usage.source if usage else None,
        **_cost(record.legs) if record.legs else _NO_COST,
        dropped_events=record.dropped,
        plugins=record.plugins or None,
        prompt=record.prompt,
    )


_NO_COST: dict[str, str] = {}


def _cost(legs: tuple[Leg, ...]) -> dict[str, str]:
    """The fields of the cost. One part of an answer without a price makes the cost unknown."""
    cost = legs[0].cost if len(legs) == 1 else total(legs)
    if cost is None:
        return {"cost_source": "unpriced"}
    for leg in legs:
        if leg.source != "reported":
            return {"cost_usd": dollars(cost), "cost_source": "estimated"}
    return {"cost_usd": dollars(cost), "cost_source": "reported"}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _fitted(line: _Line, render: Callable[[_Line], bytes]) -> bytes:
    data = render(line)
    while len(data) > LONGEST:
        longest = max(_CHOSEN, key=lambda name: len(getattr(line, name) or ""))
        text = (getattr(line, longest) or "").removesuffix(_CUT)
        if not text:
            return data
        setattr(line, longest, text[: len(text) * LONGEST // (len(data) + 10)] + _CUT)
        data = render(line)
    return data


def _json(line: _Line) -> bytes:
    data = msgspec.json.encode(line)
    if not data.isascii() or data.find(b"\x7f") >= 0:  # for one byte twice as fast as ``in``
        data = _escaped(data.decode()).encode()
    return data + b"\n"


def _escaped(text: str) -> str:
    """Escape characters that control a terminal or are invisible: C1, DEL, bidi, zero width."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _text(line: _Line) -> bytes:
    # repr escapes line breaks in the path and the model, which a caller chooses.
    fields = msgspec.to_builtins(line)
    when = fields.pop("time")
    named = " ".join(f"{name}={_shown(value)}" for name, value in fields.items())
    return f"{when} {named}\n".encode()


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isascii() and text.isprintable() and " " not in text else repr(text)


def _timestamp(now: float) -> str:
    second = int(now)
    return f"{_second(second)}.{int((now - second) * 1000):03d}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
