"""Opens what sends traces. Imported only where the environment names a receiver of them."""

from __future__ import annotations

import atexit
from urllib.parse import urlsplit

from ..config.schema import Settings, UpstreamSettings
from ..config.traces import TraceSettings
from ..telemetry.metrics import Reports
from ..tracing.answer_facts import AnswerFacts
from ..tracing.exporting import WAITING, WAITING_TEXTS, Sender, Traces
from ..tracing.genai import provider_of
from ..tracing.spans import TracePlace


def open_traces(settings: Settings, traces: TraceSettings, reports: Reports) -> Traces:
    """The traces of this process. Its last ones are sent when it ends."""
    made = Traces(traces, _sender, reports.traced, WAITING_TEXTS if texts(settings) else WAITING)
    atexit.register(made.stop)
    return made


def _sender() -> Sender:
    from ..tracing.otlp import OtlpSender

    return OtlpSender()


def texts(settings: Settings) -> bool:
    """Whether traces carry what callers and models say: both switches have to be on."""
    return settings.traces is not None and settings.traces.content and settings.log_prompts


def facts_of(settings: Settings) -> AnswerFacts:
    return AnswerFacts(texts=texts(settings))


def places_of(settings: Settings) -> dict[str, TracePlace]:
    """The upstreams as spans describe them, by name."""
    return {one.name: _place(one) for one in settings.upstreams}


def _place(upstream: UpstreamSettings) -> TracePlace:
    provider = upstream.provider or provider_of(upstream.url, upstream.name)
    if upstream.url.startswith("mock:"):
        return TracePlace(provider, "", 0)
    parts = urlsplit(upstream.url)
    usual = {"http": 80, "https": 443}.get(parts.scheme, 0)
    return TracePlace(provider, parts.hostname or "", parts.port or usual)
