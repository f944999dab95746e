"""Defines what reads an answer while its bytes pass: the protocol of transcripts."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from .call import Usage
from .errors import GatewayError


class Transcript(Protocol):
    """Parses an answer while its bytes pass. It uses no socket and no clock: bytes in, bytes out.

    :ivar postpones: ``feed`` and ``end`` raise :class:`Postponed` instead of parsing a large event.
    """

    postpones: bool

    @property
    def ready(self) -> bool:
        """Whether the answer has begun well enough that the gateway may commit to a status."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the answer has reached its own end: later bytes do not belong to it."""
        ...

    @property
    def complete(self) -> bool:
        """Whether all required parts of the answer have arrived, although more bytes may follow."""
        ...

    @property
    def usage(self) -> Usage | None: ...

    @property
    def dropped(self) -> int:
        """How many events could not be parsed and were left out."""
        ...

    @property
    def content_type(self) -> str: ...

    @property
    def ping(self) -> bytes:
        """The bytes that keep a silent answer open and say nothing; empty for a document."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Parse the upstream's bytes and return the bytes to send. Raises ``GatewayError`` if invalid."""
        ...

    def end(self) -> bytes:
        """Handle the upstream's end: return the last bytes, or raise ``GatewayError`` if it is too early."""
        ...

    def catch_up(self) -> bytes:
        """Parse what was postponed. Like ``feed``, or ``end`` if the bytes are over."""
        ...

    def cut(self, error: GatewayError) -> bytes:
        """Return the error event for a caller that has received only a part of the answer."""
        ...


class Retelling(Transcript, Protocol):
    """A transcript around another one (``dialects/rewritten.py``)."""

    def restate(self, data: bytes) -> bytes:
        """Return what to send instead of these bytes, which the inner transcript has passed."""
        ...


Inner = TypeVar("Inner", bound=Transcript)


class Around(Generic[Inner]):
    """A base :class:`Transcript` around another one, which answers whatever a subclass does not."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Inner) -> None:
        self._inner = inner

    @property
    def postpones(self) -> bool:
        return self._inner.postpones

    @postpones.setter
    def postpones(self, value: bool) -> None:
        self._inner.postpones = value

    @property
    def ready(self) -> bool:
        return self._inner.ready

    @property
    def finished(self) -> bool:
        return self._inner.finished

    @property
    def complete(self) -> bool:
        return self._inner.complete

    @property
    def usage(self) -> Usage | None:
        return self._inner.usage

    @property
    def dropped(self) -> int:
        return self._inner.dropped

    @property
    def content_type(self) -> str:
        return self._inner.content_type

    @property
    def ping(self) -> bytes:
        return self._inner.ping

    def cut(self, error: GatewayError) -> bytes:
        return self._inner.cut(error)


class Passing:
    """A base :class:`Transcript` for a source that consists of committed replies: it passes all bytes."""

    ready = True
    finished = complete = postpones = False
    dropped = 0

    def catch_up(self) -> bytes:
        return b""

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""
