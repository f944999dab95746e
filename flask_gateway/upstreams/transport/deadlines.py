"""Enforces the timeouts and the cancellation of one attempt at one upstream, and records why it ended.

Three things end an attempt early: a timeout, the cancellation of the call, and the reader of the answer. A
timeout or a cancellation comes from another thread. It records the reason here and cuts the connection that
the reader waits on, through its :class:`Cuttable`. The reader's wait then ends, and it raises the recorded
reason.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Protocol

from ...config.schema import Timeouts
from ...model.call import DIRECT, PICTURES, Call
from ...model.errors import DeadlineExceeded, GatewayError, UpstreamTimeout
from ...model.protocols import Handle, Timekeeper

#: A wait may end this much too early, seconds.
SLACK = 0.005
#: How long to wait for the end of a complete answer (its usage, its last event), seconds.
GRACE = 2.0


class Clock(StrEnum):
    """The timeouts by their names in ``config.schema.Timeouts``."""

    CONNECT = "connect"
    FIRST_BYTE = "first_byte"
    FIRST_TOKEN = "first_token"  # noqa: S105  # not that kind of token
    IDLE = "idle"
    ANSWER = "answer"
    TOTAL = "total"


#: The words of the error for each timeout.
_FAILED_TO = {
    Clock.CONNECT: "could not be connected to within",
    Clock.FIRST_BYTE: "did not begin its answer within",
    Clock.FIRST_TOKEN: "gave no first token within",
    Clock.IDLE: "fell silent in the middle of its answer, for",
    Clock.ANSWER: "did not finish its answer within",
    Clock.TOTAL: "did not finish its answer within",
}

#: The settings that allow more time: of the environment, and of an upstream in the file.
_SETTINGS = {
    Clock.CONNECT: "connect_seconds of the upstream",
    Clock.FIRST_BYTE: "GATEWAY_REQUEST_TIMEOUT_SECONDS, or first_byte_seconds of the upstream",
    Clock.FIRST_TOKEN: "GATEWAY_REQUEST_TIMEOUT_SECONDS, or first_token_seconds of the upstream",
    Clock.IDLE: "GATEWAY_REQUEST_TIMEOUT_SECONDS, or idle_seconds of the upstream",
    Clock.ANSWER: "GATEWAY_ANSWER_TIMEOUT_SECONDS, or answer_seconds of the upstream",
    Clock.TOTAL: "total_seconds of the upstream",
}


#: The operations whose answers may take long to begin.
_SLOW = frozenset((*PICTURES, *DIRECT))


def _is_ready() -> bool:
    """Replaces ``ready`` after the end, when the first-token timeout does not apply."""
    return True


def _detached() -> None:
    """Replaces ``detach`` after the end."""


class Cuttable(Protocol):
    """Something that the reader of an answer waits on, and that another thread can cut."""

    def cut(self) -> None:
        """End the reader's wait. Any thread may call this at any time, and more than once."""
        ...

    def close(self) -> bool:
        """Make later cuts do nothing. Return whether it was not cut before."""
        ...


class UpstreamAttempt:
    """One attempt. The thread that serves the call owns it; any thread may end it. A lock guards its state.

    :param ready: whether the first content has come; always true for an answer without a first token.
    """

    __slots__ = (
        "__weakref__",
        "_cancellation",
        "_deadline",
        "_detach",
        "_handle",
        "_head_by",
        "_head_clock",
        "_line",
        "_lock",
        "_over",
        "_over_at",
        "_patience",
        "_ready",
        "_tail_over_at",
        "_timekeeper",
        "_waits_for",
        "clocks",
        "error",
        "silence_before",
        "silence_within",
        "started",
        "upstream",
    )

    def __init__(self, call: Call, upstream: str, clocks: Timeouts, ready: Callable[[], bool]) -> None:
        self.upstream = upstream
        self.clocks = clocks
        #: Why another thread ended it; ``None`` while none has.
        self.error: GatewayError | None = None
        # Not the call itself: its prompt may be large, and is not needed any more once it was sent.
        self._cancellation = call.cancellation
        self._deadline, self._patience = call.deadline, call.deadline - call.started
        self._ready = ready
        #: ``time.monotonic()`` at its start, seconds.
        self.started = time.monotonic()
        self._over_at = min(call.deadline, self.started + clocks.total)
        #: The longest silence before the head and within the body, seconds.
        self.silence_before, self.silence_within = clocks.first_byte, clocks.idle
        self._head_clock = Clock.FIRST_BYTE
        # The head of a document comes after the generation. So does the first event of a picture.
        if not call.stream or call.operation in _SLOW:
            self._ready = _is_ready
            self.silence_before = self.silence_within = clocks.answer
            self._head_clock = Clock.ANSWER
        self._head_by = self.started + self.silence_before
        #: When to stop waiting for the end of a complete answer.
        self._tail_over_at = math.inf
        self._timekeeper: Timekeeper | None = None
        self._waits_for = Clock.CONNECT
        self._lock = threading.Lock()
        self._line: Cuttable | None = None
        self._handle: Handle | None = None
        self._over = False
        self._detach: Callable[[], None] = call.cancellation.attach(self._call_is_off)

    # ---------------------------------------------------------------- for the owner

    def watch(self, timekeeper: Timekeeper) -> None:
        """Let the reactor's timer enforce the timeouts, and cut the connection when one expires."""
        # One timer at a time. When it fires, it looks up the next timeout, which has often moved by then.
        self._timekeeper = timekeeper
        self._arm(timekeeper, self._next()[0])

    def _arm(self, timekeeper: Timekeeper, when: float) -> None:
        handle = timekeeper.at(when, partial(self._ring, timekeeper))
        with self._lock:
            wanted = not self._over
            if wanted:
                self._handle = handle
        if not wanted:
            handle.cancel()

    def _ring(self, timekeeper: Timekeeper) -> None:
        when, clock = self._next()
        if when <= time.monotonic():
            self.end(self._rung(clock))
        else:
            self._arm(timekeeper, when)

    def hold(self, line: Cuttable) -> None:
        """Set what the owner waits on from now on. If the attempt was ended already, cut it at once."""
        with self._lock:
            old, self._line = self._line, line
            cut = self.error is not None
        if old is not None:
            old.close()
        if cut:
            line.cut()

    def connecting(self) -> None:
        self._waits_for = Clock.CONNECT

    def connected(self) -> None:
        self._waits_for = self._head_clock

    def answered(self) -> None:
        """Note that the head of a good answer has come."""
        if self._head_clock is Clock.FIRST_BYTE:
            self._waits_for = Clock.IDLE

    def refused(self, timekeeper: Timekeeper) -> None:
        """Note that the head of an error has come. Its body has no generation to wait for."""
        by = time.monotonic() + self.clocks.first_byte
        if by < self._head_by:
            self._head_by = by
            self._rearm(timekeeper)

    def completed(self, more: bool | None) -> None:
        """Note that the answer is complete, except for its end. Wait :data:`GRACE` for the end.

        :param more: whether more content may come, so that the idle timeout applies; ``None``: the answer is
            not complete after all.
        """
        self._tail_over_at = math.inf
        if more is None or self._timekeeper is None:
            return
        wait = self.clocks.idle if more else min(GRACE, self.clocks.idle)
        self._tail_over_at = time.monotonic() + wait
        self._rearm(self._timekeeper)

    def _rearm(self, timekeeper: Timekeeper) -> None:
        # A timer that fires right now may have armed another one by the time it is cancelled.
        while (handle := self._take_handle()) is not None:
            handle.cancel()
        self._arm(timekeeper, self._next()[0])

    def _take_handle(self) -> Handle | None:
        with self._lock:
            handle, self._handle = self._handle, None
        return handle

    @property
    def is_connected(self) -> bool:
        return self._waits_for is not Clock.CONNECT

    @property
    def patience(self) -> float:
        """How long the owner may wait for the next bytes, seconds."""
        left = self._next()[0] - time.monotonic()
        if self._waits_for is not self._head_clock:
            left = min(left, getattr(self.clocks, self._waits_for))
        return max(left, 0.001)

    def check(self) -> None:
        """:raises GatewayError: another thread ended the attempt, or its time is up."""
        if self.error is None:
            if time.monotonic() < self._over_at:
                return
            self.end(self._rung(Clock.TOTAL))
        if self.error is not None:
            raise self.error

    def timed_out(self) -> GatewayError:
        """End it after the owner has waited for all of its :attr:`patience`. Return the error."""
        when, clock = self._next()
        if self._waits_for is self._head_clock or when <= time.monotonic() + SLACK:
            self.end(self._rung(clock))
        else:
            self.end(self._rung(self._waits_for))
        assert self.error is not None
        return self.error

    def close(self) -> None:
        """Cancel the timer and make later cuts do nothing. May be called again."""
        with self._lock:
            self._over = True
            line, self._line = self._line, None
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()
        # Break the reference cycle: else the answer stays in memory until the garbage collector runs.
        self._ready = _is_ready
        detach, self._detach = self._detach, _detached
        detach()
        if line is not None:
            line.close()

    # ---------------------------------------------------------------- for any thread

    def end(self, error: GatewayError) -> None:
        """End the attempt with this error, unless it has ended already."""
        with self._lock:
            if self._over or self.error is not None:
                return
            self.error = error
            line = self._line
        if line is not None:
            line.cut()

    def _call_is_off(self) -> None:
        error = self._cancellation.error
        assert error is not None
        error.upstream = error.upstream or self.upstream
        self.end(error)

    def _next(self) -> tuple[float, Clock]:
        """The clock that rings next, and when. ``connect`` and ``idle`` are kept by the owner's waiting."""
        when, clock = self._over_at, Clock.TOTAL
        if not self._ready() and (by := self.started + self.clocks.first_token) <= when:
            when, clock = by, Clock.FIRST_TOKEN
        if self._tail_over_at <= when:
            when, clock = self._tail_over_at, Clock.IDLE
        if self._waits_for is not Clock.IDLE and self._head_by <= when:
            when, clock = self._head_by, self._head_clock
        return when, clock

    def _rung(self, clock: Clock) -> UpstreamTimeout:
        if clock is Clock.TOTAL and self._over_at == self._deadline:
            return DeadlineExceeded(
                f"The {self._patience:.4g} s for this call were over before upstream '{self.upstream}' had "
                f"finished its answer (clock 'total'). {self._whose()}",
                clock=clock,
                upstream=self.upstream,
            )
        length = getattr(self.clocks, clock)
        return UpstreamTimeout(
            f"Upstream '{self.upstream}' {_FAILED_TO[clock]} {length:.4g} s (clock '{clock}'). "
            f"To allow more, raise {_SETTINGS[clock]}.",
            clock=clock,
            upstream=self.upstream,
        )

    def _whose(self) -> str:
        """Return a sentence on who set the time for the whole call, the caller or the operator."""
        if self._patience < self.clocks.total:
            return "The caller set it: x-request-timeout, or the timeout of its SDK."
        return f"To allow more, raise {_SETTINGS[Clock.TOTAL]}."
