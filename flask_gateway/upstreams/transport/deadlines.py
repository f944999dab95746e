"""One attempt at one upstream: what may end it before its own end, and what it is then said to have died of.

Three things end it early: a clock, the call's cancellation, and whoever reads the answer. A clock or a
cancellation does so from another thread, by cutting the **line** that the reader waits on, and leaves
the reason behind; the reader finds its line cut, and looks here for why.
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
from ...model.call import Call
from ...model.errors import DeadlineExceeded, GatewayError, UpstreamTimeout
from ...model.protocols import Handle, Timekeeper

#: How much too early a wait may end, seconds.
SLACK = 0.005
#: How long what may follow a complete answer is waited for (its usage, its last event), seconds.
GRACE = 2.0


class Clock(StrEnum):
    """The clocks by their names in ``config.Clocks``."""

    CONNECT = "connect"
    FIRST_BYTE = "first_byte"
    FIRST_TOKEN = "first_token"  # noqa: S105  # not that kind of token
    IDLE = "idle"
    ANSWER = "answer"
    TOTAL = "total"


#: What an upstream has not done when a clock rings.
_FAILED_TO = {
    Clock.CONNECT: "could not be connected to within",
    Clock.FIRST_BYTE: "did not begin its answer within",
    Clock.FIRST_TOKEN: "gave no first token within",
    Clock.IDLE: "fell silent in the middle of its answer, for",
    Clock.ANSWER: "did not finish its answer within",
    Clock.TOTAL: "did not finish its answer within",
}

#: What an operator raises to allow more time: settings of the environment, and of an upstream in the file.
_SETTINGS = {
    Clock.CONNECT: "connect_seconds of the upstream",
    Clock.FIRST_BYTE: "GATEWAY_REQUEST_TIMEOUT_SECONDS, or first_byte_seconds of the upstream",
    Clock.FIRST_TOKEN: "GATEWAY_REQUEST_TIMEOUT_SECONDS, or first_token_seconds of the upstream",
    Clock.IDLE: "GATEWAY_REQUEST_TIMEOUT_SECONDS, or idle_seconds of the upstream",
    Clock.ANSWER: "GATEWAY_ANSWER_TIMEOUT_SECONDS, or answer_seconds of the upstream",
    Clock.TOTAL: "total_seconds of the upstream",
}


def _is_ready() -> bool:
    """It is over, so nothing waits for its first content."""
    return True


def _detached() -> None:
    """There is nothing left to detach."""


class Cuttable(Protocol):
    """What the reader of an answer waits on."""

    def cut(self) -> None:
        """Have the reader wait no longer. From any thread, at any time, more than once."""
        ...

    def close(self) -> bool:
        """Whoever cuts it from now on finds nothing. Whether it is whole, and this closed it."""
        ...


class UpstreamAttempt:
    """One attempt. Owned by the thread that serves the call; ended by any, guarded by the lock.

    :param ready: whether the first content has come; always true where that means nothing.
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
        "_started",
        "_tail_over_at",
        "_timekeeper",
        "_waits_for",
        "clocks",
        "error",
        "silence_before",
        "silence_within",
        "upstream",
    )

    def __init__(self, call: Call, upstream: str, clocks: Timeouts, ready: Callable[[], bool]) -> None:
        self.upstream = upstream
        self.clocks = clocks
        #: Why it was ended from outside.
        self.error: GatewayError | None = None
        # Not the call itself: its prompt may be large, and is not needed any more once it was sent.
        self._cancellation = call.cancellation
        self._deadline, self._patience = call.deadline, call.deadline - call.started
        self._ready = ready
        self._started = time.monotonic()
        self._over_at = min(call.deadline, self._started + clocks.total)
        #: The longest that its socket waits before the head, and within the body, seconds.
        self.silence_before, self.silence_within = clocks.first_byte, clocks.idle
        self._head_clock = Clock.FIRST_BYTE
        if not call.stream:  # its head mostly comes when all of it has been generated
            self.silence_before = self.silence_within = clocks.answer
            self._head_clock = Clock.ANSWER
        self._head_by = self._started + self.silence_before
        #: When a complete answer is waited for no longer.
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
        """Have the clocks rung, and the line cut, by another thread."""
        # One handle at a time: what it rings for is looked up when it rings, and mostly by then passed.
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
        """From now on this is what the owner waits on. If all is over already, it is cut at once."""
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
        """The head of an answer is there, and it is a good one."""
        if self._head_clock is Clock.FIRST_BYTE:
            self._waits_for = Clock.IDLE

    def refused(self, timekeeper: Timekeeper) -> None:
        """The head of an error is there, whose body has nothing to wait for."""
        by = time.monotonic() + self.clocks.first_byte
        if by < self._head_by:
            self._head_by = by
            self._rearm(timekeeper)

    def completed(self, more: bool | None) -> None:
        """The answer is complete, and only its end has not come: it is waited for a little, and no longer.

        :param more: whether more of the answer may come, so that it is worth the usual wait; ``None``: the
            answer is not complete after all.
        """
        self._tail_over_at = math.inf
        if more is None or self._timekeeper is None:
            return
        wait = self.clocks.idle if more else min(GRACE, self.clocks.idle)
        self._tail_over_at = time.monotonic() + wait
        self._rearm(self._timekeeper)

    def _rearm(self, timekeeper: Timekeeper) -> None:
        # One that rings right now may have armed another by the time it is cancelled.
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
        """How long the owner may wait for what comes next, seconds."""
        left = self._next()[0] - time.monotonic()
        if self._waits_for is not self._head_clock:
            left = min(left, getattr(self.clocks, self._waits_for))
        return max(left, 0.001)

    def check(self) -> None:
        """:raises GatewayError: it was ended from outside, or its time is up."""
        if self.error is None and time.monotonic() >= self._over_at:
            self.end(self._rung(Clock.TOTAL))
        if self.error is not None:
            raise self.error

    def timed_out(self) -> GatewayError:
        """Why it ends now that the owner has waited for all of its :attr:`patience`."""
        when, clock = self._next()
        if self._waits_for is self._head_clock or when <= time.monotonic() + SLACK:
            self.end(self._rung(clock))
        else:
            self.end(self._rung(self._waits_for))
        assert self.error is not None
        return self.error

    def close(self) -> None:
        """Nothing rings any more, and nothing can be cut. May be called again."""
        with self._lock:
            self._over = True
            line, self._line = self._line, None
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()
        # What knows itself is left to the collector of garbage, and all that it holds with it.
        self._ready = _is_ready
        detach, self._detach = self._detach, _detached
        detach()
        if line is not None:
            line.close()

    # ---------------------------------------------------------------- for anybody

    def end(self, error: GatewayError) -> None:
        """End it for this reason, unless it has ended already."""
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
        if not self._ready() and (by := self._started + self.clocks.first_token) <= when:
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
        """Who has set the time for the whole call."""
        if self._patience < self.clocks.total:
            return "The caller set it: x-request-timeout, or the timeout of its SDK."
        return f"To allow more, raise {_SETTINGS[Clock.TOTAL]}."
