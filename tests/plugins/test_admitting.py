"""Tests plugins that are guards: permits, refusals, failures, and operations that they cannot see."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.calls import make_call, make_settings
from kit.plugins import loaded, plugin

from flask_gateway.app.build import Gateway, build
from flask_gateway.model.call import Operation
from flask_gateway.model.errors import OperationNotCovered, Overloaded, PluginFailed
from flask_gateway.model.plugin_notes import PluginNotes
from flask_gateway.model.protocols import NO_PERMIT
from flask_gateway.plugins.admitting import Coverage
from flask_gateway.plugins.chain import HEADER
from flask_gateway.state.memory import MemoryStore


def gateway(store: MemoryStore, **changes: Any) -> Gateway:
    return build(make_settings(plugins=(plugin("Slots", "slots", **changes),)), store)


def instance(made: Gateway) -> Any:
    assert made.plugins is not None
    return made.plugins.loaded[0].instance


def test_a_permit_is_settled_once_and_its_headers_are_sent(store: MemoryStore) -> None:
    made = gateway(store)
    reply = made.service.send(make_call("mock"))
    assert instance(made).slots == 0
    assert reply.headers["x-slots"] == "some"
    assert reply.headers[HEADER] == "slots=admitted"
    with pytest.raises(Overloaded) as caught:
        made.service.send(make_call("mock"))
    assert caught.value.headers[HEADER] == "slots=refused"
    list(reply)
    assert (instance(made).slots, instance(made).ends) == (1, ["success"])


def test_a_later_refusal_cancels_it(store: MemoryStore) -> None:
    full = (plugin("Slots", "a"), plugin("Slots", "b", options={"slots": 0}))
    made = build(make_settings(plugins=full), store)
    with pytest.raises(Overloaded) as caught:
        made.service.send(make_call("mock"))
    assert caught.value.headers[HEADER] == "a=admitted, b=refused"
    assert instance(made).ends == ["cancelled"]


@pytest.mark.parametrize("answer", ["raise", 7, {"headers": {}}])
def test_a_failure_refuses_or_passes(store: MemoryStore, answer: object) -> None:
    made = gateway(store, options={"answer": answer})
    with pytest.raises(PluginFailed) as caught:
        made.service.send(make_call("mock"))
    assert caught.value.headers[HEADER] == "slots=failed"
    made = gateway(store, options={"answer": answer}, on_error="pass")
    reply = made.service.send(make_call("mock"))
    assert reply.headers[HEADER] == "slots=failed"
    list(reply)


def test_a_permit_that_fails_changes_nothing(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError

    made = gateway(store)
    monkeypatch.setattr("kit.plugins.Slot.settle", fail)
    monkeypatch.setattr("kit.plugins.Slot.cancel", fail)
    assert b"".join(made.service.send(make_call("mock")))


def test_it_is_asked_for_its_own_calls_alone(store: MemoryStore) -> None:
    made = gateway(store, keys=frozenset({"other"}))
    reply = made.service.send(make_call("mock"))
    assert HEADER not in reply.headers
    assert instance(made).slots == 1
    list(reply)


def embedding(model: str = "mock") -> Any:
    return msgspec.structs.replace(make_call(model, input="x"), operation=Operation.EMBEDDING)


class Chatting:
    """A guard that knows one operation."""

    operations = (Operation.CHAT,)

    def __init__(self, **options: Any) -> None:
        self.asked = 0

    def admit(self, call: object) -> Any:
        self.asked += 1
        raise Overloaded("no")


def test_an_operation_that_it_does_not_know_is_refused_or_shown(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.plugins.Chatting", Chatting, raising=False)
    made = build(make_settings(plugins=(plugin("Chatting", "c"),)), store)
    with pytest.raises(OperationNotCovered) as caught:
        made.service.send(embedding())
    assert caught.value.headers[HEADER] == "c=skipped(embedding)"
    made = build(make_settings(plugins=(plugin("Chatting", "c", on_error="pass"),)), store)
    reply = made.service.send(embedding())
    assert reply.headers[HEADER] == "c=skipped(embedding)"
    list(reply)
    assert instance(made).asked == 0


@pytest.mark.parametrize(
    "operation", [Operation.RAW, Operation.STORED, Operation.REALTIME, Operation.RESPONSE_SESSION]
)
def test_an_inspector_refuses_what_nothing_reads(operation: Operation) -> None:
    call = msgspec.structs.replace(make_call(), operation=operation)
    noted = msgspec.structs.replace(call, plugins=PluginNotes((loaded("Masking", name="pii"),)))
    with pytest.raises(OperationNotCovered):
        Coverage().admit(noted)
    assert Coverage().admit(call) is NO_PERMIT
    noted = msgspec.structs.replace(call, plugins=PluginNotes((loaded("Masking", on_error="pass"),)))
    assert Coverage().admit(noted) is NO_PERMIT
    assert str(noted.plugins) == f"p=skipped({operation.name.lower()})"


def test_a_rewriter_does_not_mind_stored_responses_which_have_no_prompt() -> None:
    call = msgspec.structs.replace(make_call(), operation=Operation.STORED)
    call = msgspec.structs.replace(call, plugins=PluginNotes((loaded("Prefixing"),)))
    assert Coverage().admit(call) is NO_PERMIT
    raw = msgspec.structs.replace(call, operation=Operation.RAW)
    with pytest.raises(OperationNotCovered):
        Coverage().admit(raw)
