"""Tests where traces go: OpenTelemetry's own variables, and what is refused at the start."""

from __future__ import annotations

import pytest
from kit.configuration import refusal

from flask_gateway.config.load import load
from flask_gateway.config.traces import TraceSettings, host_of

BASE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.test:4318/"}


def test_without_a_receiver_there_are_no_traces() -> None:
    assert load({}).traces is None
    assert load({"OTEL_TRACES_SAMPLER": "nonsense"}).traces is None
    assert load({**BASE, "OTEL_SDK_DISABLED": "True"}).traces is None
    assert load({**BASE, "OTEL_TRACES_EXPORTER": "none"}).traces is None


def test_the_variable_of_traces_is_the_whole_url() -> None:
    settings = load(BASE).traces
    assert settings == TraceSettings(endpoint="http://collector.test:4318/v1/traces")
    whole = {**BASE, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://u:p@l.test/api/public/otel/v1/traces?k=1"}
    traces = load(whole).traces
    assert traces is not None
    assert host_of(traces) == "https://l.test/api/public/otel/v1/traces"


def test_the_sampler_and_its_ratio() -> None:
    traces = load({**BASE, "OTEL_TRACES_SAMPLER": "TraceIdRatio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}).traces
    assert traces is not None
    assert (traces.sampler, traces.ratio) == ("traceidratio", 0.25)
    unused = load({**BASE, "OTEL_TRACES_SAMPLER_ARG": "many"}).traces
    assert unused is not None
    assert (unused.sampler, unused.ratio) == ("parentbased_always_on", 1.0)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "a URL such as http://127.0.0.1:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "expected http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "expected http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "one of always_on"),
        ("OTEL_TRACES_SAMPLER_ARG", "2", "a number from 0 to 1"),
        ("OTEL_TRACES_SAMPLER_ARG", "half", "a number from 0 to 1"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(variable: str, value: str, words: str) -> None:
    ratio = {"OTEL_TRACES_SAMPLER": "traceidratio"} if variable.endswith("ARG") else {}
    error = refusal(**{**BASE, **ratio, variable: value})
    assert error.setting == variable
    assert words in str(error)


def test_texts_need_two_switches_and_the_start_says_so() -> None:
    one = {**BASE, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only"}
    assert any("has no effect" in warning for warning in load(one).warnings)
    both = load({**one, "GATEWAY_LOG_PROMPTS": "on"})
    assert any("traces carry what callers and models say" in warning for warning in both.warnings)
    assert both.traces is not None
    assert both.traces.content
    for value in ("NO_CONTENT", "EVENT_ONLY", "true", ""):
        other = load({**BASE, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": value}).traces
        assert other is not None
        assert not other.content
