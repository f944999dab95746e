"""Makes the spans of a finished request: the request itself, and below it each attempt at an upstream.

No library, no clock: a record goes in, spans come out. ``otlp.py`` gives them to the exporter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..model.call import Attempt, Usage
from ..telemetry.request_record import RequestRecord
from . import genai

Value = str | bool | int | float | Sequence[str]
Attributes = dict[str, Value]
_SECOND = 1_000_000_000


class TracePlace(NamedTuple):
    """An upstream as spans describe it. :param port: 0 if it has none."""

    provider: str
    address: str
    port: int


class TraceSpan(NamedTuple):
    """One span. Times are nanoseconds since the epoch.

    :param parent: the id of the span above, 16 hexadecimal digits; empty: it is the first of the trace.
    :param server: whether it is the request that came in; otherwise it is one that went out.
    :param failed: whether its status is ``ERROR``.
    """

    name: str
    trace: str
    span: str
    parent: str
    state: str
    server: bool
    started: int
    ended: int
    attributes: Attributes
    failed: bool


def spans_of(record: RequestRecord, places: Mapping[str, TracePlace]) -> Iterator[TraceSpan]:
    """Yield the span of a request, then those of its attempts.

    :param places: the upstreams by name.
    """
    ended = record.started_ns + int(record.seconds * _SECOND)
    trace = record.ids.traceparent[3:35]
    yield TraceSpan(
        name=" ".join(part for part in (record.method, record.route) if part) or "request",
        trace=trace,
        span=record.ids.span,
        parent=record.ids.parent,
        state=record.ids.tracestate,
        server=True,
        started=record.started_ns,
        ended=ended,
        attributes=_request(record),
        # A server's span fails by the server's fault alone: semantic-conventions, http-spans.md, "Status".
        failed=record.status >= 500 or (record.status < 400 and record.code is not None),
    )
    last = _answering(record.attempts)
    for number, attempt in enumerate(record.attempts):
        answers = number == last
        until = _end(record, number, ended)
        begun = min(max(attempt.started_ns, record.started_ns), until)
        yield TraceSpan(
            name=f"{genai.operation_of(record.path or '')} {attempt.model or record.model or ''}".strip(),
            trace=trace,
            span=record.ids.attempt_span(number),
            parent=record.ids.span,
            state=record.ids.tracestate,
            server=False,
            started=begun,
            ended=until,
            attributes=_attempt(record, number, places.get(attempt.upstream), answers),
            failed=not _is_good(attempt) or (answers and record.code is not None),
        )


def _is_good(attempt: Attempt) -> bool:
    return attempt.result == "200"


def _answering(attempts: tuple[Attempt, ...]) -> int:
    """The number of the attempt that answered last: usage stands there and nowhere else, as Langfuse adds
    it up over the spans. -1 if none answered."""
    return max((number for number, one in enumerate(attempts) if _is_good(one)), default=-1)


def _end(record: RequestRecord, number: int, ended: int) -> int:
    """When an attempt ended: one that answered ends with its stream, or when another one continues it."""
    attempt = record.attempts[number]
    if not _is_good(attempt):
        return min(attempt.started_ns + int(attempt.seconds * _SECOND), ended)
    following = record.attempts[number + 1 :]
    return min(following[0].started_ns, ended) if following else ended


def _request(record: RequestRecord) -> Attributes:
    known: dict[str, Value | None] = {
        genai.METHOD: record.method,
        genai.ROUTE: record.route,
        genai.STATUS: record.status,
        genai.ERROR: record.code or (str(record.status) if record.status >= 500 else None),
        genai.USER: record.key,
        "gateway.request_id": record.ids.request,
        "gateway.key": record.key,
        "gateway.team": record.team or None,
        "gateway.model": record.model,
        "gateway.outcome": record.outcome,
        "gateway.overhead": record.overhead,
        "gateway.retries": len(record.attempts) - 1 if record.attempts else None,
        "gateway.limited": record.limited,
        "gateway.cache": record.traced.get("gateway.cache"),
    }
    return {name: value for name, value in known.items() if value is not None}


def _attempt(record: RequestRecord, number: int, place: TracePlace | None, answers: bool) -> Attributes:
    attempt = record.attempts[number]
    model = attempt.model or record.model or ""
    attributes: Attributes = {
        genai.OPERATION: genai.operation_of(record.path or ""),
        genai.PROVIDER: place.provider if place else attempt.upstream,
        genai.REQUEST_MODEL: model,
        "gateway.upstream": attempt.upstream,
        "gateway.attempt": number + 1,
    }
    if record.stream:
        attributes[genai.REQUEST_STREAM] = True
    if place is not None and place.address:
        attributes[genai.SERVER] = place.address
        if place.port:
            attributes[genai.PORT] = place.port
    if not _is_good(attempt):
        attributes[genai.ERROR] = attempt.result
        return attributes
    if record.stream:
        attributes[genai.FIRST_CHUNK] = attempt.seconds
    if answers:
        attributes[genai.RESPONSE_MODEL] = record.upstream_model or model
        attributes |= {name: value for name, value in record.traced.items() if name.startswith("gen_ai.")}
        if record.usage is not None:
            attributes |= _usage(record.usage)
        if record.code is not None:
            attributes[genai.ERROR] = record.code
    return attributes


def _usage(usage: Usage) -> Attributes:
    attributes: Attributes = {
        genai.INPUT_TOKENS: usage.prompt_tokens,
        genai.OUTPUT_TOKENS: usage.completion_tokens,
    }
    parts = {
        genai.CACHE_READ: usage.cached_tokens,
        genai.CACHE_CREATION: usage.units.write,
        genai.REASONING: usage.units.reasoning,
    }
    attributes |= {name: count for name, count in parts.items() if count}
    if usage.source != "reported":
        attributes["gateway.usage_source"] = usage.source
    return attributes
