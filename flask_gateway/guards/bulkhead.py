"""Limits the calls in flight of each caller, team, model, end user and upstream, over all workers.

A call that finds no free slot is refused at once (429 for the caller's limit); nothing queues here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..model.call import Call, Outcome
from ..model.errors import RETRY_SOON, TooManyConcurrent, UpstreamFull
from ..model.limits import SubjectLimits, words_of
from ..model.protocols import NO_PERMIT, Permit
from ..state.store import state_key
from ..state.together import StoreUpdate
from .leases import ConcurrencyLeases
from .permits import JointPermit

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

    @property
    def is_held(self) -> bool:
        """Whether there is a slot to release."""
        return self._epoch != 0

    def settle_steps(self, outcome: Outcome) -> list[StoreUpdate]:
        """The change that :meth:`settle` makes."""
        return [self._leases.release_step(self._key, self._epoch)] if self._epoch else []

    def settle(self, outcome: Outcome) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Free the slot. No slot remembers how its call ended."""
        epoch, self._epoch = self._epoch, 0
        if epoch:
            self._leases.release(self._key, epoch)


def caller_slots(caller: str) -> str:
    """The store's key of the calls in flight of a caller, by its id."""
    return state_key("slots:key", caller)


def subject_slots(subject: str) -> str:
    """The store's key of the calls in flight of another subject."""
    return state_key("slots:subject", subject)


class CallerBulkhead:
    """Limits the calls in flight of each caller, and of the other subjects of its calls
    (``model.protocols.Guard``)."""

    def __init__(self, leases: ConcurrencyLeases) -> None:
        self._leases = leases

    def steps(self, call: Call) -> list[StoreUpdate]:
        """The changes of an admission (``guards.together``)."""
        caller, limits = call.caller, call.limits
        own = [(caller_slots(caller.id), caller.max_concurrent)] if caller.max_concurrent else []
        subjects = () if limits is None else (limits.sorted or limits.by_kind()).concurrent
        own += [(subject_slots(subject), limit.concurrent) for subject, limit in subjects]
        return [self._leases.step(key, limit) for key, limit in own]

    def admit(self, call: Call) -> Permit:
        """:raises TooManyConcurrent: a subject has as many calls in flight as it may."""
        caller = call.caller
        limits = call.limits
        subjects = () if limits is None else (limits.sorted or limits.by_kind()).concurrent
        if not (caller.max_concurrent or subjects):
            return NO_PERMIT
        own = self._take(caller_slots(caller.id), caller.max_concurrent, "")
        return self._joined(own, subjects) if subjects else own

    def _joined(self, own: SlotPermit, subjects: tuple[SubjectLimits, ...]) -> Permit:
        permits = [own]
        try:
            for subject, limit in subjects:
                permits.append(self._take(subject_slots(subject), limit.concurrent, subject))
        except TooManyConcurrent:
            for permit in reversed(permits):
                permit.cancel()
            raise
        return JointPermit(permits)

    def _take(self, key: str, limit: int, subject: str) -> SlotPermit:
        epoch = self._leases.acquire(key, limit) if limit else 0
        if limit and not epoch:
            raise TooManyConcurrent(
                f"{words_of(subject) if subject else 'This key'} already has {limit} calls in progress, "
                "its limit. Wait until one of them ends.",
                retry_after=RETRY_SOON,
            )
        return SlotPermit(self._leases, key, epoch)


class Ahead(Protocol):
    """The slots that calls have taken before an upstream is asked (``slots_ahead.py``)."""

    def slot(self, call: Call, key: str) -> SlotPermit | None:
        """Return the slot of a call, once; ``None``: it has asked for none."""
        ...


class UpstreamBulkhead:
    """Limits the calls in flight of one upstream (``model.protocols.Guard``).

    :param ahead: has the slots that were taken together with the limits of a key; ``None``: there are none.
    """

    def __init__(
        self, upstream: str, limit: int, leases: ConcurrencyLeases, ahead: Ahead | None = None
    ) -> None:
        self.upstream = upstream
        self.key = upstream_key(upstream)
        self._limit = limit
        self._leases = leases
        self._ahead = ahead

    def admit(self, call: Call) -> Permit:
        """:raises UpstreamFull: the upstream has as many calls in flight as its limit allows."""
        lent = None if self._ahead is None else self._ahead.slot(call, self.key)
        slot = self._permit(self._leases.acquire(self.key, self._limit)) if lent is None else lent
        if not slot.is_held:
            raise UpstreamFull(
                f"Upstream '{self.upstream}' already has {self._limit} calls in progress, its limit. "
                "Try again in a moment.",
                retry_after=RETRY_SOON,
                upstream=self.upstream,
            )
        return slot if lent is None else LentSlot(slot)

    def step(self) -> StoreUpdate:
        """The change that :meth:`admit` makes, for the limits of a key to be asked together with it."""
        return self._leases.step(self.key, self._limit, optional=True)

    def _permit(self, epoch: int) -> SlotPermit:
        return SlotPermit(self._leases, self.key, epoch)

    def taken(self, epoch: int) -> SlotPermit:
        """The slot that :meth:`step` has taken. :param epoch: the answer; 0: none was free."""
        return self._permit(self._leases.note(self.key, self._limit, epoch))


class LentSlot:
    """A slot in use that was taken together with the limits of a key.

    After an answer it is left to them. An error ends it, because another upstream may be asked meanwhile.
    """

    __slots__ = ("_slot",)

    headers: Mapping[str, str] = {}

    def __init__(self, slot: SlotPermit) -> None:
        self._slot = slot

    def settle(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self._slot.cancel()

    def cancel(self) -> None:
        self._slot.cancel()
