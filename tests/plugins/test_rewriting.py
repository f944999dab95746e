"""Tests plugins that change what is asked."""

from __future__ import annotations

from typing import Any

import pytest
from kit.calls import make_call, make_settings
from kit.plugins import plugin

from flask_gateway.app.build import Gateway, build
from flask_gateway.model.call import Call
from flask_gateway.model.errors import Blocked, PluginFailed
from flask_gateway.model.reply import Reply
from flask_gateway.plugins.chain import HEADER
from flask_gateway.plugins.inspecting import InspectingService
from flask_gateway.state.memory import MemoryStore


def gateway(store: MemoryStore, *faults: str, **changes: Any) -> Gateway:
    tables = [
        plugin("Prefixing", f"p{number}", options={"fault": fault}, **changes)
        for number, fault in enumerate(faults)
    ]
    return build(make_settings(plugins=tuple(tables)), store)


class Seen(list[Call]):
    """The calls that reach the service within."""

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> Seen:
        send = InspectingService.send

        def watched(service: InspectingService, call: Call) -> Reply:
            self.append(call)
            return send(service, call)

        monkeypatch.setattr(InspectingService, "send", watched)
        return self


def test_the_upstream_is_asked_what_plugins_make_of_it(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen().watch(monkeypatch)
    reply = gateway(store, "", "same", "").service.send(make_call("mock"))
    roles = [message["role"] for message in seen[0].decoded("messages", 10_000)]
    assert roles == ["system", "system", "user"]
    assert reply.headers[HEADER] == "p0=rewritten, p1=unchanged, p2=rewritten"
    list(reply)


@pytest.mark.parametrize("fault", ["raise", "nonsense", "caller", "model", "stream", "text", "json"])
def test_a_failure_refuses_or_passes(
    store: MemoryStore, fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen().watch(monkeypatch)
    with pytest.raises(PluginFailed) as caught:
        gateway(store, fault).service.send(make_call("mock"))
    assert caught.value.headers[HEADER] == "p0=failed"
    assert seen == []
    reply = gateway(store, fault, on_error="pass").service.send(make_call("mock"))
    assert reply.headers[HEADER] == "p0=failed"
    list(reply)
    asked = make_call("mock")
    assert (seen[0].fields, seen[0].caller) == (asked.fields, asked.caller)
    assert "a text that is not logged" not in caplog.text


def test_a_block_asks_no_upstream(store: MemoryStore) -> None:
    call = make_call("mock")
    with pytest.raises(Blocked) as caught:
        gateway(store, "block", "").service.send(call)
    assert caught.value.headers[HEADER] == "p0=blocked"
    assert call.attempts == []
