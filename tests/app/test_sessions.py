"""The services of WebSocket sessions exist where an upstream speaks them, and need an extra there."""

from __future__ import annotations

import sys

import msgspec
import pytest
from kit.calls import make_call, make_settings

from flask_gateway.app.build import Gateway, build
from flask_gateway.config.schema import Settings, UpstreamSettings
from flask_gateway.model.call import Caller, Operation
from flask_gateway.model.errors import RateLimited, UnsupportedOperation
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.redis import RedisStore
from flask_gateway.state.together import TogetherStore

SPEAKS = frozenset({Operation.CHAT, Operation.REALTIME})


def speaking() -> Settings:
    live = UpstreamSettings(name="live", url="http://live.test/v1", speaks=SPEAKS)
    return make_settings(upstreams=(live,), models=(), default_upstream="live", rate_limit_per_minute=2)


@pytest.fixture
def gateway() -> Gateway:
    return build(speaking())


def test_without_an_upstream_that_speaks_them_there_are_no_sessions():
    assert build(make_settings()).sessions is None


def test_without_its_extra_a_session_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "flask_gateway.realtime.turns", None)
    with pytest.raises(ValueError, match=r"flask-llm-gateway\[realtime\]"):
        build(speaking())


def test_each_response_counts_and_is_sent_to_its_sessions_upstream(gateway: Gateway):
    assert gateway.sessions is not None
    assert gateway.sessions.operations == {Operation.REALTIME}
    call = msgspec.structs.replace(make_call("voice"), operation=Operation.REALTIME, pinned="live")
    call = msgspec.structs.replace(call, caller=Caller("k", 1))
    reply = gateway.sessions.responses.send(call)
    assert (reply.upstream, reply.model) == ("live", "voice")
    with pytest.raises(RateLimited):
        gateway.sessions.responses.send(call)
    reply.close()


def test_with_redis_a_response_takes_no_slot_of_its_own():
    """Its session has one already."""
    away = FallbackStore(RedisStore("redis://127.0.0.1:1/0"), MemoryStore(), confirms=True)
    gateway = build(speaking(), TogetherStore(away))
    assert gateway.sessions is not None
    call = msgspec.structs.replace(make_call("voice"), operation=Operation.REALTIME, pinned="live")
    call = msgspec.structs.replace(call, caller=Caller("k", 10, max_concurrent=1))
    replies = [gateway.sessions.responses.send(call) for _ in range(2)]
    for reply in replies:
        assert reply.upstream == "live"
        reply.close()
    gateway.store.close()


def test_a_model_of_another_upstream_is_refused(gateway: Gateway):
    assert gateway.sessions is not None
    call = msgspec.structs.replace(make_call("voice"), operation=Operation.REALTIME, pinned="gone")
    with pytest.raises(UnsupportedOperation, match="Open another connection"):
        gateway.sessions.responses.send(call)
