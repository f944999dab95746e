"""Formats times, numbers and money for people. Pure."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from ...model.money import dollars

#: Stands for a value that is not known.
NONE = "\u2013"


def shown_seconds(value: float | None) -> str:
    """A duration as people say it: ``410 ms``, ``1.92 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if value is None:
        return NONE
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
    for unit, name, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if value >= unit:
            rest = int(value % unit // part)
            return f"{int(value // unit)} {name}" + (f" {rest} {small}" if rest else "")
    return ""


def shown_number(value: float | None) -> str:
    """A count, rounded: ``950``, ``41 k``, ``1.2 M``."""
    if value is None:
        return NONE
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * (10 if name == "k" else 1):
            scaled = value / unit
            return f"{scaled:.1f} {name}" if scaled < 10 else f"{scaled:.0f} {name}"
    return f"{value:.0f}" if value == int(value) or value >= 10 else f"{value:.1f}"


def shown_bytes(value: float) -> str:
    """An amount of memory or disk: ``0 B``, ``1.2 MB``."""
    number, _, unit = shown_number(value).partition(" ")
    return f"{number} {unit}B"


def shown_money(nano: int | None) -> str:
    """US dollars of nano-dollars."""
    return NONE if nano is None else f"$ {dollars(nano)}"


def shown_clock(at: float) -> str:
    """The time of day, UTC."""
    return time.strftime("%H:%M:%S", time.gmtime(at))


def shown_moment(at: float) -> str:
    """Date and time, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def shown_day(at: float) -> str:
    """The date, UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(at))


def shown_iso(at: float) -> str:
    """Date and time for machines (RFC 3339)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def shown_json(value: Any) -> str:
    """The value as JSON, to be escaped like any text: jinja2's own filter leaves the quotes of attributes."""
    return msgspec.json.encode(value).decode()
