"""Computes for how long an operator has taken an upstream out: it gets no new calls."""

from __future__ import annotations

from ..state.store import SECOND

#: The longest time, microseconds.
LONGEST_OUT = 24 * 3600 * SECOND


def out_left(until: int, now: int) -> int:
    """Return how long it lasts, microseconds. Ignore a time too far ahead: the clock was set back."""
    left = until - now
    return left if 0 < left <= LONGEST_OUT else 0
