"""Sends a call through the guards to its candidates, one after another, until one answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from ..model.call import BodyOverrides, Call, Outcome
from ..model.errors import GatewayError
from ..model.protocols import NO_PERMIT, Guard, Permit, Service
from ..model.reply import Reply, shielded
from ..streaming.resume import Continuer, resumable, resume_at
from .retry import AttemptLog, RetryBudget


class Candidate(NamedTuple):
    """A service that may answer a call, and the name by which it knows the model."""

    service: Service
    model: str
    overrides: BodyOverrides | None = None

    @property
    def name(self) -> str:
        return f"{self.service.name}/{self.model}"


class Guarded:
    """A service behind guards, which are asked in order (``protocols.Service``).

    If a guard refuses, the permits before it are cancelled: the call counts nowhere. Otherwise each permit is
    settled once: by the reply's end, or by the error. The permit that was admitted last comes first.
    """

    def __init__(self, service: Service, guards: Sequence[Guard]) -> None:
        self.name = service.name
        self._service = service
        self._guards = tuple(guards)

    def send(self, call: Call) -> Reply:
        permits: list[Permit] = []
        try:
            for guard in self._guards:
                if (permit := guard.admit(call)) is not NO_PERMIT:
                    permits.append(permit)
        except BaseException as error:
            self._cancel(permits, error)
            raise
        try:
            reply = self._service.send(call)
        except BaseException as error:
            self._settle(permits, error)
            raise
        for permit in permits:
            reply.on_close(permit.settle)
            if headers := permit.headers:
                reply.headers.update(headers)
        return reply

    @staticmethod
    def _cancel(permits: list[Permit], error: BaseException) -> None:
        for permit in reversed(permits):
            shielded(permit.cancel)
            if isinstance(error, GatewayError):
                error.headers.update(permit.headers)

    @staticmethod
    def _settle(permits: list[Permit], error: BaseException) -> None:
        outcome = Outcome.of_error(error)
        for permit in reversed(permits):
            shielded(permit.settle, outcome)
            if isinstance(error, GatewayError):
                error.headers.update(permit.headers)


#: Returns the services that can resume a stream.
Continuers = Callable[[Call, str], list[Continuer]]


def _no_continuers(call: Call, broken: str) -> list[Continuer]:
    return []


def _pause(call: Call, seconds: float) -> None:
    """Wait for so long, or until the call is cancelled."""
    call.cancellation.wait(seconds)


class Dispatcher:
    """Asks the candidates of a call one after another, until one has committed to an answer.

    ``retry.py`` decides whether to go on; ``candidates`` says where to.

    :param candidates: yields the candidates of a call, in order, one at a time.
    :param continuers: returns the services that can resume a broken stream, given the upstream that began it.
    :param clock: seconds. :param pause: waits before the same candidate is asked again.
    """

    name = "dispatcher"

    def __init__(
        self,
        candidates: Callable[[Call], Iterable[Candidate]],
        continuers: Continuers = _no_continuers,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[Call, float], object] = _pause,
    ) -> None:
        self._candidates = candidates
        self._continuers = continuers
        self._clock = clock
        self._pause = pause
        #: One per upstream: calls whose first candidate it is share the budget.
        self._budgets: dict[str, RetryBudget] = {}

    def send(self, call: Call) -> Reply:
        candidates = iter(self._candidates(call))
        first = next(candidates)  # a route has at least one
        attempts = AttemptLog(call, self._budget(first.service.name), self._clock)
        try:
            reply = self._try_each(chain((first,), candidates), call, attempts)
        finally:
            attempts.settle()
        if reply is None:
            raise attempts.final_error()
        reply.headers.update(attempts.headers())
        return self._resumable(reply, call)

    def _try_each(self, candidates: Iterable[Candidate], call: Call, attempts: AttemptLog) -> Reply | None:
        """An answer, or ``None`` if no candidate is left or no attempt is allowed."""
        for candidate in candidates:
            if not attempts.may_try(candidate.model):
                continue
            if not attempts.may_go_on():
                break
            reply = self._ask(candidate, call, attempts)
            if reply is not None:
                return reply
        return None

    def _resumable(self, reply: Reply, call: Call) -> Reply:
        others = self._continuers(call, reply.upstream) if call.stream and not call.whole else []
        return resumable(reply, call, (lambda begun: resume_at(others, call, begun)) if others else None)

    def _budget(self, upstream: str) -> RetryBudget:
        if upstream not in self._budgets:
            self._budgets[upstream] = RetryBudget(self._clock)
        return self._budgets[upstream]

    def _ask(self, candidate: Candidate, call: Call, attempts: AttemptLog) -> Reply | None:
        """An answer, or ``None`` if the dispatcher should ask the next candidate."""
        while True:
            began = self._clock()
            try:
                reply = candidate.service.send(call.asking(candidate.model, candidate.overrides)).prime()
            except GatewayError as error:
                seconds = self._clock() - began
                attempts.failed(candidate.service.name, candidate.model, error, seconds, began)
                pause = attempts.pause(candidate.name, error)
                if pause is None:
                    return None
                self._pause(call, pause)
                if call.cancellation.error is not None:
                    raise attempts.closed(call.cancellation.error) from None
            else:
                reply.first_token_seconds = seconds = self._clock() - began
                attempts.succeeded(candidate.service.name, seconds, candidate.model, began, reply.answered)
                return reply
