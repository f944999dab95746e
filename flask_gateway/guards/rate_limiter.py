"""Limits the requests of each caller in any 60 seconds. A request above the limit is refused with 429."""

from __future__ import annotations

from collections.abc import Mapping

from ..model.call import Call, Caller, Outcome
from ..model.errors import RateLimited
from ..state.store import SECOND, Store, state_key
from .sliding_window import MINUTE, Acquire, GiveBack, Quota


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


class RateLimiter:
    """Limits the requests of each caller. Shared by all threads; the store guards its state."""

    def __init__(self, store: Store, window: float = MINUTE) -> None:
        self._store = store
        self._window = window

    def admit(self, call: Call) -> LimitPermit:
        """:raises RateLimited: the caller has used up its requests. The refused call is not counted."""
        caller = call.caller
        if not caller.rate_limit:
            return LimitPermit({})
        admitted, quota = self._store.update(_key(caller), self._change(caller), ttl=self._window * 2)
        headers = quota_headers(quota)
        if admitted:
            return LimitPermit(headers, self, caller, quota.stamps)
        wait = quota.wait / SECOND
        error = RateLimited(
            f"This key has used its {quota.limit} requests in {self._window:g} seconds. "
            f"Try again in {duration(quota.wait)}.",
            retry_after=wait,
        )
        error.headers.update(headers)
        raise error

    def give_back(self, caller: Caller, stamps: tuple[int, ...]) -> dict[str, str]:
        """Stop counting a request. Return the quota headers without it.

        :param stamps: of the quota with which the request was admitted.
        """
        back = GiveBack(self._change(caller), stamps)
        return quota_headers(self._store.update(_key(caller), back, ttl=self._window * 2))

    def headers(self, caller: Caller) -> dict[str, str]:
        """Return the quota headers for a response that uses none of the quota."""
        if not caller.rate_limit:
            return {}
        peek = self._change(caller).peek
        return quota_headers(self._store.update(_key(caller), peek, ttl=self._window * 2))

    def _change(self, caller: Caller) -> Acquire:
        return Acquire(caller.rate_limit, int(self._window * SECOND))


def _key(caller: Caller) -> str:
    return state_key("limit", caller.id)


class LimitPermit:
    """The permit of a counted request. A request that every guard admitted stays counted, however it ends.

    :param stamps: of the quota that counted it; empty if nothing did.
    """

    __slots__ = ("_caller", "_limiter", "_stamps", "headers")

    def __init__(
        self,
        headers: Mapping[str, str],
        limiter: RateLimiter | None = None,
        caller: Caller | None = None,
        stamps: tuple[int, ...] = (),
    ) -> None:
        self.headers = headers
        self._limiter = limiter
        self._caller = caller
        self._stamps = stamps

    def settle(self, outcome: Outcome) -> None:
        self._stamps = ()

    def cancel(self) -> None:
        stamps, self._stamps = self._stamps, ()
        if stamps and self._limiter is not None and self._caller is not None:
            self.headers = self._limiter.give_back(self._caller, stamps)
