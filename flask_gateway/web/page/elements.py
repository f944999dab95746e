"""Makes the HTML elements that rows of tables repeat: names, times, states. Templates use them as filters.

A macro of Jinja takes three to five times as long, and a page has hundreds of these elements.
"""

from __future__ import annotations

import time
from functools import lru_cache
from urllib.parse import quote_plus

from markupsafe import Markup, escape

from ...app.candidates import CandidateStatus
from ...telemetry.recent import RequestEntry
from .shown import NONE, shown_seconds

#: A longer name is cut by the style sheet, and has its whole text as a title.
_LONG_NAME = 24
#: The classes of reasons for which a candidate is asked, or is not. The others are warnings.
_REASONS = {
    "chosen": "ok",
    "next": "ok",
    "open": "failed",
    "credential refused": "failed",
    "not allowed": "failed",
}
#: The classes of the states of an upstream. The others are warnings.
_STATES = {"closed": "ok", "open": "failed", "credential refused": "failed"}


def name_element(text: str | None) -> Markup:
    """A name that a stranger chose. Its direction does not change that of the text around it."""
    shown = escape(text or NONE)
    if text and len(text) > _LONG_NAME:
        return Markup(f'<span class="name" title="{shown}">{shown}</span>')
    return Markup(f"<bdi>{shown}</bdi>")


def time_element(at: float) -> Markup:
    """The time of day, UTC, with the date as a title. :param at: seconds since the epoch."""
    return _time_element(int(at))


@lru_cache(maxsize=1024)
def _time_element(at: int) -> Markup:
    day, clock = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)).split()
    return Markup(f'<time datetime="{day}T{clock}Z" title="{day} {clock} UTC">{clock}</time>')


@lru_cache(maxsize=1024)
def _date_element(at: int) -> Markup:
    day, clock = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)).split()
    return Markup(f'<time datetime="{day}T{clock}Z">{day} {clock} UTC</time>')


def date_element(at: float) -> Markup:
    """Date and time, UTC. :param at: seconds since the epoch."""
    return _date_element(int(at))


def kind_element(entry: RequestEntry) -> Markup:
    """The status of a request, and how it ended."""
    kind = escape(entry.kind)
    return Markup(f'<span class="state {kind}">{entry.status} {kind}</span>')


def state_element(word: str) -> Markup:
    """The state of an upstream or of a breaker, by its word, a shape and a colour."""
    sign = "●" if word == "closed" else "■"
    return Markup(f'<span class="state {_STATES.get(word, "warn")}">{sign} {escape(word)}</span>')


def reason_element(one: CandidateStatus) -> Markup:
    """Whether a candidate is asked, why not, and for how long not."""
    wait = "" if one.retry_after is None else f" for {shown_seconds(one.retry_after)}"
    kind = _REASONS.get(one.reason, "warn")
    return Markup(f'<span class="state {kind}">{escape(one.reason)}</span>{wait}')


def candidate_element(one: CandidateStatus) -> Markup:
    """A candidate in a row of candidates."""
    name = name_element(f"{one.upstream}/{one.model}")
    return Markup(f"{one.tier}. {name} {reason_element(one)}")


@lru_cache(maxsize=512)
def parameter(value: str, name: str) -> str:
    """A query string of one parameter."""
    return f"{name}={quote_plus(value)}"
