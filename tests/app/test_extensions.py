"""Extensions of a gateway: the order in which they are asked, and that none costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
import pytest
from kit.calls import AUTH, chat, make_call, make_settings

from flask_gateway import create_app
from flask_gateway.app.build import Gateway, build, rebuild
from flask_gateway.app.extensions import Extensions
from flask_gateway.config.schema import Settings
from flask_gateway.model.call import Call, Caller, Outcome
from flask_gateway.model.errors import Overloaded
from flask_gateway.model.protocols import Service
from flask_gateway.model.reply import Reply
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.store import Store
from flask_gateway.streaming.buffered import BufferedStreams
from flask_gateway.telemetry.request_record import RequestRecord

CALLER = Caller("team-a", 5)


class Trace:
    """Notes the steps of a call in their order."""

    def __init__(self, *, refuses: str = "") -> None:
        self.steps: list[str] = []
        self.records: list[RequestRecord] = []
        self.refuses = refuses
        self.built = 0

    def extend(self, settings: Settings, store: Store) -> Extensions:
        self.built += 1
        return Extensions(
            guards=(NotingGuard("g1", self), NotingGuard("g2", self)),
            wrappers=tuple(partial(NotingService, name, self) for name in ("w1", "w2")),
            observers=(self.broken, self.records.append, lambda record: self.steps.append("record")),
        )

    def broken(self, record: RequestRecord) -> None:
        self.steps.append("broken")
        raise RuntimeError("an observer that fails stops no other")


class NotingGuard:
    headers: Mapping[str, str] = {}

    def __init__(self, name: str, trace: Trace) -> None:
        self.name, self.trace = name, trace

    def admit(self, call: Call) -> NotingGuard:
        if self.trace.refuses == self.name:
            raise Overloaded("no")
        self.trace.steps.append(f"{self.name} admits")
        return self

    def settle(self, outcome: Outcome) -> None:
        self.trace.steps.append(f"{self.name} settles {outcome.upstream}/{outcome.model}")

    def cancel(self) -> None:
        self.trace.steps.append(f"{self.name} cancels")


class NotingService:
    def __init__(self, name: str, trace: Trace, inner: Service) -> None:
        self.name, self.inner, self.trace = name, inner, trace

    def send(self, call: Call) -> Reply:
        self.trace.steps.append(self.name)
        return self.inner.send(call)


def gateway_of(trace: Trace, store: Store | None = None) -> Gateway:
    return build(make_settings(), store or MemoryStore(), trace.extend)


ORDER = [
    *("g1 admits", "g2 admits", "w1", "w2"),
    *("g2 settles mock/mock", "g1 settles mock/mock", "broken", "record"),
]


@pytest.mark.parametrize("stream", [False, True])
def test_the_order_is_the_stated_one(stream: bool) -> None:
    trace = Trace()
    list(gateway_of(trace).service.send(make_call("mock", caller=CALLER, stream=stream)))
    assert trace.steps == ORDER
    (record,) = trace.records
    assert (record.upstream, record.upstream_model) == ("mock", "mock")


def test_a_guard_that_refuses_costs_the_caller_nothing() -> None:
    trace, store = Trace(refuses="g2"), MemoryStore()
    gateway = gateway_of(trace, store)
    for _ in range(10):  # more than the limit
        with pytest.raises(Overloaded) as caught:
            gateway.service.send(make_call("mock", caller=CALLER))
        assert caught.value.headers["x-ratelimit-remaining-requests"] == "5"
    assert trace.steps == ["g1 admits", "g1 cancels", "broken", "record"] * 10
    assert (gateway.inflight.threads, store.read("limit:team-a")) == (0, None)


def test_the_gateways_own_limits_come_before_the_guards() -> None:
    trace = Trace()
    gateway, only = gateway_of(trace), Caller("team-a", 1)
    list(gateway.service.send(make_call("mock", caller=only)))
    trace.steps.clear()
    with pytest.raises(Exception, match="This key has used"):
        gateway.service.send(make_call("mock", caller=only))
    assert trace.steps == ["broken", "record"]


def test_a_reload_makes_the_extensions_again() -> None:
    trace = Trace()
    before = gateway_of(trace)
    after = rebuild(msgspec.structs.replace(before.settings, rate_limit_per_minute=7), before)
    assert trace.built == 2
    list(after.service.send(make_call("mock", caller=CALLER)))
    assert trace.steps == ORDER


def test_without_extensions_a_call_meets_no_more_than_the_gateways_own_parts() -> None:
    service: Any = build(make_settings(), MemoryStore()).service
    limits = service._service
    assert len(limits._guards) == 4
    assert isinstance(limits._service, BufferedStreams)
    assert len(service._observers) == 2


def test_an_application_takes_extensions_and_records_say_when() -> None:
    trace = Trace()
    client = create_app(make_settings(), MemoryStore(), trace.extend).test_client()
    answer = client.post("/v1/chat/completions", headers=AUTH, json=chat("mock"))
    assert answer.status_code == 200
    client.get("/nothing", headers=AUTH)
    call, other = trace.records
    assert call.started_ns > 10**18
    assert other.started_ns >= call.started_ns
    (attempt,) = call.attempts
    assert call.started_ns <= attempt.started_ns <= call.started_ns + int(call.seconds * 1e9) + 1
    assert call.usage is not None
    assert call.usage.source in ("reported", "estimated")
