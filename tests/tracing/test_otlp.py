"""Tests what the exporter sends: protobuf that says what the spans say, with name and headers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kit.otlp_receiver import OtlpReceiver
from kit.records import TRACE, attempt, call_record, ids

from flask_gateway.tracing.otlp import OtlpSender
from flask_gateway.tracing.spans import TracePlace, spans_of

ATTEMPTS = (attempt("one", "503", 0, 0.25), attempt("two", "200", 0.25, 0.5))
PLACES = {"two": TracePlace("openai", "two.test", 443)}


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as started:
        yield started


@pytest.fixture
def sender(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpSender]:
    receiver.mode = "ok"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=mine")
    made = OtlpSender()
    yield made
    made.end()


def test_the_spans_arrive_as_they_are(sender: OtlpSender, receiver: OtlpReceiver) -> None:
    record = call_record(ids=ids(parent="b7ad6b7169203331", flags="01"), attempts=ATTEMPTS)
    spans = list(spans_of(record, PLACES))
    assert sender.send(spans)
    received = receiver.trace(TRACE, 3)
    assert [(one.name, one.span, one.parent, one.server, one.failed) for one in received] == [
        (one.name, one.span, one.parent, one.server, one.failed) for one in spans
    ]
    assert [(one.started, one.ended) for one in received] == [(one.started, one.ended) for one in spans]
    assert [one.attributes for one in received] == [one.attributes for one in spans]
    resource = received[0].resource
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("mine", "test")
    head = receiver.heads[-1]
    assert (head["path"], head["authorization"]) == ("/v1/traces", "Basic abc")
    assert head["content-type"] == "application/x-protobuf"


@pytest.mark.parametrize("mode", ["busy", "refuse"])
def test_a_receiver_in_trouble_is_a_failure_with_its_cause_and_no_log_line(
    sender: OtlpSender, receiver: OtlpReceiver, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.mode = mode
    assert not sender.send(spans_of(call_record(), {}))
    assert "Failed to export" in sender.fault
    assert caplog.records == []
