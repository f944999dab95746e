"""Defines the protocols through which the packages meet.

A **service** answers a call. A **guard** may refuse a call, and hands out a **permit** if it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from .call import Call, Caller, Outcome
from .reply import Reply


class Service(Protocol):
    """Answers calls. One service wraps another to add behaviour."""

    @property
    def name(self) -> str: ...

    def send(self, call: Call) -> Reply:
        """Answer the call, or raise a :class:`GatewayError`. The reply is committed but not yet drained."""
        ...


class Permit(Protocol):
    """A guard's admission of one call. It is settled or cancelled once; a second time does nothing."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers about this permit, for answers and errors."""
        ...

    def settle(self, outcome: Outcome) -> None:
        """End an admission that every later guard has agreed to."""
        ...

    def cancel(self) -> None:
        """Undo the admission: a later guard refused, so the call counts as if it had never been asked for."""
        ...


class NoPermit:
    """The permit of a call that a guard does not limit."""

    headers: Mapping[str, str] = {}

    def settle(self, outcome: Outcome) -> None:
        """Do nothing."""

    def cancel(self) -> None:
        """Do nothing."""


#: It keeps nothing of a call, so all calls share it.
NO_PERMIT = NoPermit()


class Guard(Protocol):
    """Admits or refuses calls."""

    def admit(self, call: Call) -> Permit:
        """Return a permit, or raise a :class:`GatewayError`. A refused call is not counted.

        No other guard's refusal counts the call either: the permit is then cancelled.
        """
        ...


class KeySource(Protocol):
    """Finds callers by their API keys. It is the only place that knows which keys there are.

    Every request looks up its key, on any thread, so reading takes no lock and waits for no I/O.
    The answer is all that admission knows of a caller: its id, its limits, its models.
    """

    @property
    def version(self) -> int:
        """Identify the present answers. It differs from the version before whenever a look-up may answer
        differently, and is the same in all processes that answer the same."""
        ...

    @property
    def seed(self) -> bytes:
        """Return secret bytes that are the same in all processes with these keys."""
        ...

    def lookup(self, digest: bytes, /) -> Caller | None:
        """Return the caller of the key with this SHA-256 digest, 32 bytes; ``None`` if it is unknown."""
        ...

    def __len__(self) -> int:
        """Count the keys. With more than one, no caller may hold all threads of a process."""
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
