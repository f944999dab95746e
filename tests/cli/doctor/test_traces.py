"""Tests what doctor says of a receiver of traces: none, one that answers, one that does not."""

from __future__ import annotations

import pytest
from kit.otlp_receiver import OtlpReceiver

from flask_gateway.cli.doctor.finding import Level
from flask_gateway.cli.doctor.traces import check_all
from flask_gateway.config.traces import TraceSettings


def test_without_a_receiver_there_is_nothing_to_check() -> None:
    assert list(check_all(None)) == []


@pytest.mark.parametrize(("mode", "level"), [("ok", Level.OK), ("refuse", Level.WARN)])
def test_the_receiver_is_asked(mode: str, level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpReceiver() as receiver:
        receiver.mode = mode
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        (found,) = check_all(TraceSettings(endpoint=f"{receiver.url}/v1/traces"))
    assert (found.level, receiver.asked > 0) == (level, True)
    assert receiver.url in found.what


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_gateway.cli.doctor.traces.find_spec", lambda name: None)
    (found,) = check_all(TraceSettings(endpoint="http://r.test/v1/traces"))
    assert found.level is Level.FAIL
    assert "[otel]" in found.remedy
