"""What is known of a request when it is over, and who is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..model.call import Attempt, Call, Ids, Outcome, Usage
from ..model.errors import CallerLeft, GatewayError, InternalError, RateLimited, TooManyConcurrent, Verdict
from ..model.protocols import Service
from ..model.reply import Reply

log = logging.getLogger(__name__)

#: So much of a prompt is kept at most, bytes, where prompts are kept at all.
PROMPT_BYTES = 4096
#: What is said of a call whose caller has left.
_LEFT = {"code": CallerLeft.code}
#: The fields that hold what a model is asked, in one operation or another.
_PROMPTS = ("messages", "prompt", "input", "query")


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request, over. Times in seconds since it came in; ``first_byte`` is when we committed.

    :param method: and :param path: ``None`` of what could not be read.
    :param route: the path's pattern as it is served; ``None`` where nothing is served.
    :param upstream_model: what the upstream that answered calls the model.
    :param outcome: the verdict on a call; ``None`` when no call was made of the request.
    :param limited: which limit of its caller refused it, ``requests`` or ``concurrency``.
    :param attempts: the upstreams that were asked, in order; none when the call was refused before.
    :param overhead: until we committed, without what upstreams took; ``None`` where they cannot be told
        apart, because the answer was still to come.
    :param dropped: events of its stream that could not be read, and were left out.
    :param prompt: the beginning of it as it was sent, where prompts are to be kept.
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


#: An observer sees and changes nothing.
Observer = Callable[[RequestRecord], None]


class RecordingService:
    """A service whose every call is recorded when it is over (``core.Service``).

    :param observers: told once a call; what they raise is logged and goes no further.
    :param prompts: whether records keep the beginning of the prompt.
    """

    def __init__(self, service: Service, observers: Sequence[Observer], *, prompts: bool = False) -> None:
        self.name = service.name
        self._service = service
        self._observers = tuple(observers)
        self._prompts = prompts

    def send(self, call: Call) -> Reply:
        try:
            reply = self._service.send(call)
        except Exception as error:
            self._refused(call, error if isinstance(error, GatewayError) else InternalError(""))
            raise
        first_byte = time.monotonic() - call.started
        overhead = first_byte - _waited(call) if call.attempts else None

        def closed(outcome: Outcome) -> None:
            # Found out by the reactor, or by the server that could not write to the caller.
            unheard = outcome.verdict is Verdict.IGNORED and outcome.error is None
            left = unheard or isinstance(outcome.error, CallerLeft)
            status, more = (CallerLeft.status, _LEFT) if left else (reply.status, {})
            begun = {"first_byte": first_byte, "overhead": overhead}
            seconds = time.monotonic() - call.started
            self.tell(self._record(call, seconds, status, reply.upstream, outcome, **begun, **more))

        reply.on_close(closed)
        return reply

    def _refused(self, call: Call, error: GatewayError) -> None:
        limited = error.type if isinstance(error, RateLimited | TooManyConcurrent) else None
        seconds = time.monotonic() - call.started
        more = {"limited": limited, "overhead": seconds - _waited(call)}
        outcome = Outcome(error.verdict, error=error)
        self.tell(self._record(call, seconds, error.status, error.upstream, outcome, **more))

    def _record(
        self, call: Call, seconds: float, status: int, upstream: str | None, outcome: Outcome, **more: Any
    ) -> RequestRecord:
        """:param more: fields that only some calls have."""
        if outcome.error is not None:
            more.setdefault("code", outcome.error.code)
        path = f"/v1/{call.operation}"
        return RequestRecord(
            ids=call.ids,
            key=call.caller.id,
            method="POST",
            path=path,
            route=path,
            status=status,
            seconds=seconds,
            stream=call.stream,
            whole=call.whole,
            model=call.model,
            upstream_model=_upstream_model(call),
            upstream=upstream or None,
            outcome=outcome.verdict.value,
            usage=outcome.usage,
            dropped=outcome.dropped,
            attempts=tuple(call.attempts),
            prompt=_prompt(call) if self._prompts else None,
            **more,
        )

    def tell(self, record: RequestRecord) -> None:
        for observe in self._observers:
            try:
                observe(record)
            except Exception:
                log.exception("an observer failed")


def _waited(call: Call) -> float:
    """How long upstreams have taken so far, seconds."""
    return sum(attempt.seconds for attempt in call.attempts)


def _upstream_model(call: Call) -> str | None:
    """What the last upstream that began to answer was asked for."""
    for attempt in reversed(call.attempts):
        if attempt.result == "200":
            return attempt.model
    return None


def _prompt(call: Call) -> str:
    asked = next((call.fields[name] for name in _PROMPTS if name in call.fields), msgspec.Raw())
    return bytes(memoryview(asked)[:PROMPT_BYTES]).decode("utf-8", "replace")
