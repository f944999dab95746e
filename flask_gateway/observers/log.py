"""One line per request on standard error: JSON for machines, text for people.

Never a key, and a prompt only where the record has one (``GATEWAY_LOG_PROMPTS``). What each field means
is in docs/observability.md.
"""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

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


def _fields(record: Record) -> dict[str, Any]:
    usage = record.usage
    fields = {
        "request_id": record.ids.request,
        "trace_id": record.ids.trace,
        "key": record.key,
        "method": record.method,
        "path": record.path,
        "stream": record.stream or None,
        "model": record.model,
        "served": record.served,
        "upstream": record.upstream,
        "attempts": ", ".join(map(str, record.attempts)) or None,
        "status": record.status,
        "outcome": record.outcome,
        "code": record.code,
        "seconds": _rounded(record.seconds),
        "first_byte_seconds": _rounded(record.first_byte),
        "overhead_seconds": _rounded(record.overhead),
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
        "cached_tokens": (usage.cached_tokens or None) if usage else None,
        "usage_source": usage.source if usage else None,
        "prompt": record.prompt,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _json(record: Record, now: float) -> str:
    return msgspec.json.encode({"time": _timestamp(now), **_fields(record)}).decode() + "\n"


def _text(record: Record, now: float) -> str:
    # A caller chooses its path and model: repr keeps what it chose on this line.
    named = " ".join(f"{name}={_shown(value)}" for name, value in _fields(record).items())
    return f"{_timestamp(now)} {named}\n"


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isascii() and text.isprintable() and " " not in text else repr(text)


def _timestamp(now: float) -> str:
    millis = int(now % 1 * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{millis:03d}Z"
