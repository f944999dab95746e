"""Asks the guards of a caller's limits with one round trip to Redis, and settles them with another.

Each guard names the changes that it will make (``steps``): of slots, requests, tokens and money. They are
made together, or none of them is. Then the guards are asked in order, and find their answers there. If a
limit refuses, nothing was written: the guards are asked on a copy of the values, and one of them refuses. A
guard that draws on what this process has reserved already (``allotments.py``) makes no change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..model.call import Call, Outcome
from ..model.errors import GatewayError
from ..model.protocols import NO_PERMIT, Permit
from ..model.reply import shielded
from ..model.spend import AccountClosed
from ..state.together import StoreUpdate, TogetherStore

#: So many times the changes of a call are tried together: an account may have to be opened first. Then the
#: guards are asked one after another.
_TRIES = 2


class Foreseeing(Protocol):
    """A guard that knows the changes of an admission beforehand."""

    def steps(self, call: Call) -> Sequence[StoreUpdate]:
        """Return the changes that :meth:`admit` makes if no limit refuses."""
        ...

    def admit(self, call: Call) -> Permit: ...


class TogetherGuard:
    """The guards of a caller's limits, as one (``model.protocols.Guard``).

    :param guards: in the order in which they are asked.
    """

    def __init__(self, store: TogetherStore, guards: Sequence[Foreseeing]) -> None:
        self._store, self._guards = store, tuple(guards)

    def admit(self, call: Call) -> Permit:
        """:raises GatewayError: a limit refuses. Nothing is counted."""
        for _ in range(_TRIES):
            steps = [step for guard in self._guards for step in guard.steps(call)]
            if steps:
                self._store.prepare(steps, admit=True)
            permits = self._ask(call)
            if permits is not None:
                return TogetherPermit(self._store, permits) if permits else NO_PERMIT
        return TogetherPermit(self._store, self._ask(call) or [])

    def _ask(self, call: Call) -> list[Permit] | None:
        """The permits of the guards; ``None``: nothing is taken, and the call is to be tried again."""
        permits: list[Permit] = []
        try:
            for guard in self._guards:
                if (permit := guard.admit(call)) is not NO_PERMIT:
                    permits.append(permit)
        except BaseException as error:
            self._cancel(permits, error)
            if isinstance(error, AccountClosed):
                return None
            raise
        if self._store.refused:  # only together with what busy keys reserve for later calls
            self._cancel(permits)
            return None
        self._undo()
        return permits

    def _cancel(self, permits: Sequence[Permit], error: BaseException | None = None) -> None:
        for permit in reversed(permits):
            shielded(permit.cancel)
            if isinstance(error, GatewayError):
                error.headers.update(permit.headers)
        self._undo()

    def _undo(self) -> None:
        for step, answer in self._store.finish():
            undone = getattr(step.change, "undone", None)
            if undone is not None:
                self._store.update(step.key, undone(answer), step.ttl)


class TogetherPermit:
    """The permits of several guards. The last comes to its end first."""

    __slots__ = ("_permits", "_store")

    def __init__(self, store: TogetherStore, permits: Sequence[Permit]) -> None:
        self._store, self._permits = store, permits

    @property
    def headers(self) -> Mapping[str, str]:
        merged: dict[str, str] = {}
        for permit in self._permits:
            merged.update(permit.headers)
        return merged

    def settle(self, outcome: Outcome) -> None:
        steps = steps_of(self._permits, outcome)
        if len(steps) > 1:
            self._store.prepare(steps, admit=False)
        try:
            for permit in reversed(self._permits):
                shielded(permit.settle, outcome)
        finally:
            self._store.finish()

    def cancel(self) -> None:
        for permit in reversed(self._permits):
            shielded(permit.cancel)


def steps_of(permits: Sequence[Permit], outcome: Outcome) -> list[StoreUpdate]:
    """The changes that permits make when they settle, of those that say so."""
    found: list[StoreUpdate] = []
    for permit in permits:
        steps: Any = getattr(permit, "settle_steps", None)
        if steps is not None:
            found += steps(outcome)
    return found
