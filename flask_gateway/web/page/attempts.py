"""Finds the last attempts at each upstream among the last requests, and says what a failure means."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...telemetry.recent import RequestEntry

#: How many attempts of an upstream are shown, and among how many requests they are looked for.
_SHOWN, LOOK = 60, 1000
#: By the result of a failed attempt: what an operator does about it.
_TO_DO = {
    "401": "Its key is wrong or has expired: set a valid one.",
    "402": "Its account has no credit: pay, or take it out.",
    "403": "Check the rights of its API key.",
    "404": "It does not know the model or the path: check its URL and the names of its models.",
    "429": "It asks for fewer calls: raise its quota, or set max_in_flight.",
    "upstream_timeout": "It does not answer in time: take it out, or wait until it recovers.",
    "upstream_unreachable": "No connection: is it running? Run flask-gateway doctor.",
    "upstream_tls_error": "TLS fails: run flask-gateway doctor.",
}


class Tried(NamedTuple):
    """One attempt at an upstream. ``at``: when its request ended, seconds since the epoch."""

    at: float
    seconds: float
    result: str
    request_id: str

    @property
    def good(self) -> bool:
        return self.result == "200"


def to_do(result: str) -> str:
    """The next step of an operator after a failed attempt; empty if there is no rule for it."""
    if result.startswith("5") and len(result) == 3:
        return "It fails on its own side: look at its status page or its log."
    return _TO_DO.get(result, "")


def attempts_of(
    entries: Iterable[RequestEntry], most: int = _SHOWN, at: str | None = None
) -> dict[str, list[Tried]]:
    """The last attempts at each upstream, the oldest first.

    :param entries: the last requests, the newest first. :param at: the one upstream that is asked for.
    """
    found: defaultdict[str, list[Tried]] = defaultdict(list)
    for entry in entries:
        for one in reversed(entry.attempts):
            if (at is None or at == one.upstream) and len(tried := found[one.upstream]) < most:
                tried.append(Tried(entry.at, one.seconds, one.result, entry.request_id))
    return {name: tried[::-1] for name, tried in found.items()}


class FailureRow(NamedTuple):
    """The failures in a row at an upstream, up to now.

    :param last: the result of the newest. :param since: when the first ended, seconds since the epoch.
    """

    last: str
    since: float
    failures: int


def failure_rows(entries: Iterable[RequestEntry], most: int = _SHOWN) -> dict[str, FailureRow]:
    """The failures in a row at each upstream whose last attempt failed: what :func:`failing_since` finds
    among the last attempts, without a list of these.

    :param entries: the last requests, the newest first.
    """
    found: dict[str, FailureRow] = {}
    over: set[str] = set()
    for entry in entries:
        for one in reversed(entry.attempts):
            if (name := one.upstream) in over:
                continue
            before = found.get(name)
            if one.result == "200" or (before and before.failures == most):
                over.add(name)
            else:
                last, count = (before.last, before.failures) if before else (one.result, 0)
                found[name] = FailureRow(last, entry.at, count + 1)
    return found


def failing_since(tried: Sequence[Tried]) -> tuple[int, float | None]:
    """How many of the last attempts failed in a row, and when the first of them ended."""
    row = 0
    for one in reversed(tried):
        if one.good:
            break
        row += 1
    return row, tried[-row].at if row else None
