"""Checks the receiver of traces: sends it no spans, with the headers and certificates of real exports."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from ...config.traces import TraceSettings, host_of
from .finding import Diagnosis, fail, ok, warn


def check_all(traces: TraceSettings | None) -> Iterator[Diagnosis]:
    """Check the receiver, if there is one. It gets a few seconds."""
    if traces is None:
        return
    where = host_of(traces)
    if find_spec("opentelemetry") is None:
        yield fail("traces: the opentelemetry packages are not installed", "pip install '.[otel]'")
        return
    from ...tracing.otlp import OtlpSender

    sender = OtlpSender()
    taken = sender.send(())
    sender.end()
    if taken:
        yield ok(f"traces: {where} takes them")
    else:
        remedy = "check the URL, OTEL_EXPORTER_OTLP_HEADERS and the receiver; calls go on without traces"
        yield warn(f"traces: {where} does not take them: {sender.fault}", remedy)
