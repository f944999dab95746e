"""Defines the reply to a call: one class for streams and complete answers.

A :class:`Reply` joins a **source** (bytes as the upstream sends them) with a **transcript** (sans-IO
logic that decides which bytes the caller receives). It settles exactly once, at the first of: drained,
failed, closed. It is a class with ``close`` and not a generator, because closing a generator that was never
advanced skips its ``finally``.

Two drivers advance a reply by the same steps. A thread that iterates it blocks for each part. The relay
(``streaming/relay.py``) never blocks and receives only what has arrived.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

from .call import AnswerPart, Outcome, Usage
from .errors import GatewayError, InternalError, UpstreamError, Verdict
from .source import Abandonable, Channel, Postponed, Run, Settling, Source
from .transcript import Retelling, Transcript

log = logging.getLogger(__name__)

Closer = Callable[[Outcome], None]


class Reply:
    """A committed answer. One thread at a time owns it. Iterate it once, then close it.

    :param upstream: sends the answer. :param model: its name for the model.
    :param started_ns: when it was asked, nanoseconds since the epoch.
    """

    status = 200

    __slots__ = (
        "__weakref__",
        "_closers",
        "_mark",
        "_pending",
        "_restate",
        "_run_settling",
        "_source",
        "_witnesses",
        "answered",
        "first_token_seconds",
        "headers",
        "model",
        "outcome",
        "over",
        "started_ns",
        "transcript",
        "truncated",
        "upstream",
    )

    def __init__(
        self,
        source: Source,
        transcript: Transcript,
        upstream: str,
        model: str | None = None,
        started_ns: int = 0,
    ) -> None:
        self.upstream = upstream
        self.model = model
        self.started_ns = started_ns
        self.answered: int | None = 200  # by which status; ``None``: the upstream was not asked
        self.headers: dict[str, str] = {}
        self.transcript = transcript
        #: Seconds until the first token, set by the service that sent the call.
        self.first_token_seconds: float | None = None
        self._source = source
        self._pending = b""
        self._closers: list[Closer] = []
        self._witnesses: list[Closer] = []
        self._run_settling: Run = _at_once
        self._mark: bytes | None = None  # in the events that are restated
        self._restate: Callable[[bytes], bytes] = bytes
        self.over = False  # whether the source is exhausted
        self.outcome: Outcome | None = None  # how it ended; ``None`` while it has not
        #: Whether the answer broke off and could not say so: the caller's connection must be closed.
        self.truncated = False

    @property
    def usage(self) -> Usage | None:
        return self.transcript.usage

    @property
    def begun(self) -> bytes:
        """The bytes that arrived before the commit and have not been sent."""
        return self._pending

    @property
    def channel(self) -> Channel | None:
        """The upstream's channel; ``None`` when only a blocking thread can continue the reply."""
        channel: Channel | None = getattr(self._source, "channel", None)
        return channel

    def on_close(self, closer: Closer) -> None:
        """Call ``closer`` with the outcome. Closers run in reverse order: the last added runs first."""
        self._closers.append(closer)

    def on_settled(self, witness: Closer) -> None:
        """Call ``witness`` once with the outcome, after every closer has run, however the reply ends.

        A closer settles something, such as a permit. A witness records what has been settled. Witnesses run
        in the order in which they were added, on the thread that settles.
        """
        self._witnesses.append(witness)

    def retell(self, transcript: Retelling) -> None:
        """Replace the transcript by one around it. It also rewrites the bytes that have arrived.

        :raises GatewayError: it cannot be retold.
        """
        self.transcript = transcript
        if self._pending:
            self._pending = transcript.restate(self._pending)

    def restate_with(self, restate: Callable[[bytes], bytes], mark: bytes) -> None:
        """Change the events that have a mark: those that have arrived, and all later ones."""
        self._restate, self._mark, self._pending = restate, mark, restate(self._pending)

    def prime(self) -> Reply:
        """Block until the answer is known to be valid: the first content of a stream, or else all of it.
        May be called again.

        :raises GatewayError: it is invalid. The reply is then settled, and the caller has received nothing.
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
            data = b""  # the connection broke after a complete answer, which stays valid
        if data:
            out = transcript.feed(data)
            self.over = transcript.finished
            return out if self._mark is None or self._mark not in out else self._restate(out)
        if data is None:
            return None
        out = transcript.end()
        self.over = True
        return out if self._mark is None or self._mark not in out else self._restate(out)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        # A chunk may complete no event. Do not yield empty bytes: the server would not write them, and so
        # would not notice that the caller has gone.
        while self.outcome is None or self._pending:
            if out := self._advance(self._source.read):
                return out
        if self.truncated:
            raise ConnectionAbortedError("the answer broke off, and its format has no word for that")
        raise StopIteration

    def receive(self) -> bytes | None:
        """Return the next part without blocking: ``None`` when nothing has arrived, ``b""`` when the data
        that arrived is not for the caller. It needs a :attr:`channel` and no :attr:`outcome`.

        :raises Postponed: after :meth:`settle_with` only. Call :meth:`catch_up` next.

        It runs once per event, so each step between the socket and here adds to the cost of an event."""
        receive = self._source.receive  # type: ignore[attr-defined]  # a source with a channel has it
        if self._pending or self.over:
            return self._advance(receive)
        try:
            return self._part(receive)
        except Exception as error:  # noqa: BLE001  # `_broken` logs it
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
        except Postponed:
            return self.catch_up()
        except Exception as error:  # noqa: BLE001  # `_broken` logs it
            return self._broken(error)

    def catch_up(self) -> bytes:
        """Return the part of the events that were postponed. This may take long."""
        try:
            nested = isinstance(self._source, Settling)
            if nested:  # its transcript passes everything
                out = self.transcript.feed(self._source.catch_up())  # type: ignore[attr-defined]
            else:
                out = self.transcript.catch_up()
            self.over = self.transcript.finished
            return out if self._mark is None or self._mark not in out else self._restate(out)
        except Exception as error:  # noqa: BLE001  # `_broken` logs it
            return self._broken(error)

    def _broken(self, error: Exception) -> bytes:
        if isinstance(error, Postponed):
            raise error
        if isinstance(error, GatewayError):
            return self.break_off(error)
        log.error("the gateway failed while it read a reply", exc_info=error)
        return self.break_off(
            InternalError(
                f"The gateway failed ({type(error).__name__}); your request is not at fault. "
                "The gateway's operator finds the cause in the log."
            )
        )

    def break_off(self, error: GatewayError) -> bytes:
        """End the reply with this error. Return the error event for the caller, which has received a part."""
        # The traceback refers to our frames, and these refer to the error: avoid that cycle.
        error.__traceback__ = error.__context__ = None
        self.fail(error)
        said = self.transcript.cut(error)
        self.truncated = not said
        return said

    def fail(self, error: BaseException) -> None:
        """Settle with the error's verdict. Any other exception says nothing about the upstream."""
        self.settle(Outcome.of_error(error))

    def close(self) -> None:
        """Settle when the server closes the reply. Before its end this means that the caller has left."""
        self.settle(Outcome(Verdict.SUCCESS if self._drained else Verdict.IGNORED))

    @property
    def _drained(self) -> bool:
        return self.over and not self._pending

    def settle_with(self, run: Run) -> None:
        """Use ``run`` for the blocking part of settling, because the reply's driver must not block. Large
        events are postponed for the same reason."""
        self._run_settling = run
        self.transcript.postpones = True
        if isinstance(self._source, Settling):
            self._source.settle_with(run)

    def abandon(self) -> None:
        """End the wait of the thread that reads this reply, because the caller has left."""
        if isinstance(self._source, Abandonable):
            self._source.abandon()

    def settle(self, outcome: Outcome) -> None:
        """Call every closer once, last added first, and then every witness. One that fails does not stop the
        others."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        drained = self.over and not self._pending
        if not drained:
            shielded(self._source.close)
        if self._run_settling is _at_once:
            self._settle(outcome, drained)
        else:
            self._run_settling(partial(self._settle, outcome, drained))

    def _settle(self, outcome: Outcome, drained: bool) -> None:
        if drained:
            shielded(self._source.release)
        # Here, because this may run on another thread: estimating a large prompt's tokens takes long.
        self.outcome = outcome = self._full(outcome)
        # Drop the closers: they refer back to this reply, and a cycle would wait for the garbage collector.
        closers, witnesses, self._closers, self._witnesses = self._closers, self._witnesses, [], []
        self._run_settling = _at_once
        closers.reverse()
        for step in (*closers, *witnesses):
            try:  # `shielded` without its call: a call has several steps
                step(outcome)
            except Exception:  # the remaining steps must run
                log.exception("a step of settling a reply failed")

    def _full(self, outcome: Outcome) -> Outcome:
        """The outcome with everything that the reply knows."""
        usage = outcome.usage
        parts: tuple[AnswerPart, ...] = ()
        try:
            usage = usage or self.usage
            parts = self.parts()
        except Exception:  # an answer without its usage is still an answer
            log.exception("could not count the tokens of an answer")
        return Outcome(
            outcome.verdict,
            usage,
            outcome.error,
            self.first_token_seconds,
            self.transcript.dropped,
            self.upstream or None,
            self.model,
            self.started_ns,
            parts,
        )

    def parts(self) -> tuple[AnswerPart, ...]:
        """The part of each upstream, if several answered; otherwise nothing."""
        return ()


def _at_once(work: Callable[[], None]) -> None:
    work()


def shielded(work: Callable[..., None], *args: Outcome) -> None:
    """Run one step of settling and log its exception, so that the remaining steps still run."""
    try:
        work(*args)
    except Exception:  # the remaining steps must run
        log.exception("a step of settling a reply failed")
