"""Defines the protocols through which the packages meet.

A **service** answers a call. A **guard** may refuse a call, and hands out a **permit** if it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from .call import Call, Outcome
from .reply import Reply


class Service(Protocol):
    """Answers calls. One service wraps another to add behaviour."""

    @property
    def name(self) -> str: ...

    def send(self, call: Call) -> Reply:
        """Answer the call, or raise a :class:`GatewayError`. The reply is committed but not yet drained."""
        ...


class Permit(Protocol):
    """A guard's admission of one call. It is settled exactly once; settling it again does nothing."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers about this permit, for answers and errors."""
        ...

    def settle(self, outcome: Outcome) -> None: ...


class Guard(Protocol):
    """Admits or refuses calls."""

    def admit(self, call: Call) -> Permit:
        """Return a permit, or raise a :class:`GatewayError`. A refused call is not counted."""
        ...


class Handle(Protocol):
    """A registration that can be cancelled."""

    def cancel(self) -> None:
        """Cancel it. After this returns, its callback neither starts nor runs. May be called again."""
        ...


class Timekeeper(Protocol):
    """Runs timers."""

    def at(self, when: float, ring: Callable[[], None]) -> Handle:
        """Call ``ring`` on another thread, soon after ``when``, seconds of ``time.monotonic()``.

        ``ring`` must be quick, and must not wait for a thread that may cancel it.
        """
        ...
