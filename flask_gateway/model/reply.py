"""The answer to a call: one class for streaming and not.

A :class:`Reply` joins a **source** (bytes as the upstream sends them) with a **transcript** (sans-IO
logic that decides what the caller may see of them), and settles exactly once, at the first of:
drained, failed, closed. It is a class with ``close`` and not a generator, because closing a generator
that was never advanced skips its ``finally``.

Two drivers move it, by the same steps: whoever iterates it waits for each part; the relay
(``relay.py``), which never waits, asks for what has come.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, runtime_checkable

from .call import Outcome, Usage
from .errors import GatewayError, InternalError, UpstreamError, Verdict

log = logging.getLogger(__name__)

Closer = Callable[[Outcome], None]
#: Has something done: at once, or by another thread.
Run = Callable[[Callable[[], None]], Any]


class Source(Protocol):
    """Where an answer's bytes come from."""

    def read(self) -> bytes:
        """Some bytes as soon as there are any; ``b""`` at the clean end; else a ``GatewayError``."""
        ...

    def release(self) -> None:
        """The answer is complete: keep the connection for the next call if it is clean."""
        ...

    def close(self) -> None:
        """Give the answer up: nothing more is wanted of it. May be called again."""
        ...


class Channel(Protocol):
    """What an answer comes through, for a driver that never waits. A source that has one gives it as
    ``channel``, as long as it can be had, and then has ``receive`` beside ``read``: the same, but ``None``
    where the other would wait."""

    @property
    def patience(self) -> float:
        """How long it may be silent, seconds."""
        ...

    @property
    def holds(self) -> bool:
        """Whether there is more to be had than its descriptor tells of: bytes, a fault, or the end, after
        which it is no channel any more."""
        ...

    def fileno(self) -> int:
        """The descriptor that turns readable when there is something to receive."""
        ...

    def unblock(self) -> None:
        """From now on it is received from, and not read."""
        ...

    def expire(self) -> None:
        """It has been silent for too long: what is received next is that error."""
        ...


@runtime_checkable
class Settling(Protocol):
    """A source that is made of replies, which settle by themselves."""

    def settle_with(self, run: Run) -> None: ...


@runtime_checkable
class Abandonable(Protocol):
    """A source whose ``read`` may wait long for an upstream that is still to be found."""

    def abandon(self) -> None:
        """End that wait: nobody takes the answer any more. From any thread, while another one reads."""
        ...


class Transcript(Protocol):
    """What an answer says, read as its bytes pass. No socket, no clock: bytes in, bytes out."""

    @property
    def ready(self) -> bool:
        """Whether the answer has shown itself good, so that a status may be committed to."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the answer has come to its own end: nothing that follows belongs to it."""
        ...

    @property
    def complete(self) -> bool:
        """Whether all that makes it an answer has come, although more may follow."""
        ...

    @property
    def usage(self) -> Usage | None: ...

    @property
    def dropped(self) -> int:
        """How many of its events could not be read, and were left out."""
        ...

    @property
    def content_type(self) -> str: ...

    def feed(self, data: bytes) -> bytes:
        """Take what came, give what may be sent on. Raises ``GatewayError`` when it is no answer."""
        ...

    def end(self) -> bytes:
        """The bytes are over: the last to send, or a ``GatewayError`` when that is too early."""
        ...

    def cut(self, error: GatewayError) -> bytes:
        """What a caller who has already seen a part is told, so that it never looks complete."""
        ...


class Passing:
    """What is common to a transcript (:class:`Transcript`) whose source is itself a committed reply, or
    several: it passes all, and its end is the source's."""

    ready = True
    finished = complete = False
    dropped = 0

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""


class Reply:
    """A committed answer. Owned by one thread at a time; iterate it once, then close it."""

    status = 200

    __slots__ = (
        "__weakref__",
        "_closers",
        "_pending",
        "_source",
        "_tell",
        "first_token_seconds",
        "headers",
        "outcome",
        "over",
        "transcript",
        "upstream",
    )

    def __init__(self, source: Source, transcript: Transcript, upstream: str) -> None:
        self.upstream = upstream
        self.headers: dict[str, str] = {}
        self.transcript = transcript
        #: Seconds until it had shown itself good, noted by whoever asked for it.
        self.first_token_seconds: float | None = None
        self._source = source
        self._pending = b""
        self._closers: list[Closer] = []
        self._tell: Run = _at_once
        #: Whether the source has no more to give.
        self.over = False
        #: How it ended; ``None`` as long as it has not.
        self.outcome: Outcome | None = None

    @property
    def usage(self) -> Usage | None:
        return self.transcript.usage

    @property
    def begun(self) -> bytes:
        """What has come before it was committed to and has not been passed on."""
        return self._pending

    @property
    def channel(self) -> Channel | None:
        """What the answer comes through; ``None`` when only a thread can go on with it."""
        channel: Channel | None = getattr(self._source, "channel", None)
        return channel

    def on_close(self, closer: Closer) -> None:
        """Have ``closer`` told the outcome, before those that were added earlier."""
        self._closers.append(closer)

    def prime(self) -> Reply:
        """Wait until the answer is known to be one: the first content of a stream, else all of it.
        May be called again.

        :raises GatewayError: it is none; the reply is then settled, and the caller has seen nothing.
        """
        held = []
        try:
            while not (self.over or self.transcript.ready):
                held.append(self._part(self._source.read) or b"")
        except BaseException as error:
            self.fail(error)
            raise
        self._pending += b"".join(held)
        return self

    def _part(self, read: Callable[[], bytes | None]) -> bytes | None:
        transcript = self.transcript
        try:
            data = read()
        except UpstreamError:
            if not transcript.complete:
                raise
            data = b""  # a connection that breaks behind a complete answer takes nothing from it
        if data:
            out = transcript.feed(data)
            self.over = transcript.finished
            return out
        if data is None:
            return None
        out = transcript.end()
        self.over = True
        return out

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        # A chunk may complete no event. Nothing empty is passed on: an empty chunk is never written,
        # so it would not notice that the caller has gone.
        while self.outcome is None or self._pending:
            if out := self._advance(self._source.read):
                return out
        raise StopIteration

    def receive(self) -> bytes | None:
        """The next part without waiting: ``None`` when nothing has come, ``b""`` when what has come is
        nothing to be sent. To be called while there is no :attr:`outcome`, and a :attr:`channel`.

        Called once an event, and each step between the socket and here is a part of what an event costs."""
        receive = self._source.receive  # type: ignore[attr-defined]  # it has a channel
        if self._pending or self.over:
            return self._advance(receive)
        try:
            return self._part(receive)
        except Exception as error:  # noqa: BLE001  # it is told of there
            return self._broken(error)

    def _advance(self, read: Callable[[], bytes | None]) -> bytes | None:
        if self._pending:
            out, self._pending = self._pending, b""
            return out
        if self.over:
            self.settle(Outcome(Verdict.SUCCESS))
            return b""
        try:
            return self._part(read)
        except Exception as error:  # noqa: BLE001  # it is told of there
            return self._broken(error)

    def _broken(self, error: Exception) -> bytes:
        if isinstance(error, GatewayError):
            return self.break_off(error)
        log.error("a reply broke in our own hands", exc_info=error)
        return self.break_off(InternalError(f"The gateway failed: {type(error).__name__}."))

    def break_off(self, error: GatewayError) -> bytes:
        """End it with this error: what the caller is told, who has seen a part."""
        error.__traceback__ = error.__context__ = None  # they know our frames, and these know us
        self.fail(error)
        return self.transcript.cut(error)

    def fail(self, error: BaseException) -> None:
        """Settle as the error says. What is not a ``GatewayError`` says nothing of the upstream."""
        known = error if isinstance(error, GatewayError) else None
        self.settle(Outcome(known.verdict if known else Verdict.IGNORED, error=known))

    def close(self) -> None:
        """The server is done with us. Before the end this means that the caller has left."""
        self.settle(Outcome(Verdict.SUCCESS if self._drained else Verdict.IGNORED))

    @property
    def _drained(self) -> bool:
        return self.over and not self._pending

    def settle_with(self, run: Run) -> None:
        """Have ``run`` do what may wait when it settles, because its driver may not."""
        self._tell = run
        if isinstance(self._source, Settling):
            self._source.settle_with(run)

    def abandon(self) -> None:
        """The caller takes nothing any more, while another thread has the reply: cut its waiting short."""
        if isinstance(self._source, Abandonable):
            self._source.abandon()

    def settle(self, outcome: Outcome) -> None:
        """Tell every closer, once, last added first; none can keep another from being told."""
        if self.outcome is not None:
            return
        self.outcome = outcome = Outcome(
            outcome.verdict, outcome.usage, outcome.error, self.first_token_seconds, self.transcript.dropped
        )
        if not self._drained:
            shielded(self._source.close)
        self._tell(partial(self._settle, outcome, self._drained))

    def _settle(self, outcome: Outcome, drained: bool) -> None:
        if drained:
            shielded(self._source.release)
        # Here, and not where it ended: to estimate what a large prompt has cost takes a while.
        usage = outcome.usage or self._known_usage()
        self.outcome = outcome = Outcome(
            outcome.verdict, usage, outcome.error, outcome.first_token_seconds, outcome.dropped
        )
        # They know their reply; and what knows itself is left to the collector of garbage.
        closers, self._closers, self._tell = self._closers, [], _at_once
        for closer in reversed(closers):
            shielded(closer, outcome)

    def _known_usage(self) -> Usage | None:
        try:
            return self.usage
        except Exception:
            log.exception("what an answer has cost could not be told")
            return None


def _at_once(work: Callable[[], None]) -> None:
    work()


def shielded(work: Callable[..., None], *args: Outcome) -> None:
    """Do some work of settling, and log what it raises: others are still to be settled."""
    try:
        work(*args)
    except Exception:
        log.exception("a closer failed")
