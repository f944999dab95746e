"""Reads the pause that an upstream asks for before a retry, in its headers, error object or message."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeGuard

#: The longest pause an upstream may ask for, seconds. A longer one is not plausible and is cut to this.
MAX_RETRY_AFTER = 24 * 3600.0
#: A number above this is a moment (seconds since the epoch), not a duration.
_A_MOMENT = 1e9

#: Headers with the time when a limit is replenished, each with the header for what is left of that limit.
_RESETS = (
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    ("anthropic-ratelimit-requests-reset", "anthropic-ratelimit-requests-remaining"),
    ("anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-tokens-remaining"),
    ("anthropic-ratelimit-input-tokens-reset", "anthropic-ratelimit-input-tokens-remaining"),
    ("anthropic-ratelimit-output-tokens-reset", "anthropic-ratelimit-output-tokens-remaining"),
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
    ("ratelimit-reset", "ratelimit-remaining"),
    ("x-ratelimit-reset-after", "x-ratelimit-remaining"),
    ("ratelimitbysize-reset", "ratelimitbysize-remaining"),  # Mistral
    ("x-ratelimit-reset-requests-minute", "x-ratelimit-remaining-requests-minute"),  # Cerebras
    ("x-ratelimit-reset-tokens-minute", "x-ratelimit-remaining-tokens-minute"),
    ("x-ratelimit-reset-requests-day", "x-ratelimit-remaining-requests-day"),
    ("x-ratelimit-reset-tokens-day", "x-ratelimit-remaining-tokens-day"),
)
#: The ``RateLimit`` header of the IETF's drafts: ``"default";r=0;t=42``, or ``remaining=0, reset=42``.
_COMBINED = re.compile(r"\b(r|t|remaining|reset)\s*=\s*(\d{1,9})\b")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT = r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
_PART = re.compile(rf"(\d{{1,9}}(?:\.\d{{1,9}})?)\s*{_UNIT}(?![a-z])", re.IGNORECASE)
_DURATION = re.compile(rf"(?:\d{{1,9}}(?:\.\d{{1,9}})?\s*{_UNIT}\s*){{1,5}}", re.IGNORECASE)
_IN_WORDS = re.compile(
    r"(?:try again|retry|retry-after|retrydelay|wait|reset(?:s|ting)?)\"?"
    r"\s*(?:in|after|at least|for)?:?\s*\"?"
    rf"((?:\d{{1,9}}(?:\.\d{{1,9}})?\s*{_UNIT}(?![a-z])[\s,]*(?:and\s+)?){{1,5}})",
    re.IGNORECASE,
)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the pause that the headers ask for, seconds; ``None`` when they ask for none.

    OpenAI sends ``retry-after-ms``. ``Retry-After`` is seconds or a date (RFC 9110, section 10.2.3).

    :param now: seconds since the epoch.
    """
    wait = _number(headers.get("retry-after-ms", ""))
    if wait is not None:
        return _bounded(wait / 1000.0)
    text = headers.get("retry-after", "")
    try:
        date = parsedate_to_datetime(text)
        return _bounded(max(0.0, date.timestamp() - now))
    except (ValueError, OverflowError):
        return _until(text.partition(",")[0], now)  # two proxies may each have added one


def limit_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Return when the exhausted limits are replenished, in seconds from ``now``.

    A limit that is not exhausted counts only when no limit is reported as exhausted.
    """
    used_up: list[float] = []
    others: list[float] = []
    for name, left in _RESETS:
        wait = _until(headers.get(name), now)
        if wait is not None:
            (used_up if headers.get(left, "").strip() in ("0", "0.0") else others).append(wait)
    if not used_up and not others:
        return _combined_reset(headers.get("ratelimit", ""))
    return max(used_up) if used_up else min(others, default=None)


def _combined_reset(value: str) -> float | None:
    """Return when the first limit in a ``RateLimit`` header that is exhausted is replenished, seconds."""
    left = None
    for name, number in _COMBINED.findall(value[:1000].lower()):
        if name.startswith("r") and name != "reset":
            left = int(number)
        elif left == 0:
            return _bounded(float(number))
    return None


def pause_in_error(error: Mapping[str, object], now: float) -> float | None:
    """Return the pause in an error object: Google's ``RetryInfo``, OpenRouter's headers, plain fields."""
    for detail in _objects(error.get("details")):
        if (wait := _length(detail.get("retryDelay"))) is not None:
            return wait
    for name in ("retry_after", "retryAfter", "retry_after_seconds", "resets_in_seconds", "estimated_time"):
        if (wait := _length(error.get(name))) is not None:
            return wait
    for name in ("retry_after_ms", "retryAfterMs"):
        if (wait := _length(error.get(name))) is not None:
            return wait / 1000.0
    metadata = error.get("metadata")
    if not isinstance(metadata, Mapping):
        return None
    if (wait := _length(metadata.get("retry_after_seconds"))) is not None:
        return wait
    headers = metadata.get("headers")
    if not isinstance(headers, Mapping):
        return None
    plain = {str(name).lower(): str(value) for name, value in headers.items()}
    wait = retry_after(plain, now)
    return limit_reset(plain, now) if wait is None else wait


def pause_in_words(words: str) -> float | None:
    """Return the pause in "Please try again in 1m30s". The last one counts: quoted text stands before it."""
    pauses = _IN_WORDS.findall(words)
    return duration(pauses[-1][0]) if pauses else None


def duration(text: str) -> float | None:
    """Convert ``1m30s``, ``6ms``, ``39.5s``, ``7 seconds`` to seconds; ``None`` for anything else."""
    text = text.lower().replace("and", " ").replace(",", " ").strip()
    if not _DURATION.fullmatch(text):
        return None
    return _bounded(sum(float(number) * _seconds(unit) for number, unit in _PART.findall(text)))


def _seconds(unit: str) -> float:
    unit = unit.lower()
    return _UNITS["ms"] if unit.startswith(("ms", "milli")) else _UNITS[unit[0]]


def _length(value: object) -> float | None:
    """Convert a number of seconds, a duration, or Google's ``{"seconds": 39, "nanos": 5}`` to seconds."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _bounded(float(value))
    if isinstance(value, Mapping):
        seconds, nanos = _length(value.get("seconds", 0)), value.get("nanos")
        return None if seconds is None else seconds + (nanos / 1e9 if _is_nanos(nanos) else 0.0)
    if not isinstance(value, str):
        return None
    try:
        return _bounded(float(value))
    except ValueError:
        return duration(value)


def _until(value: str | None, now: float) -> float | None:
    """Return the seconds until a header's time.

    The header holds a duration, seconds, a moment (seconds or milliseconds), or an RFC 3339 time.
    """
    if not value:
        return None
    number = _number(value)
    if number is None:
        return _until_time(value, now)
    if number > _A_MOMENT * 1000:
        number /= 1000.0
    return _bounded(max(0.0, number - now) if number > _A_MOMENT else number)


def _until_time(value: str, now: float) -> float | None:
    wait = duration(value)
    if wait is not None:
        return wait
    try:
        time = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return _bounded(max(0.0, time.replace(tzinfo=time.tzinfo or UTC).timestamp() - now))


def _is_nanos(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 10**9


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _bounded(wait: float | None) -> float | None:
    return min(wait, MAX_RETRY_AFTER) if wait is not None and math.isfinite(wait) and wait >= 0 else None


def _objects(value: object) -> Iterable[Mapping[str, object]]:
    return [item for item in value[:32] if isinstance(item, Mapping)] if isinstance(value, list) else []
