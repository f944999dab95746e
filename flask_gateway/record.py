"""What is known of a request when it is over, and who is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import msgspec

from .core import Attempt, Call, Ids, Outcome, Service, Usage
from .errors import CallerLeft, GatewayError, Verdict
from .reply import Reply

log = logging.getLogger(__name__)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One request, over. Times in seconds since it came in; ``first_byte`` is when we committed.

    :param attempts: the upstreams that were asked, in order; none when the call was refused before.
    """

    ids: Ids
    key: str | None
    method: str
    path: str
    status: int
    seconds: float
    model: str | None = None
    upstream: str | None = None
    outcome: str | None = None
    code: str | None = None
    first_byte: float | None = None
    usage: Usage | None = None
    attempts: tuple[Attempt, ...] = ()


#: An observer sees and changes nothing.
Observer = Callable[[Record], None]


class Recorded:
    """A service whose every call is recorded when it is over (``core.Service``).

    :param observers: told once a call; what they raise is logged and goes no further.
    """

    def __init__(self, service: Service, observers: Sequence[Observer]) -> None:
        self.name = service.name
        self._service = service
        self._observers = tuple(observers)

    def send(self, call: Call) -> Reply:
        try:
            reply = self._service.send(call)
        except GatewayError as error:
            self.tell(self._record(call, error.status, error.upstream, Outcome(error.verdict, error=error)))
            raise
        first_byte = time.monotonic() - call.started

        def closed(outcome: Outcome) -> None:
            # Found out by the watcher, or by the server that could not write to the caller.
            unheard = outcome.verdict is Verdict.IGNORED and outcome.error is None
            left = unheard or isinstance(outcome.error, CallerLeft)
            record = self._record(call, CallerLeft.status if left else reply.status, reply.upstream, outcome)
            self.tell(msgspec.structs.replace(record, first_byte=first_byte))

        reply.on_close(closed)
        return reply

    def _record(self, call: Call, status: int, upstream: str | None, outcome: Outcome) -> Record:
        return Record(
            ids=call.ids,
            key=call.caller.id,
            method="POST",
            path=f"/v1/{call.operation}",
            status=status,
            seconds=time.monotonic() - call.started,
            model=call.model,
            upstream=upstream or None,
            outcome=outcome.verdict.value,
            code=outcome.error.code if outcome.error else None,
            usage=outcome.usage,
            attempts=tuple(call.attempts),
        )

    def tell(self, record: Record) -> None:
        for observe in self._observers:
            try:
                observe(record)
            except Exception:
                log.exception("an observer failed")
