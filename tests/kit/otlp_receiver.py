"""Receives traces over OTLP/HTTP in protobuf, as a Collector would, well or badly."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from kit.local_server import LocalServer
from kit.waiting import until


class ReceivedSpan(NamedTuple):
    """One span. Ids are hexadecimal, times nanoseconds."""

    name: str
    trace: str
    span: str
    parent: str
    server: bool
    failed: bool
    started: int
    ended: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


class OtlpReceiver(LocalServer):
    """A receiver on a free port. Use it as a context manager.

    :ivar mode: ``ok``; ``busy`` answers 503; ``refuse`` closes the connection; ``hang`` never answers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mode = "ok"
        self.asked = 0
        self.heads: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self._spans: list[ReceivedSpan] = []

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        mode, self.asked = self.mode, self.asked + 1
        if mode == "hang":
            self._released.wait(60)
        if mode in ("hang", "refuse"):
            handler.close_connection = True
            return
        if mode == "ok":
            self.heads.append({"path": handler.path, **{k.lower(): v for k, v in handler.headers.items()}})
            self.bodies.append(body)
            self._spans += decoded(body)
        handler.send_response(200 if mode == "ok" else 503)
        handler.send_header("content-type", "application/json")  # as Langfuse answers to protobuf
        handler.send_header("content-length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    def trace(self, trace: str, spans: int = 1) -> list[ReceivedSpan]:
        """The spans of a trace, when at least so many have come: the request first, then its attempts."""
        found = until(lambda: len(self.of(trace)) >= spans)
        assert found, f"{len(self.of(trace))} of {spans} spans came"
        return sorted(self.of(trace), key=lambda span: (not span.server, span.started))

    def of(self, trace: str) -> list[ReceivedSpan]:
        """The spans of a trace that have come so far."""
        return [span for span in list(self._spans) if span.trace == trace]


def decoded(body: bytes) -> list[ReceivedSpan]:
    """The spans of one export."""
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
    return [
        _span(span, resource.resource)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _span(span: Any, resource: Any) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        trace=span.trace_id.hex(),
        span=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        server=span.kind == span.SPAN_KIND_SERVER,
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
        started=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        attributes={one.key: _value(one.value) for one in span.attributes},
        resource={one.key: _value(one.value) for one in resource.attributes},
    )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
