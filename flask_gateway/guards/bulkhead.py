"""The bulkheads: how many calls one caller, and one upstream, may have under way at once.

A call that finds no slot is refused at once; nothing queues here.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..model.call import Call, Outcome
from ..model.errors import TooManyConcurrent, UpstreamFull
from ..state.store import state_key
from .leases import ConcurrencyLeases

#: For an upstream whose calls are to be counted and not limited.
UNLIMITED = 1 << 40

#: When to ask again, seconds: nobody knows when a call will end.
RETRY_AFTER = 1.0


def upstream_key(upstream: str) -> str:
    """Under which key the slots of an upstream are taken."""
    return state_key("slots:upstream", upstream)


class SlotPermit:
    """A slot that is held. Settling it twice gives it back once."""

    headers: Mapping[str, str] = {}

    def __init__(self, slots: ConcurrencyLeases, key: str, epoch: int) -> None:
        self._slots = slots
        self._key = key
        self._epoch = epoch

    def settle(self, outcome: Outcome) -> None:
        epoch, self._epoch = self._epoch, 0
        if epoch:
            self._slots.release(self._key, epoch)


class CallerBulkhead:
    """Keeps one caller from taking all there is (``core.Guard``)."""

    def __init__(self, slots: ConcurrencyLeases) -> None:
        self._slots = slots

    def admit(self, call: Call) -> SlotPermit:
        """:raises TooManyConcurrent: the caller has as many calls under way as its key allows."""
        limit, key = call.caller.max_concurrent, state_key("slots:key", call.caller.id)
        epoch = self._slots.acquire(key, limit) if limit else 0
        if limit and not epoch:
            raise TooManyConcurrent(
                f"This key may have {limit} calls under way at once, and has. Wait for one to end.",
                retry_after=RETRY_AFTER,
            )
        return SlotPermit(self._slots, key, epoch)


class UpstreamBulkhead:
    """Keeps one upstream from being given more than it can take (``core.Guard``)."""

    def __init__(self, upstream: str, limit: int, slots: ConcurrencyLeases) -> None:
        self.upstream = upstream
        self._limit = limit
        self._slots = slots
        self._key = upstream_key(upstream)

    def admit(self, call: Call) -> SlotPermit:
        """:raises UpstreamFull: it has as many calls under way as we allow it."""
        epoch = self._slots.acquire(self._key, self._limit)
        if not epoch:
            raise UpstreamFull(
                f"Upstream '{self.upstream}' has {self._limit} calls under way, which is all it is given.",
                retry_after=RETRY_AFTER,
                upstream=self.upstream,
            )
        return SlotPermit(self._slots, self._key, epoch)
