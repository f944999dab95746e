"""Takes the slot of the upstream that a call asks first together with the limits of its key.

So an upstream's limit (``max_in_flight``) takes no round trip to Redis of its own. :class:`AheadGuard` is
asked with the guards of a caller (``together.py``), and the upstream's bulkhead finds the slot. It goes back
with what these guards settle. It goes back at once if the upstream fails, or another one is asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..model.call import Call, Outcome
from ..model.protocols import NO_PERMIT, Permit
from ..model.reply import shielded
from ..state.together import StoreUpdate, TogetherStore
from .bulkhead import SlotPermit, UpstreamBulkhead
from .leases import AcquireLease


class Foreseen(NamedTuple):
    """The upstreams that a call is going to ask.

    :param order: of the first tier, as the balancer has decided it.
    :param bulkheads: of the upstream that is asked first.
    """

    order: Any
    bulkheads: Sequence[UpstreamBulkhead]


class SlotsAhead:
    """The slots of calls in flight that were taken ahead. All threads of a process share it."""

    def __init__(self) -> None:
        #: By the id of the call's cancellation, which the permit keeps alive.
        self._permits: dict[int, AheadPermit] = {}

    def add(self, permit: AheadPermit) -> None:
        self._permits[id(permit.call.cancellation)] = permit

    def remove(self, call: Call) -> None:
        self._permits.pop(id(call.cancellation), None)

    def order_of(self, call: Call) -> Any:
        """Return the order of its first tier; ``None``: it is not decided yet."""
        permit = self._permits.get(id(call.cancellation))
        return None if permit is None else permit.order

    def slot(self, call: Call, key: str) -> SlotPermit | None:
        """Return the slot of a call, once (``bulkhead.Ahead``)."""
        permit = self._permits.get(id(call.cancellation))
        return None if permit is None else permit.unused.pop(key, None)

    def give_back(self, call: Call) -> None:
        """Release the slots that no bulkhead has asked for: the call asks another upstream."""
        permit = self._permits.get(id(call.cancellation))
        while permit is not None and permit.unused:
            permit.unused.popitem()[1].cancel()


class AheadPermit:
    """The slots of one call. Settling it twice releases them once.

    :param slots: by key.
    """

    __slots__ = ("_ahead", "_slots", "call", "order", "unused")

    headers: Mapping[str, str] = {}

    def __init__(self, ahead: SlotsAhead, call: Call, order: Any, slots: dict[str, SlotPermit]) -> None:
        self._ahead = ahead
        self._slots = tuple(slots.values())
        self.call = call
        self.order = order
        #: The slots that no bulkhead has asked for.
        self.unused = slots

    def settle_steps(self, outcome: Outcome) -> list[StoreUpdate]:
        """The changes that :meth:`settle` makes."""
        return [step for slot in self._slots for step in slot.settle_steps(outcome)]

    def settle(self, outcome: Outcome) -> None:
        self.cancel()

    def cancel(self) -> None:
        self._ahead.remove(self.call)
        for slot in self._slots:
            shielded(slot.cancel)


class AheadGuard:
    """Takes the slots of the upstream that is asked first (``together.Foreseeing``). It refuses no call.

    :param foresee: returns the upstreams of a call; ``None``: they are not known yet.
    """

    def __init__(
        self, store: TogetherStore, ahead: SlotsAhead, foresee: Callable[[Call], Foreseen | None]
    ) -> None:
        self._store = store
        self._ahead = ahead
        self._foresee = foresee
        #: Of each thread: the call that it has asked about last, by its cancellation.
        self._last = threading.local()

    def steps(self, call: Call) -> list[StoreUpdate]:
        foreseen = self._foresee(call)
        self._last.found = (call.cancellation, foreseen)
        return [] if foreseen is None else [bulkhead.step() for bulkhead in foreseen.bulkheads]

    def admit(self, call: Call) -> Permit:
        cancellation, foreseen = getattr(self._last, "found", (None, None))
        self._last.found = (None, None)
        if foreseen is None or cancellation is not call.cancellation:
            return NO_PERMIT
        slots = {}
        for bulkhead in foreseen.bulkheads:
            taken = self._store.take(bulkhead.key, AcquireLease)
            if taken is not None:
                slots[bulkhead.key] = bulkhead.taken(taken[1])
        permit = AheadPermit(self._ahead, call, foreseen.order, slots)
        self._ahead.add(permit)
        return permit
