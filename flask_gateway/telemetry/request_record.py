"""Records each finished request and passes the record to the observers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ..dialects.table import dialect_of
from ..model.call import Attempt, Call, Ids, Outcome, Usage
from ..model.errors import (
    BudgetUsedUp,
    CallerLeft,
    GatewayError,
    InternalError,
    RateLimited,
    TooManyConcurrent,
    Verdict,
)
from ..model.protocols import Service
from ..model.reply import Reply
from ..model.spend import Leg

log = logging.getLogger(__name__)

#: How much of a prompt a record keeps, bytes, if prompts are logged.
PROMPT_BYTES = 4096
#: The fields of a call whose caller has left.
_LEFT = {"code": CallerLeft.code}
#: The request fields that hold the prompt, over all operations.
_PROMPT_FIELDS = ("messages", "prompt", "input", "query")


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One finished request. Times are in seconds since the request arrived.

    :param method: ``None`` if the request could not be parsed; the same for ``path``.
    :param route: the pattern of the path; ``None`` if no route matches.
    :param started_ns: when the request arrived, nanoseconds since the epoch; 0 if that is not known.
    :param upstream_model: the model's name at the upstream that answered.
    :param outcome: the verdict on a call; ``None`` if the request is no call.
    :param limited: the limit that refused the call, ``requests``, ``tokens``, ``concurrency`` or ``budget``.
    :param first_byte: when the answer was committed to the caller.
    :param attempts: the attempts at upstreams, in order; empty if the call was refused before.
    :param overhead: ``first_byte`` without the time of the attempts; ``None`` if the answer began before any
        attempt had ended.
    :param dropped: stream events that could not be parsed and were left out.
    :param legs: the parts of the answer with their cost; empty where no ledger is kept.
    :param team: of the key; empty if it has none.
    :param prompt: the beginning of the prompt, if prompts are logged.
    :param traced: what only traces show; empty where there are none.
    :param plugins: what plugins did, such as ``pii=masked(2)``; empty if none saw the call.
    """

    ids: Ids
    key: str | None
    method: str | None
    path: str | None
    status: int
    seconds: float
    route: str | None = None
    stream: bool = False
    whole: bool = False
    model: str | None = None
    upstream_model: str | None = None
    upstream: str | None = None
    outcome: str | None = None
    code: str | None = None
    limited: str | None = None
    first_byte: float | None = None
    overhead: float | None = None
    usage: Usage | None = None
    dropped: int = 0
    attempts: tuple[Attempt, ...] = ()
    prompt: str | None = None
    started_ns: int = 0
    legs: tuple[Leg, ...] = ()
    team: str = ""
    traced: Mapping[str, Any] = {}
    plugins: str = ""


#: Reads of a call what only traces show, when it has been answered or refused.
Facts = Callable[[Call, Reply | None], Mapping[str, Any]]
#: Reads a record and changes nothing.
Observer = Callable[[RequestRecord], None]


class RecordingService:
    """Wraps a service and records every finished call (a ``protocols.Service``).

    :param observers: called once for each call; an exception of theirs is logged and suppressed.
    :param prompts: whether records keep the beginning of the prompt.
    :param method: of the requests.
    :param facts: reads what only traces show; ``None``: there are none.
    :param begin: returns the call with the plugins that see it; ``None``: there are no plugins.
    """

    def __init__(
        self,
        service: Service,
        observers: Sequence[Observer],
        *,
        prompts: bool = False,
        method: str = "POST",
        facts: Facts | None = None,
        begin: Callable[[Call], Call] | None = None,
    ) -> None:
        self.name = service.name
        self._method = method
        self._service = service
        self._observers = tuple(observers)
        self._prompts = prompts
        self._facts = facts
        self._begin = begin

    def send(self, call: Call) -> Reply:
        if self._begin is not None:
            call = self._begin(call)
        try:
            reply = self._service.send(call)
        except Exception as error:
            self._refused(call, error if isinstance(error, GatewayError) else InternalError(""))
            raise
        first_byte = time.monotonic() - call.started
        overhead = first_byte - _waited(call) if call.attempts else None
        traced = self._traced(call, reply) if self._facts is not None else {}

        def closed(outcome: Outcome) -> None:
            # The reactor noticed a hang-up, or the server could not write to the caller.
            unheard = outcome.verdict is Verdict.IGNORED and outcome.error is None
            left = unheard or isinstance(outcome.error, CallerLeft)
            status, more = (CallerLeft.status, _LEFT) if left else (reply.status, {})
            begun = {"first_byte": first_byte, "overhead": overhead, "traced": traced}
            seconds = time.monotonic() - call.started
            self.tell(self._record(call, seconds, status, reply.upstream, outcome, **begun, **more))

        reply.on_settled(closed)
        return reply

    def _refused(self, call: Call, error: GatewayError) -> None:
        limited = error.type if isinstance(error, RateLimited | TooManyConcurrent) else None
        if isinstance(error, BudgetUsedUp):
            limited = "budget"
        seconds = time.monotonic() - call.started
        more: dict[str, Any] = {"limited": limited, "overhead": seconds - _waited(call)}
        if self._facts is not None:
            more["traced"] = self._traced(call, None)
        outcome = Outcome.of_error(error)
        self.tell(self._record(call, seconds, error.status, error.upstream, outcome, **more))

    def _traced(self, call: Call, reply: Reply | None) -> Mapping[str, Any]:
        assert self._facts is not None
        try:
            return self._facts(call, reply)
        except Exception:  # a trace must not change an answer
            log.exception("the facts of a trace could not be read")
            return {}

    def _record(
        self, call: Call, seconds: float, status: int, upstream: str | None, outcome: Outcome, **more: Any
    ) -> RequestRecord:
        """:param more: fields that only some records have."""
        if outcome.error is not None:
            more.setdefault("code", outcome.error.code)
        if call.plugins is not None:
            more["plugins"] = str(call.plugins)
        path = route = f"/v1/{dialect_of(call.operation).path}"
        if (direct := call.direct) is not None:
            path, route = direct.asked, direct.route
        return RequestRecord(
            ids=call.ids,
            key=call.caller.id,
            method=self._method if direct is None else direct.method,
            path=path,
            route=route,
            status=status,
            seconds=seconds,
            stream=call.stream,
            whole=call.whole,
            model=call.model,
            upstream_model=outcome.model or _upstream_model(call),
            upstream=upstream or None,
            outcome=outcome.verdict.value,
            usage=outcome.usage,
            dropped=outcome.dropped,
            attempts=tuple(call.attempts),
            started_ns=call.started_ns,
            prompt=_prompt(call) if self._prompts and call.caller.content else None,
            team=call.caller.team,
            legs=(call.spend.legs or ()) if call.spend is not None else (),
            **more,
        )

    def tell(self, record: RequestRecord) -> None:
        for observe in self._observers:
            try:
                observe(record)
            except Exception:  # an observer must not change an answer
                log.exception("an observer failed")


def _waited(call: Call) -> float:
    """The time of all attempts so far, seconds."""
    return sum(attempt.seconds for attempt in call.attempts)


def _upstream_model(call: Call) -> str | None:
    """The model of the last attempt that an upstream answered."""
    for attempt in reversed(call.attempts):
        if attempt.result == "200":
            return attempt.model
    return None


def _prompt(call: Call) -> str:
    prompt = next((call.fields[name] for name in _PROMPT_FIELDS if name in call.fields), msgspec.Raw())
    return bytes(memoryview(prompt)[:PROMPT_BYTES]).decode("utf-8", "replace")
