"""One line per request on standard error: JSON for machines, text for people.

Never a key, and a prompt only where the record has one (``GATEWAY_LOG_PROMPTS``). What each field means
is in docs/observability.md.
"""

from __future__ import annotations

import sys
import time
from functools import lru_cache
from typing import TextIO

import msgspec

from ..record import Observer, Record


def log_to(form: str, stream: TextIO | None = None) -> Observer:
    """The observer that writes the lines.

    :param form: ``json`` or ``text``.
    :param stream: where to; standard error, looked up at each line, unless given.
    """
    line = _json if form == "json" else _text

    def observe(record: Record) -> None:
        out = stream or sys.stderr
        out.write(line(record, time.time()))  # in one write, lest two workers' lines mix
        out.flush()

    return observe


class _Line(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What a line says, in this order. What is not so, or not known, is left out."""

    time: str = ""
    request_id: str
    trace_id: str
    key: str | None = None
    method: str | None = None
    path: str | None = None
    stream: bool = False
    model: str | None = None
    served: str | None = None
    upstream: str | None = None
    attempts: str | None = None
    status: int
    outcome: str | None = None
    code: str | None = None
    seconds: float
    first_byte_seconds: float | None = None
    overhead_seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    usage_source: str | None = None
    prompt: str | None = None


def _line(record: Record, time: str) -> _Line:
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
        served=record.served,
        upstream=record.upstream,
        attempts=", ".join(map(str, record.attempts)) or None,
        status=record.status,
        outcome=record.outcome,
        code=record.code,
        seconds=round(record.seconds, 6),
        first_byte_seconds=_rounded(record.first_byte),
        overhead_seconds=_rounded(record.overhead),
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        cached_tokens=(usage.cached_tokens or None) if usage else None,
        usage_source=usage.source if usage else None,
        prompt=record.prompt,
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _json(record: Record, now: float) -> str:
    return msgspec.json.encode(_line(record, _timestamp(now))).decode() + "\n"


def _text(record: Record, now: float) -> str:
    # A caller chooses its path and model: repr keeps what it chose on this line.
    fields = msgspec.to_builtins(_line(record, ""))
    named = " ".join(f"{name}={_shown(value)}" for name, value in fields.items())
    return f"{_timestamp(now)} {named}\n"


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isascii() and text.isprintable() and " " not in text else repr(text)


def _timestamp(now: float) -> str:
    second = int(now)
    return f"{_second(second)}.{int((now - second) * 1000):03d}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
