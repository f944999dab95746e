"""Limits the requests of each caller, team, model or end user in any 60 seconds.

A request above a limit is refused with 429.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from ..model.call import COUNTING, Call, Caller, Outcome
from ..model.errors import RateLimited
from ..model.limits import words_of
from ..model.protocols import Permit
from ..state.store import SECOND, Store, state_key
from ..state.together import StoreUpdate
from .permits import JointPermit
from .sliding_window import MINUTE, Acquire, GiveBack, Quota

#: How many requests that only count tokens a caller may send for each other request.
COUNTS_PER_REQUEST = 10


def quota_headers(quota: Quota) -> dict[str, str]:
    """Return the OpenAI API's response headers for a caller's quota."""
    return {
        "x-ratelimit-limit-requests": str(quota.limit),
        "x-ratelimit-remaining-requests": str(quota.remaining),
        "x-ratelimit-reset-requests": duration(quota.reset),
    }


def duration(micros: int) -> str:
    """Format a duration as the OpenAI API does: ``120ms``, ``8.64s``, ``6m0s``."""
    millis = -(-micros // 1000)
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, rest = divmod(millis, 60_000)
    seconds = f"{rest / 1000:g}s"
    return f"{minutes}m{seconds}" if minutes else seconds


class _Limit(NamedTuple):
    """The requests of one subject.

    :param key: the store's key. :param subject: empty for the caller's own requests.
    """

    key: str
    requests: int
    subject: str = ""


class RateLimiter:
    """Limits the requests of each caller, and of the other subjects of its calls.

    Shared by all threads; the store guards its state.
    """

    def __init__(self, store: Store, window: float = MINUTE) -> None:
        self._store = store
        self._window = window

    def admit(self, call: Call) -> Permit:
        """:raises RateLimited: a subject has used up its requests. The refused call is not counted."""
        caller, limits = call.caller, call.limits
        counts = call.operation in COUNTING
        of_caller = _of_counts(caller) if counts else _own(caller)
        own = self._take(of_caller) if caller.rate_limit else LimitPermit({})
        if limits is None or counts:
            return own
        subjects = (limits.sorted or limits.by_kind()).requests
        if not subjects:
            return own
        permits = [own] if caller.rate_limit else []
        try:
            for subject, limit in subjects:
                permits.append(self._take(_Limit(_requests_key(subject), limit.requests, subject)))
        except RateLimited:
            for permit in reversed(permits):
                permit.cancel()
            raise
        return permits[0] if len(permits) == 1 else JointPermit(permits, _remaining) if permits else own

    def steps(self, call: Call) -> list[StoreUpdate]:
        """The changes of an admission (``guards.together``)."""
        caller, limits = call.caller, call.limits
        counts = call.operation in COUNTING
        asked = [_of_counts(caller) if counts else _own(caller)] if caller.rate_limit else []
        if limits is not None and not counts:
            subjects = (limits.sorted or limits.by_kind()).requests
            asked += [_Limit(_requests_key(subject), one.requests, subject) for subject, one in subjects]
        return [StoreUpdate(one.key, self._change(one.requests), self._window * 2) for one in asked]

    def _take(self, limit: _Limit) -> LimitPermit:
        admitted, quota = self._store.update(limit.key, self._change(limit.requests), ttl=self._window * 2)
        headers = quota_headers(quota)
        if admitted:
            return LimitPermit(headers, self, limit, quota.stamps)
        wait = quota.wait / SECOND
        error = RateLimited(
            f"{words_of(limit.subject) if limit.subject else 'This key'} has used its {quota.limit} requests "
            f"in {self._window:g} seconds. Try again in {duration(quota.wait)}.",
            retry_after=wait,
        )
        error.headers.update(headers)
        raise error

    def give_back(self, limit: _Limit, stamps: tuple[int, ...]) -> dict[str, str]:
        """Stop counting a request. Return the quota headers without it.

        :param stamps: of the quota with which the request was admitted.
        """
        back = GiveBack(self._change(limit.requests), stamps)
        return quota_headers(self._store.update(limit.key, back, ttl=self._window * 2))

    def headers(self, caller: Caller) -> dict[str, str]:
        """Return the quota headers for a response that uses none of the quota."""
        return quota_headers(self.quota(caller)) if caller.rate_limit else {}

    def quota(self, caller: Caller) -> Quota:
        """Return what is left to a caller with a limit."""
        return self._peek(_own(caller).key, caller.rate_limit)

    def quota_of_subject(self, subject: str, requests: int) -> Quota:
        """Return what is left of the requests of another subject."""
        return self._peek(_requests_key(subject), requests)

    def _peek(self, key: str, requests: int) -> Quota:
        return self._store.update(key, self._change(requests).peek, ttl=self._window * 2)

    def _change(self, requests: int) -> Acquire:
        return _acquire(requests, int(self._window * SECOND))


#: A change for each of the limits in use: it keeps nothing of a request.
_acquire = lru_cache(maxsize=1024)(Acquire)


def _requests_key(subject: str) -> str:
    return state_key("requests", subject)


def _own(caller: Caller) -> _Limit:
    return _limit_of(caller.id, caller.rate_limit)


@lru_cache(maxsize=4096)
def _limit_of(caller: str, requests: int) -> _Limit:
    return _Limit(state_key("limit", caller), requests)


def _of_counts(caller: Caller) -> _Limit:
    """The limit of requests that only count tokens. Claude Code sends 26 of them within a second."""
    return _Limit(state_key("counts", caller.id), COUNTS_PER_REQUEST * caller.rate_limit)


def _remaining(headers: Mapping[str, str]) -> int:
    return int(headers["x-ratelimit-remaining-requests"])


class LimitPermit:
    """The permit of a counted request. A request that every guard admitted stays counted, however it ends.

    :param stamps: of the quota that counted it; empty if nothing did.
    """

    __slots__ = ("_limit", "_limiter", "_stamps", "headers")

    def __init__(
        self,
        headers: Mapping[str, str],
        limiter: RateLimiter | None = None,
        limit: _Limit | None = None,
        stamps: tuple[int, ...] = (),
    ) -> None:
        self.headers = headers
        self._limiter = limiter
        self._limit = limit
        self._stamps = stamps

    def settle(self, outcome: Outcome) -> None:
        self._stamps = ()

    def cancel(self) -> None:
        stamps, self._stamps = self._stamps, ()
        if stamps and self._limiter is not None and self._limit is not None:
            self.headers = self._limiter.give_back(self._limit, stamps)
