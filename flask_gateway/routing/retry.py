"""What has been tried for one call, and whether, and where, it may be tried again. Pure but for its clock.

The rules, which every candidate of every route meets alike:

- at most three attempts, however long the route is, and none for which the deadline leaves no room;
- the same upstream is asked once more after its first 500, or after a 429 or 503 that asks for a short pause;
- otherwise the next one is asked, at once; an upstream that was silent is not asked again;
- a refusal of the request is final, but one of its length leaves models of another name to ask;
- what goes beyond first attempts is paid from a budget, so that an outage is not answered with a storm.
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
#: No attempt is begun that has less time than this, seconds.
MIN_ATTEMPT = 0.25
#: The longest pause that is waited out at the same upstream, seconds.
MAX_PAUSE = 5.0
#: The longest pause before a 500 is asked again, seconds; it is drawn from 0 up.
JITTER = 0.1
#: A pause that an upstream asks for is kept with up to a tenth more (guards/breaker.py).
PAUSE_MARGIN = 1.12

#: The longest wait that a caller is asked to sleep out before an upstream that we do not ask, seconds. Beyond
#: it an SDK is told not to try again by itself ...
MAX_SLEEP = 2.0
#: ... and those that read no more than ``Retry-After`` read this at most: to be refused costs them little.
MAX_RETRY_AFTER = 5.0

#: Refusals that are about one upstream, and not about the request.
_ABOUT_ONE = (UpstreamModelNotFound, UpstreamUnaffordable)

#: Statuses that the SDKs try again by themselves.
_RETRIED_BY_CLIENTS = frozenset({408, 409, 429})


class RetryBudget:
    """Attempts beyond the first, paid for. Shared by the threads of a process, guarded by its lock.

    Each call pays in a fifth of an attempt, and time one a second; so an outage is met with 1.2 times the
    calls at most, and a little more. What is saved up is bounded, and so is its worth.
    """

    PER_CALL, PER_SECOND, MOST = 0.2, 1.0, 20.0

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._saved = self.MOST / 2
        self._at = clock()

    def pay_in(self) -> None:
        with self._lock:
            self._saved = min(self.MOST, self._saved + self.PER_CALL)

    def try_spend(self) -> bool:
        """Pay for one more attempt, if there is enough."""
        with self._lock:
            now = self._clock()
            self._saved = min(self.MOST, self._saved + (now - self._at) * self.PER_SECOND)
            self._at = now
            if self._saved < 1.0:
                return False
            self._saved -= 1.0
            return True

    def refund(self) -> None:
        """Give back what was paid for an attempt that was not made."""
        with self._lock:
            self._saved = min(self.MOST, self._saved + 1.0)


class AttemptLog:
    """The attempts of one call, in order. Belongs to the thread that serves it."""

    def __init__(self, call: Call, budget: RetryBudget, clock: Callable[[], float]) -> None:
        self.attempts = call.attempts
        self._call = call
        self._budget = budget
        self._clock = clock
        self._errors: list[GatewayError] = []
        self._repeated: set[str] = set()
        self._too_long: set[str] = set()
        #: Whether the next attempt is paid for.
        self._paid = False
        budget.pay_in()

    def may_try(self, model: str) -> bool:
        """Whether this model is still worth asking."""
        return model not in self._too_long

    def may_go_on(self) -> bool:
        """Whether there may be one more attempt, which is then paid for: of calls that fail together no more
        go on than the budget allows."""
        if not self.attempts:
            return True
        if len(self.attempts) >= MAX_ATTEMPTS or not self._has_time(MIN_ATTEMPT):
            return False
        self._paid = self._paid or self._budget.try_spend()
        return self._paid

    def settle(self) -> None:
        """Give back what was paid and not used. To be called when no attempt follows."""
        if self._paid:
            self._paid = False
            self._budget.refund()

    def succeeded(self, upstream: str, seconds: float, model: str | None = None) -> None:
        self._note(Attempt(upstream, "200", seconds, model))

    def _note(self, attempt: Attempt) -> None:
        self._paid = False
        self.attempts.append(attempt)

    def failed(self, upstream: str, model: str, error: GatewayError, seconds: float) -> None:
        """Take note of a failure.

        :raises GatewayError: nobody else could do better; it is this error.
        """
        self._errors.append(error)
        if not isinstance(error, UpstreamUnavailable):
            self._note(Attempt.failed(upstream, error, seconds, model))
        if isinstance(error, UpstreamTooLong):
            self._too_long.add(model)
        elif not error.retry_elsewhere:
            raise self.closed(error)

    def pause(self, candidate: str, error: GatewayError) -> float | None:
        """After how many seconds the same candidate is to be asked once more; ``None``: not at all."""
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

    def last_word(self) -> GatewayError:
        """The error that tells the caller most, when all is tried."""
        # That one upstream does not have the model says little when another has it, and is down.
        errors = [error for error in self._errors if not isinstance(error, _ABOUT_ONE)] or self._errors
        asked = [error for error in errors if not isinstance(error, UpstreamUnavailable)]
        refused = [error for error in asked if isinstance(error, UpstreamTooLong)]
        paused = [error for error in errors if isinstance(error, UpstreamThrottled | UpstreamBackingOff)]
        if refused:
            return self.closed(refused[0])
        if len(paused) == len(errors):
            telling: GatewayError = asked[0] if asked else min(paused, key=_wait)
        elif asked:
            telling = next((error for error in asked if not isinstance(error, UpstreamThrottled)), asked[0])
        else:
            opened = [error for error in errors if isinstance(error, CircuitOpen)]
            telling = min(opened, key=_wait, default=errors[0])
        soonest = min(errors, key=_wait)
        if not isinstance(telling, UpstreamRefusal) or isinstance(telling, UpstreamThrottled):
            telling.retry_after = soonest.retry_after
            if isinstance(soonest, UpstreamUnavailable) and MAX_SLEEP < _wait(soonest) < math.inf:
                return self._without_sleep(self.closed(telling))
        return self.closed(telling)

    @staticmethod
    def _without_sleep(error: GatewayError) -> GatewayError:
        """The error, so that a caller gets it now. SDKs would sleep for as long as we ask the upstream
        nothing, twice; how long that is stands in the message."""
        error.headers["x-should-retry"] = "false"
        error.max_retry_after = MAX_RETRY_AFTER
        return error

    def closed(self, error: GatewayError) -> GatewayError:
        """The error, with what was tried, and a word to the SDKs not to try on what we have tried again."""
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
    """For how many seconds it makes no sense to try again; infinity where that is not known."""
    return math.inf if error.retry_after is None else error.retry_after
