"""From a call to an answer: through the guards, along the candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .core import Call, Guard, Outcome, Permit, Service
from .errors import GatewayError, Verdict
from .reply import Reply

Candidate = tuple[Service, str]


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
            permit.settle(outcome)
            if known:
                known.headers.update(permit.headers)


class Dispatcher:
    """Asks the candidates of a model one after another, until one has committed to an answer.

    :param candidates: the services for a model name, each with the name it knows the model by.
    """

    name = "dispatcher"

    def __init__(self, candidates: Callable[[str], Iterable[Candidate]]) -> None:
        self._candidates = candidates

    def send(self, call: Call) -> Reply:
        first: GatewayError | None = None
        for service, model in self._candidates(call.model):
            try:
                return service.send(call.asking(model)).prime()
            except GatewayError as error:
                if not error.another_may_help:
                    raise
                first = first or error
        assert first is not None, "a route has at least one candidate"
        raise first
