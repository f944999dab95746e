"""Limits the calls in flight of each caller and of each upstream, over all workers.

A call that finds no free slot is refused at once (429 for the caller's limit); nothing queues here.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..model.call import Call, Outcome
from ..model.errors import RETRY_SOON, TooManyConcurrent, UpstreamFull
from ..state.store import state_key
from .leases import ConcurrencyLeases

#: The limit of an upstream whose calls are counted and not limited.
UNLIMITED = 1 << 40


def upstream_key(upstream: str) -> str:
    """Return the store's key for the slots of an upstream."""
    return state_key("slots:upstream", upstream)


class SlotPermit:
    """A slot in use. Settling it twice releases it once."""

    headers: Mapping[str, str] = {}

    def __init__(self, leases: ConcurrencyLeases, key: str, epoch: int) -> None:
        self._leases = leases
        self._key = key
        self._epoch = epoch

    def settle(self, outcome: Outcome) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Free the slot. No slot remembers how its call ended."""
        epoch, self._epoch = self._epoch, 0
        if epoch:
            self._leases.release(self._key, epoch)


class CallerBulkhead:
    """Limits the calls in flight of each caller (``model.protocols.Guard``)."""

    def __init__(self, leases: ConcurrencyLeases) -> None:
        self._leases = leases

    def admit(self, call: Call) -> SlotPermit:
        """:raises TooManyConcurrent: the caller has as many calls in flight as its key allows."""
        limit, key = call.caller.max_concurrent, state_key("slots:key", call.caller.id)
        epoch = self._leases.acquire(key, limit) if limit else 0
        if limit and not epoch:
            raise TooManyConcurrent(
                f"This key already has {limit} calls in progress, its limit. Wait until one of them ends.",
                retry_after=RETRY_SOON,
            )
        return SlotPermit(self._leases, key, epoch)


class UpstreamBulkhead:
    """Limits the calls in flight of one upstream (``model.protocols.Guard``)."""

    def __init__(self, upstream: str, limit: int, leases: ConcurrencyLeases) -> None:
        self.upstream = upstream
        self._limit = limit
        self._leases = leases
        self._key = upstream_key(upstream)

    def admit(self, call: Call) -> SlotPermit:
        """:raises UpstreamFull: the upstream has as many calls in flight as its limit allows."""
        epoch = self._leases.acquire(self._key, self._limit)
        if not epoch:
            raise UpstreamFull(
                f"Upstream '{self.upstream}' already has {self._limit} calls in progress, its limit.",
                retry_after=RETRY_SOON,
                upstream=self.upstream,
            )
        return SlotPermit(self._leases, self._key, epoch)
