"""Tests plugins that inspect answers, within a gateway: headers, failures, blocks, kept and held answers."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from kit.calls import make_call, make_settings, single_candidate
from kit.plugins import BAD, plugin
from kit.waiting import until

from flask_gateway.app.build import Gateway, build
from flask_gateway.config.cache_settings import CacheMode, CacheShare, ModelCache
from flask_gateway.config.schema import ModelSettings
from flask_gateway.model.call import Call, Caller, Operation
from flask_gateway.model.errors import Blocked, OperationNotCovered, PluginFailed
from flask_gateway.model.reply import Reply
from flask_gateway.plugins.chain import HEADER
from flask_gateway.state.memory import MemoryStore

TEXT = "Say AAAAA and BBBBB."


def gateway(store: MemoryStore, *, on_error: str | None = None, **options: Any) -> Gateway:
    tables = (
        plugin("Masking", "pii", options=options, on_error=on_error),
        plugin("Watching", "watch"),
    )
    return build(make_settings(plugins=tables), store)


def asked(text: str = TEXT, *, stream: bool = False, **changes: Any) -> Call:
    """A call to the mock, which repeats the text."""
    call = make_call("mock", stream=stream, messages=[{"role": "user", "content": text}])
    return msgspec.structs.replace(call, started=time.monotonic(), **changes)


def heard(reply: Reply) -> str:
    return b"".join(reply).decode()


def recorded(made: Gateway) -> tuple[str, str | None, str | None]:
    assert made.plugins is not None
    (record,) = made.plugins.loaded[1].instance.records
    return record.plugins, record.code, record.outcome


def uses(made: Gateway) -> list[int]:
    assert made.plugins is not None
    return [one._uses for one in made.plugins.loaded]


def test_a_whole_answer_says_what_was_done(store: MemoryStore) -> None:
    made = gateway(store)
    reply = made.service.send(asked())
    assert reply.headers[HEADER] == "pii=masked(2)"
    answer = heard(reply)
    assert "Say [x] and [x]." in answer
    assert "AAAAA" not in answer
    assert recorded(made) == ("pii=masked(2)", None, "success")


def test_the_record_of_a_stream_says_what_was_done(store: MemoryStore) -> None:
    made = gateway(store)
    reply = made.service.send(asked(stream=True))
    answer = heard(reply)
    assert "AAAAA" not in answer
    assert answer.endswith("data: [DONE]\n\n")
    assert recorded(made) == ("pii=masked(2)", None, "success")
    assert uses(made) == [0, 0]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["raise", "nonsense", "hold everything", "open", "shape"])
def test_a_failure_refuses_and_nothing_leaks(store: MemoryStore, fault: str, stream: bool) -> None:
    made = gateway(store, fault=fault)
    with pytest.raises(PluginFailed) as caught:
        made.service.send(asked(TEXT * 50, stream=stream))
    assert caught.value.headers[HEADER] == "pii=failed"
    assert recorded(made) == ("pii=failed", "plugin_failed", "ignored")
    assert uses(made) == [0, 0]
    assert made.inflight._calls == {}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["raise", "nonsense", "hold everything", "open", "shape"])
def test_a_failure_passes_and_nothing_is_lost(store: MemoryStore, fault: str, stream: bool) -> None:
    made, plain = gateway(store, fault=fault, on_error="pass"), build(make_settings(), store)
    call = asked(TEXT * 50, stream=stream)
    answer, wanted = heard(made.service.send(call)), heard(plain.service.send(call))
    assert text_of(answer) == text_of(wanted)
    assert uses(made) == [0, 0]


def text_of(answer: str) -> str:
    """The text of the mock."""
    if answer.startswith("{"):
        return str(json.loads(answer)["choices"][0]["message"]["content"])
    events = [event for event in answer.split("\n\n") if event.startswith('data: {"id')]
    choices = [choice for event in events for choice in json.loads(event[6:])["choices"]]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def test_a_block_before_the_first_byte_is_an_error_of_its_own(store: MemoryStore) -> None:
    made = gateway(store, bad="Mock")
    for stream in (False, True):
        call = asked(stream=stream)
        with pytest.raises(Blocked) as caught:
            made.service.send(call)
        assert (caught.value.status, caught.value.code) == (400, "content_blocked")
        assert caught.value.headers[HEADER] == "pii=blocked"
        assert len(call.attempts) == 1, "no other upstream is asked"
    assert [one.status().failures for one in made.breakers if one.upstream == "mock"] == [0]


def test_a_block_after_the_first_byte_is_the_last_event(store: MemoryStore) -> None:
    made = gateway(store)
    answer = heard(made.service.send(asked(f"Much may be said before it is {BAD} to say more.", stream=True)))
    assert '"code":"content_blocked"' in answer.split("\n\n")[-2]
    assert "[DONE]" not in answer
    assert BAD not in text_of(answer)
    assert recorded(made) == ("pii=blocked", "content_blocked", "ignored")


def test_an_inspector_that_waits_holds_streams_so_that_a_block_is_an_error(store: MemoryStore) -> None:
    made = gateway(store, whole=True)
    with pytest.raises(Blocked):
        made.service.send(asked(f"Much may be said before it is {BAD} to say more.", stream=True))
    reply = gateway(store, whole=True).service.send(asked(stream=True))
    assert reply.headers[HEADER] == "pii=masked(2)"
    assert "AAAAA" not in heard(reply)


def test_it_may_leave_a_call_alone(store: MemoryStore) -> None:
    made = gateway(store)
    reply = made.service.send(asked(user="not inspected"))
    assert reply.headers[HEADER] == "pii=not inspected"
    assert "AAAAA" in heard(reply)


def test_an_operation_whose_answers_it_cannot_read_is_refused_or_shown(store: MemoryStore) -> None:
    call = msgspec.structs.replace(make_call("mock", input="x"), operation=Operation.EMBEDDING)
    with pytest.raises(OperationNotCovered):
        gateway(store).service.send(call)
    reply = gateway(store, on_error="pass").service.send(call)
    assert reply.headers[HEADER] == "pii=skipped(embedding)"
    list(reply)


def kept(store: MemoryStore, **options: Any) -> Gateway:
    """A gateway that keeps answers for all, and masks those for one key."""
    models = (
        ModelSettings(
            name="kept",
            tiers=(single_candidate("mock", "mock"),),
            cache=ModelCache(mode=CacheMode.ALL, share=CacheShare.ALL),
        ),
    )
    table = plugin("Masking", "pii", keys=frozenset({"web"}), options=options)
    return build(make_settings(plugins=(table,), models=models), store)


@pytest.mark.parametrize("stream", [False, True])
def test_kept_answers_are_inspected_for_those_who_need_it(store: MemoryStore, stream: bool) -> None:
    made = kept(store)
    found = {}
    for key in ("plain", "web", "plain", "web"):
        call = msgspec.structs.replace(asked(stream=stream, caller=Caller(key, 0)), model="kept")
        reply = made.service.send(call)
        answer = heard(reply)
        found.setdefault(key, []).append(("AAAAA" in answer, reply.headers["x-gateway-cache"]))
        assert made.cache is not None
        until(lambda: stored(made) == 1)
    assert found == {"plain": [(True, "miss"), (True, "hit")], "web": [(False, "hit"), (False, "hit")]}


def stored(made: Gateway) -> int:
    assert made.cache is not None
    return made.cache.parts.entries.stats().entries


def test_a_blocked_answer_is_not_kept(store: MemoryStore) -> None:
    made = kept(store, bad="BBBBB")
    for _ in range(2):
        with pytest.raises(Blocked):
            made.service.send(msgspec.structs.replace(asked(caller=Caller("web", 0)), model="kept"))
    assert stored(made) == 0
