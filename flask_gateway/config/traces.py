"""Reads where traces are sent, from OpenTelemetry's own variables.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from .errors import ConfigError, InvalidValue, Mistakes, nearest
from .upstream_url import split_url

ENDPOINT, TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PROTOCOL, TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
DISABLED, EXPORTER = "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"
SAMPLER, RATIO = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
#: https://github.com/open-telemetry/opentelemetry-python-contrib, the variable of its instrumentations.
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

SAMPLERS = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)


class TraceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where traces go, and which.

    :param endpoint: the URL of the receiver, with ``/v1/traces``.
    :param sampler: one of :data:`SAMPLERS`. :param ratio: the share that ``traceidratio`` keeps, 0 to 1.
    :param content: whether the variable asks for the texts of calls. ``log_prompts`` has to agree.
    """

    endpoint: str
    sampler: str = "parentbased_always_on"
    ratio: float = 1.0
    content: bool = False


def traces_of(environ: Mapping[str, str], mistakes: Mistakes) -> TraceSettings | None:
    """The settings of traces; ``None`` if the environment names no receiver, or switches them off."""
    off = environ.get(DISABLED, "").strip().lower() == "true"
    if off or environ.get(EXPORTER, "").strip().lower() == "none":
        return None
    endpoint = ""
    with mistakes:
        endpoint = _endpoint(environ)
    if not endpoint:
        return None
    for name in (TRACES_PROTOCOL, PROTOCOL):
        with mistakes:
            _check_protocol(name, environ.get(name, "").strip())
    sampler, ratio = "parentbased_always_on", 1.0
    with mistakes:
        sampler = _sampler(environ.get(SAMPLER, "").strip().lower() or sampler)
    with mistakes:
        ratio = _ratio(environ.get(RATIO, "").strip(), sampler)
    content = environ.get(CONTENT, "").strip().upper() in ("SPAN_ONLY", "SPAN_AND_EVENT")
    return TraceSettings(endpoint=endpoint, sampler=sampler, ratio=ratio, content=content)


def _endpoint(environ: Mapping[str, str]) -> str:
    """The URL of the receiver. The general variable names a base, and that of traces the whole URL."""
    for name, path in ((TRACES_ENDPOINT, ""), (ENDPOINT, "/v1/traces")):
        if value := environ.get(name, "").strip():
            try:
                split_url(value, ("http", "https"))
            except InvalidValue as unfit:
                # A password may stand in it.
                raise ConfigError(name, None, "a URL such as http://127.0.0.1:4318", unfit.hint) from None
            return f"{value.rstrip('/')}{path}" if path else value
    return ""


def _check_protocol(name: str, value: str) -> None:
    if value and value != "http/protobuf":
        hint = "every receiver takes it, usually on port 4318; Langfuse and Phoenix take nothing else"
        raise ConfigError(name, value, "http/protobuf", hint)


def _sampler(value: str) -> str:
    if value not in SAMPLERS:
        raise ConfigError(SAMPLER, value, f"one of {', '.join(SAMPLERS)}", nearest(value, SAMPLERS))
    return value


def _ratio(value: str, sampler: str) -> float:
    if not sampler.endswith("traceidratio") or not value:
        return 1.0
    try:
        ratio = float(value)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ConfigError(RATIO, value, "a number from 0 to 1, the share of the traces to keep")
    return ratio


def host_of(traces: TraceSettings) -> str:
    """The receiver's address for an operator, without what may be secret."""
    parts = urlsplit(traces.endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
