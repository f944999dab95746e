"""Tests the composition of a gateway: one object for each part, and what a reload keeps."""

from __future__ import annotations

import msgspec
from kit.calls import make_call, make_settings

from flask_gateway.app.build import build, rebuild
from flask_gateway.state.memory import MemoryStore


def test_a_gateway_answers_a_call(store: MemoryStore) -> None:
    gateway = build(make_settings(), store)
    call = make_call(model="mock", messages=[{"role": "user", "content": "Hello"}])
    reply = gateway.service.send(call)
    assert b"Hello" in b"".join(reply.prime())
    assert gateway.inflight.streams == 0


def test_a_reload_keeps_what_must_last(store: MemoryStore) -> None:
    before = build(make_settings(), store)
    after = rebuild(msgspec.structs.replace(before.settings, rate_limit_per_minute=7), before)
    assert after is not before
    assert after.settings.rate_limit_per_minute == 7
    assert after.store is before.store
    assert after.inflight is before.inflight
    assert after.http is before.http
    assert after.limiter is not before.limiter


def test_new_addresses_get_connections_of_their_own(store: MemoryStore) -> None:
    before = build(make_settings(), store)
    (first, *others) = before.settings.upstreams
    moved = msgspec.structs.replace(first, url="http://moved.test/v1")
    changed = msgspec.structs.replace(before.settings, upstreams=(moved, *others))
    assert rebuild(changed, before).http is not before.http
