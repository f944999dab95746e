"""Gives spans to OpenTelemetry's exporter. The only module that imports its packages.

The exporter does protocol, headers, TLS and compression, by its own ``OTEL_EXPORTER_OTLP_…`` variables. Of
the SDK only the data types are used: it keeps no queue, no thread and no context here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from .. import __version__
from .spans import TraceSpan

#: How long one export may take, seconds, unless ``OTEL_EXPORTER_OTLP_TIMEOUT`` says otherwise.
TIMEOUT = 5.0
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_FAILED, _UNSET = Status(StatusCode.ERROR), Status(StatusCode.UNSET)


class _LastWords(logging.Filter):
    """Keeps the exporter's own log lines out of the log, and remembers the last one."""

    text = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.text = record.getMessage()
        return False


#: One for the process, since loggers are.
_WORDS = _LastWords()


class OtlpSender:
    """Sends spans over HTTP. One thread uses it, and any may end it."""

    def __init__(self) -> None:
        timeout = None if any(os.environ.get(name) for name in _TIMEOUTS) else TIMEOUT
        for name in ("proto.http.trace_exporter", "proto.http._common", "common.http"):
            logging.getLogger(f"opentelemetry.exporter.otlp.{name}").addFilter(_WORDS)
        self._exporter = OTLPSpanExporter(timeout=timeout)
        self._resource = _resource()
        self._scope = InstrumentationScope("flask_gateway", __version__)

    @property
    def fault(self) -> str:
        """The last complaint of the exporter."""
        return _WORDS.text

    def send(self, spans: Iterable[TraceSpan]) -> bool:
        """Send the spans; ``False`` if the receiver did not take them."""
        batch = [self._readable(span) for span in spans]
        return self._exporter.export(batch) is SpanExportResult.SUCCESS

    def end(self) -> None:
        """Send no more. A pause before another try ends at once."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _readable(self, span: TraceSpan) -> ReadableSpan:
        trace = int(span.trace, 16)
        state = TraceState.from_header([span.state]) if span.state else None
        above = int(span.parent, 16) if span.parent else None
        return ReadableSpan(
            name=span.name,
            context=SpanContext(trace, int(span.span, 16), False, _SAMPLED, state),
            parent=SpanContext(trace, above, span.server, _SAMPLED) if above else None,
            resource=self._resource,
            attributes=span.attributes,
            kind=SpanKind.SERVER if span.server else SpanKind.CLIENT,
            status=_FAILED if span.failed else _UNSET,
            start_time=span.started,
            end_time=span.ended,
            instrumentation_scope=self._scope,
        )


def _resource() -> Resource:
    """The service as the receiver shows it: ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` win."""
    own = Resource({"service.name": "flask-gateway", "service.version": __version__})
    return own.merge(OTELResourceDetector().detect())
