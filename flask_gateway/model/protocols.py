"""Defines the protocols through which the packages meet.

A **service** answers a call. A **guard** may refuse a call, and hands out a **permit** if it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from .call import Call, Outcome
from .reply import Reply


class Service(Protocol):
    """Whatever can answer a call. Behaviour is added by wrapping one in another."""

    @property
    def name(self) -> str: ...

    def send(self, call: Call) -> Reply:
        """Answer, or raise a :class:`GatewayError`. The reply is committed but not yet drained."""
        ...


class Permit(Protocol):
    """What a guard hands out. Settled exactly once; settling again does nothing."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What the caller should be told about this permit, error or not."""
        ...

    def settle(self, outcome: Outcome) -> None: ...


class Guard(Protocol):
    """Whatever may refuse a call."""

    def admit(self, call: Call) -> Permit:
        """A permit, or a :class:`GatewayError` that says why not. Costs nothing when it refuses."""
        ...


class Handle(Protocol):
    """Something that was asked for and can be called off."""

    def cancel(self) -> None:
        """Call it off. When this returns it neither begins nor is in progress. May be called again."""
        ...


class Timekeeper(Protocol):
    """Who is told of a moment and rings then."""

    def at(self, when: float, ring: Callable[[], None]) -> Handle:
        """Have ``ring`` called, on another thread and soon after ``when``, seconds of ``time.monotonic()``.

        ``ring`` must be quick, and must not wait for whoever may cancel it.
        """
        ...
