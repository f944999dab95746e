"""Decides on retries: keeps the attempts of a call, and says whether and where to try again.

The module does no I/O. Its rules are the same for every route:

- A call gets at most three attempts, and none that its deadline leaves no time for.
- The gateway asks the same upstream once more after its first 500, or after a 429 or 503 with a short pause.
- Otherwise it asks the next upstream at once. It does not ask an upstream again that timed out.
- A rejected request is final. If it was too long, models of another name may still be asked.
- Attempts beyond the first are paid from a retry budget, so that an outage causes no retry storm.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable

from ..model.call import Attempt, Call
from ..model.errors import (
    CircuitOpen,
    GatewayError,
    UnsupportedField,
    UpstreamBackingOff,
    UpstreamError,
    UpstreamModelNotFound,
    UpstreamRefusal,
    UpstreamThrottled,
    UpstreamTooLong,
    UpstreamUnaffordable,
    UpstreamUnavailable,
)

MAX_ATTEMPTS = 3
#: The least time that an attempt needs before the deadline, seconds.
MIN_ATTEMPT = 0.25
#: The longest pause that the gateway waits before it asks the same upstream again, seconds.
MAX_PAUSE = 5.0
#: The longest random pause before a retry after a 500, seconds.
JITTER = 0.1
#: The breaker lengthens the pause an upstream asks for by up to a tenth (guards/breaker.py).
PAUSE_MARGIN = 1.12

#: The longest wait for an upstream we do not ask that a caller should sleep through, seconds. For a longer
#: one, ``x-should-retry`` tells an SDK not to retry by itself ...
MAX_SLEEP = 2.0
#: ... and ``Retry-After`` says at most this, for clients that read only that: a refusal costs them little.
MAX_RETRY_AFTER = 5.0

#: Errors that concern one upstream, and not the request.
_ONE_UPSTREAM = (UpstreamModelNotFound, UpstreamUnaffordable, UnsupportedField)
#: Errors before anything was sent to the upstream. They are no attempt.
_NOT_SENT = (UpstreamUnavailable, UnsupportedField)

#: Statuses below 500 after which SDKs retry by themselves.
_RETRIED_BY_CLIENTS = frozenset({408, 409, 429})


class RetryBudget:
    """Pays for attempts beyond the first. Shared by the threads of a process; a lock guards it.

    Each call pays in a fifth of an attempt, and each second one attempt. So an outage causes at most 1.2
    attempts per call, plus one a second, plus the balance, which is at most ``MAX_BALANCE``.
    """

    PER_CALL, PER_SECOND, MAX_BALANCE = 0.2, 1.0, 20.0

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._balance = self.MAX_BALANCE / 2
        self._updated = clock()

    def pay_in(self) -> None:
        with self._lock:
            self._balance = min(self.MAX_BALANCE, self._balance + self.PER_CALL)

    def try_spend(self) -> bool:
        """Pay for one more attempt, if the balance suffices."""
        with self._lock:
            now = self._clock()
            earned = (now - self._updated) * self.PER_SECOND
            self._balance = min(self.MAX_BALANCE, self._balance + earned)
            self._updated = now
            if self._balance < 1.0:
                return False
            self._balance -= 1.0
            return True

    def refund(self) -> None:
        """Return the payment for an attempt that was not made."""
        with self._lock:
            self._balance = min(self.MAX_BALANCE, self._balance + 1.0)


class AttemptLog:
    """The attempts of one call, in order. Only the thread that serves the call uses it."""

    def __init__(self, call: Call, budget: RetryBudget, clock: Callable[[], float]) -> None:
        self.attempts = call.attempts
        self._call = call
        self._budget = budget
        self._clock = clock
        self._errors: list[GatewayError] = []
        self._repeated: set[str] = set()
        self._too_long: set[str] = set()
        #: Whether the budget has paid for the next attempt.
        self._paid = False
        budget.pay_in()

    def may_try(self, model: str) -> bool:
        """Whether to ask this model: not if it has said that the request is too long."""
        return model not in self._too_long

    def may_go_on(self) -> bool:
        """Whether one more attempt is allowed. It is then paid for, so that calls which fail together cannot
        overdraw the budget."""
        if not self.attempts:
            return True
        if len(self.attempts) >= MAX_ATTEMPTS or not self._has_time(MIN_ATTEMPT):
            return False
        self._paid = self._paid or self._budget.try_spend()
        return self._paid

    def settle(self) -> None:
        """Refund a payment that was not used. Call it when no attempt follows."""
        if self._paid:
            self._paid = False
            self._budget.refund()

    def succeeded(
        self,
        upstream: str,
        seconds: float,
        model: str | None = None,
        began: float = 0.0,
        status: int | None = 200,
    ) -> None:
        """Note the attempt that answered.

        :param began: ``time.monotonic()`` at its start, seconds.
        :param status: of the upstream; ``None``: it was not asked, so there was no attempt.
        """
        if status is not None:
            self._note(Attempt(upstream, str(status), seconds, model, self._call.epoch_ns(began)))

    def _note(self, attempt: Attempt) -> None:
        self._paid = False
        self.attempts.append(attempt)

    def failed(
        self, upstream: str, model: str, error: GatewayError, seconds: float, began: float = 0.0
    ) -> None:
        """Note a failed attempt.

        :param began: ``time.monotonic()`` at its start, seconds.
        :raises GatewayError: this error, if another upstream could not do better.
        """
        self._errors.append(error)
        if not isinstance(error, _NOT_SENT):
            self._note(Attempt.failed(upstream, error, seconds, model, self._call.epoch_ns(began)))
        if isinstance(error, UpstreamTooLong):
            self._too_long.add(model)
        elif not error.retry_elsewhere:
            raise self.closed(error)

    def pause(self, candidate: str, error: GatewayError) -> float | None:
        """How long to wait before the same candidate is asked once more, seconds; ``None``: do not."""
        if candidate in self._repeated or not isinstance(error, UpstreamError):
            return None
        if error.answered == 500:
            pause = random.uniform(0.0, JITTER)  # noqa: S311 - spreads load, guards nothing
        elif (
            error.answered in (429, 503) and error.retry_after is not None and error.retry_after <= MAX_PAUSE
        ):
            pause = error.retry_after * PAUSE_MARGIN
        else:
            return None
        self._repeated.add(candidate)
        return pause if self._has_time(pause + MIN_ATTEMPT) and self.may_go_on() else None

    def final_error(self) -> GatewayError:
        """The error to report when all attempts have failed: the one that helps the caller most."""
        # A missing model at one upstream matters little if another upstream has it and is down.
        errors = [error for error in self._errors if not isinstance(error, _ONE_UPSTREAM)] or self._errors
        tried = [error for error in errors if not isinstance(error, UpstreamUnavailable)]
        refused = [error for error in tried if isinstance(error, UpstreamTooLong)]
        paused = [error for error in errors if isinstance(error, UpstreamThrottled | UpstreamBackingOff)]
        if refused:
            return self.closed(refused[0])
        if len(paused) == len(errors):
            reported: GatewayError = tried[0] if tried else min(paused, key=_wait)
        elif tried:
            reported = next((error for error in tried if not isinstance(error, UpstreamThrottled)), tried[0])
        else:
            opened = [error for error in errors if isinstance(error, CircuitOpen)]
            reported = min(opened, key=_wait, default=errors[0])
        soonest = min(errors, key=_wait)
        if not isinstance(reported, UpstreamRefusal) or isinstance(reported, UpstreamThrottled):
            reported.retry_after = soonest.retry_after
            if isinstance(soonest, UpstreamUnavailable) and MAX_SLEEP < _wait(soonest) < math.inf:
                return self._without_sleep(self.closed(reported))
        return self.closed(reported)

    @staticmethod
    def _without_sleep(error: GatewayError) -> GatewayError:
        """The error with headers that make an SDK raise it now. Otherwise the SDK would sleep, twice, for as
        long as we do not ask the upstream. The message says how long that is."""
        error.headers["x-should-retry"] = "false"
        error.max_retry_after = MAX_RETRY_AFTER
        return error

    def closed(self, error: GatewayError) -> GatewayError:
        """The error with the attempts in its headers. After a retry of ours, it tells SDKs not to retry."""
        error.headers.update(self.headers())
        retriable = error.status >= 500 or error.status in _RETRIED_BY_CLIENTS
        if retriable and len(self.attempts) > 1:
            error.headers["x-should-retry"] = "false"
        return error

    def headers(self) -> dict[str, str]:
        if not self.attempts:
            return {}
        return {
            "x-gateway-attempts": ", ".join(map(str, self.attempts)),
            "x-gateway-retries": str(len(self.attempts) - 1),
        }

    def _has_time(self, seconds: float) -> bool:
        return self._clock() + seconds <= self._call.deadline


def _wait(error: GatewayError) -> float:
    """How long the caller should wait before it tries again, seconds; infinite if that is not known."""
    return math.inf if error.retry_after is None else error.retry_after
