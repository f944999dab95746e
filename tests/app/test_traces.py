"""Tests what a gateway's settings make of traces: places, switches of texts, a reload that keeps them."""

from __future__ import annotations

import msgspec
import pytest
from kit.calls import make_call, make_settings

from flask_gateway.app.build import build, rebuild
from flask_gateway.app.traces import places_of, texts
from flask_gateway.config.schema import Settings
from flask_gateway.config.traces import TraceSettings
from flask_gateway.state.memory import MemoryStore
from flask_gateway.tracing.spans import TracePlace


def traced(*, content: bool = False, log_prompts: bool = False) -> Settings:
    where = TraceSettings(endpoint="http://127.0.0.1:1/v1/traces", content=content)
    return make_settings(traces=where, log_prompts=log_prompts)


def test_the_places_follow_from_the_upstreams() -> None:
    settings = make_settings()
    first, second, mock = settings.upstreams
    named = msgspec.structs.replace(second, provider="acme", url="https://bare.test:8443/v1")
    hosted = msgspec.structs.replace(first, url="https://api.openai.com/v1")
    assert places_of(msgspec.structs.replace(settings, upstreams=(hosted, named, mock))) == {
        "llama": TracePlace("openai", "api.openai.com", 443),
        "bare": TracePlace("acme", "bare.test", 8443),
        "mock": TracePlace("mock", "", 0),
    }


@pytest.mark.parametrize("content", [False, True])
@pytest.mark.parametrize("log_prompts", [False, True])
def test_texts_need_both_switches(content: bool, log_prompts: bool) -> None:
    assert texts(traced(content=content, log_prompts=log_prompts)) is (content and log_prompts)


def test_a_reload_keeps_the_traces(store: MemoryStore) -> None:
    before = build(traced(), store)
    after = rebuild(msgspec.structs.replace(before.settings, rate_limit_per_minute=7), before)
    assert before.traces is not None
    assert after.traces is before.traces
    before.traces._thread.running = True  # the test makes no turn
    call = make_call("mock")
    list(after.service.send(call))
    (record,) = before.traces._queue
    assert record.traced["gen_ai.response.id"]
    before.traces._queue.clear()
    before.traces._thread.running = False


def test_without_a_receiver_there_are_none(store: MemoryStore) -> None:
    assert build(make_settings(), store).traces is None
