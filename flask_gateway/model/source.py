"""Defines where the bytes of a reply come from: the protocols of sources and of their channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

#: Runs a function: at once, or on another thread.
Run = Callable[[Callable[[], None]], Any]


class Postponed(Exception):
    """An event has come that takes long to read: a thread that may block must call :meth:`Reply.catch_up`."""


class Source(Protocol):
    """Reads an answer's bytes."""

    def read(self) -> bytes:
        """Return some bytes as soon as there are any; ``b""`` at the clean end; else a ``GatewayError``."""
        ...

    def release(self) -> None:
        """Release the connection after a complete answer: the pool keeps it if it is clean."""
        ...

    def close(self) -> None:
        """Abandon the answer and close its connection. May be called again."""
        ...


class Channel(Protocol):
    """The upstream's connection, for a driver that never blocks.

    A source that has a channel exposes it as ``channel`` while it is usable. Such a source also has
    ``receive``, which works like ``read`` but returns ``None`` where ``read`` would block."""

    @property
    def patience(self) -> float:
        """How long the upstream may be silent, seconds."""
        ...

    @property
    def holds(self) -> bool:
        """Whether the channel has buffered bytes, an error or the end, which its descriptor does not show.

        After an error or the end it is no longer a channel."""
        ...

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is something to receive."""
        ...

    def unblock(self) -> None:
        """Switch to non-blocking use: from now on the driver calls ``receive`` and not ``read``."""
        ...

    def expire(self) -> None:
        """Report the idle timeout: the next ``receive`` raises that error."""
        ...


@runtime_checkable
class Settling(Protocol):
    """A source that consists of replies, which settle themselves and postpone events."""

    def settle_with(self, run: Run) -> None: ...

    def catch_up(self) -> bytes: ...


@runtime_checkable
class Abandonable(Protocol):
    """A source whose ``read`` may block long while the gateway still looks for an upstream."""

    def abandon(self) -> None:
        """End that wait, because the caller has left. Any thread may call it while another thread reads."""
        ...
