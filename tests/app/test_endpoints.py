"""Tests the endpoints of a gateway: one for each upstream, and one for each model that has a table."""

from __future__ import annotations

import msgspec
from kit.calls import make_settings, single_candidate

from flask_gateway.app.build import build
from flask_gateway.config.schema import Balance, ModelSettings
from flask_gateway.guards.bulkhead import UpstreamBulkhead
from flask_gateway.state.memory import MemoryStore


def test_each_upstream_and_each_configured_model_has_its_own_breaker(store: MemoryStore) -> None:
    breakers = build(make_settings(), store).breakers
    assert [(one.upstream, one.model) for one in breakers] == [
        ("llama", None),
        ("llama", "llama-3-8b-instruct"),
        ("bare", None),
        ("mock", None),
    ]


def test_calls_are_counted_where_the_balance_needs_them(store: MemoryStore) -> None:
    settings = make_settings()
    model = ModelSettings(name="m", tiers=(single_candidate("bare"),), balance=Balance.LEAST_REQUESTS)
    counted = msgspec.structs.replace(settings, models=(model,))
    for one, expected in ((settings, 0), (counted, 2)):
        endpoints = build(one, store).candidates
        guards = [
            guard
            for (upstream, _), endpoint in endpoints._endpoints.items()
            if upstream == "bare"
            for guard in endpoint.service._guards
        ]
        assert sum(isinstance(guard, UpstreamBulkhead) for guard in guards) == expected
