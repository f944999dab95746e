"""From a call to an answer: through the guards, along the candidates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from ..model.call import Call, Continues, Outcome
from ..model.errors import GatewayError, Verdict
from ..model.protocols import Guard, Permit, Service
from ..model.reply import Reply, shielded
from ..streaming.resume import resumable, resume_at
from .retry import AttemptLog, RetryBudget


class Candidate(NamedTuple):
    """A service that may answer a call, and the name by which it knows the model."""

    service: Service
    model: str

    @property
    def name(self) -> str:
        return f"{self.service.name}/{self.model}"


class Guarded:
    """A service behind guards, asked in order (``core.Service``).

    What they hand out is settled once, by the reply or by the error, last admitted first.
    """

    def __init__(self, service: Service, guards: Sequence[Guard]) -> None:
        self.name = service.name
        self._service = service
        self._guards = tuple(guards)

    def send(self, call: Call) -> Reply:
        permits: list[Permit] = []
        try:
            for guard in self._guards:
                permits.append(guard.admit(call))
            reply = self._service.send(call)
        except BaseException as error:
            self._give_back(permits, error)
            raise
        for permit in permits:
            reply.on_close(permit.settle)
            reply.headers.update(permit.headers)
        return reply

    @staticmethod
    def _give_back(permits: list[Permit], error: BaseException) -> None:
        known = error if isinstance(error, GatewayError) else None
        outcome = Outcome(known.verdict if known else Verdict.IGNORED, error=known)
        for permit in reversed(permits):
            shielded(permit.settle, outcome)
            if known:
                known.headers.update(permit.headers)


#: Services that can go on with an answer, their names of the model, and how they are told to.
Continuers = Callable[[Call, str], list[tuple[Service, str, Continues]]]


def _nobody(call: Call, broken: str) -> list[tuple[Service, str, Continues]]:
    return []


def _pause(call: Call, seconds: float) -> None:
    """For so long, or until nobody wants the answer any more."""
    call.cancellation.wait(seconds)


class Dispatcher:
    """Asks the candidates of a call one after another, until one has committed to an answer.

    Only walks: ``retry.py`` says whether to go on, ``candidates`` where to.

    :param candidates: where a call can be answered, in order; asked for as it is needed.
    :param continuers: who could go on with an answer that breaks, given who has begun it.
    :param clock: seconds. :param pause: how the time is spent before the same candidate is asked again.
    """

    name = "dispatcher"

    def __init__(
        self,
        candidates: Callable[[Call], Iterable[Candidate]],
        continuers: Continuers = _nobody,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[Call, float], object] = _pause,
    ) -> None:
        self._candidates = candidates
        self._continuers = continuers
        self._clock = clock
        self._pause = pause
        #: By the upstream that is asked first; there are as many as there are upstreams.
        self._budgets: dict[str, RetryBudget] = {}

    def send(self, call: Call) -> Reply:
        candidates = iter(self._candidates(call))
        first = next(candidates)  # a route has at least one
        ledger = AttemptLog(call, self._budget(first.service.name), self._clock)
        try:
            reply = self._walk(chain((first,), candidates), call, ledger)
        finally:
            ledger.settle()
        if reply is None:
            raise ledger.last_word()
        reply.headers.update(ledger.headers())
        return self._continuing(reply, call)

    def _walk(self, candidates: Iterable[Candidate], call: Call, ledger: AttemptLog) -> Reply | None:
        """An answer, or ``None`` if nobody is left to be asked."""
        for candidate in candidates:
            if not ledger.may_try(candidate.model):
                continue
            if not ledger.may_go_on():
                break
            reply = self._ask(candidate, call, ledger)
            if reply is not None:
                return reply
        return None

    def _continuing(self, reply: Reply, call: Call) -> Reply:
        others = self._continuers(call, reply.upstream) if call.stream and not call.whole else []
        return resumable(reply, call, (lambda begun: resume_at(others, call, begun)) if others else None)

    def _budget(self, upstream: str) -> RetryBudget:
        if upstream not in self._budgets:
            self._budgets[upstream] = RetryBudget(self._clock)
        return self._budgets[upstream]

    def _ask(self, candidate: Candidate, call: Call, ledger: AttemptLog) -> Reply | None:
        """An answer, or ``None`` if the next candidate is to be asked."""
        while True:
            began = self._clock()
            try:
                reply = candidate.service.send(call.asking(candidate.model)).prime()
            except GatewayError as error:
                ledger.failed(candidate.service.name, candidate.model, error, self._clock() - began)
                pause = ledger.pause(candidate.name, error)
                if pause is None:
                    return None
                self._pause(call, pause)
                if call.cancellation.error is not None:
                    raise ledger.closed(call.cancellation.error) from None
            else:
                reply.first_token_seconds = self._clock() - began
                ledger.succeeded(candidate.service.name, reply.first_token_seconds, candidate.model)
                return reply
