"""Tests the relay's work on threads, and its own faults: each ends only its stream."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from kit.relays import BUFFER, ROOM, SOON, Carried, Piped, Stage, proves_alive, reset
from kit.replies import PlainTranscript, ScriptedSource
from kit.waiting import until

from flask_gateway.dialects.openai import PING_EVENT
from flask_gateway.model.errors import UpstreamCut, Verdict
from flask_gateway.model.large_json import SLICE
from flask_gateway.model.source import Postponed, Run
from flask_gateway.streaming import relay as relay_module

# ---------------------------------------------------------------- answers that take a thread


class Halting(Piped):
    """Can be received from until :attr:`halted`; then a thread has to :meth:`read`, which waits for
    ``go``, and takes ``then``, if there is one."""

    def __init__(self, then: Any = None) -> None:
        super().__init__()
        self.halted = False
        self.reading, self.go = threading.Event(), threading.Event()
        self._then = then
        self.ran: list[Run] = []

    @property
    def holds(self) -> bool:  # type: ignore[override]
        return self._holds or self.halted or (self.go.is_set() and bool(self._then) and self._then.holds)

    @holds.setter
    def holds(self, holds: bool) -> None:
        self._holds = holds

    @property
    def channel(self) -> Any:
        if self.halted:
            return None
        return self._then.channel if self.go.is_set() and self._then else self

    def receive(self) -> bytes | None:
        if self.go.is_set() and self._then:
            data: bytes | None = self._then.receive()
            return data
        data = super().receive()
        self.halted = bool(data) and data[-1:] == b"h"
        return data

    def read(self) -> bytes:
        if not self.halted:
            return super().read()
        self.reading.set()
        assert self.go.wait(SOON)
        self.halted = self._then is not None and self._then.channel is None
        return self._then.read() if self._then else b"t"


def halted(stage: Stage, source: Halting, **options: Any) -> Carried:
    one = stage.carry(source, **options)
    source.upstream.sendall(b"h")
    assert source.reading.wait(SOON)
    return one


def test_a_thread_takes_one_step_and_returns_the_reply(stage: Stage) -> None:
    source = Halting()
    one = halted(stage, source)
    proves_alive(stage)
    source.go.set()
    assert one.read(2) == b"ht"
    source.upstream.sendall(b"x!")
    assert one.over()
    assert one.rest() == b"x!"


def test_the_relay_does_not_block_on_a_new_channel(stage: Stage) -> None:
    """The loop must never block on a channel that it has just received."""
    source = Halting(then := Piped())
    one = halted(stage, source)
    then.upstream.sendall(b"t")
    source.go.set()
    assert one.read(2) == b"ht"
    proves_alive(stage)
    then.upstream.sendall(b"x!")
    assert one.over()
    assert one.rest() == b"x!"


def test_a_caller_leaves_while_a_thread_has_the_reply(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Halting()
    one = stage.carry(source, room=ROOM)
    source.upstream.sendall(b"x" * 30_000 + b"h")
    assert source.reading.wait(SOON)
    (stream,) = stage.relay.streams
    assert stream._unsent, "it must be waited for, to see what comes of that"
    looks, drop = [0], stream._drop

    def dropped() -> None:
        looks[0] += 1
        drop()

    monkeypatch.setattr(type(stream), "_drop", lambda _: dropped())
    reset(one.caller)
    assert until(lambda: looks[0])
    time.sleep(0.05)
    assert looks[0] == 1, "the loop spins"
    assert not one.told
    source.go.set()
    assert one.over() is False
    assert one.told[0].verdict is Verdict.IGNORED
    assert source.closed == 1


def test_pings_continue_while_a_thread_has_the_reply(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "PING", 0.05)
    source = Halting()
    one = halted(stage, source)
    expected = b"h" + 2 * PING_EVENT
    assert one.read(len(expected)) == expected
    source.go.set()
    source.upstream.sendall(b"!")
    assert one.over()
    assert one.rest().replace(PING_EVENT, b"") == b"t!"


def test_threads_wait_for_a_slow_caller_too(stage: Stage) -> None:
    steps = 400
    script = ScriptedSource(*[b"y" * 10_000] * steps, b"!")
    script.channel = None  # type: ignore[attr-defined]
    source = Halting(script)
    one = halted(stage, source, room=ROOM)
    source.go.set()
    (stream,) = stage.relay.streams

    def still() -> bool:
        before = len(script.script)
        time.sleep(0.05)
        return len(script.script) == before < steps

    assert until(still)
    assert BUFFER < len(stream._unsent) <= BUFFER + 10_000
    assert one.read(steps * 10_000 + 2) == b"h" + b"y" * 10_000 * steps + b"!"
    assert one.over()


def test_an_answer_may_end_on_a_thread(stage: Stage) -> None:
    source = Halting(ScriptedSource(UpstreamCut("gone")))
    source._then.channel = None
    one = halted(stage, source, chunked=True)
    source.go.set()
    assert one.over()
    assert one.rest() == b"1\r\nh\r\n15\r\n<upstream_stream_cut>\r\n0\r\n\r\n"


# ---------------------------------------------------------------- faults of our own


def broken_in(what: str) -> tuple[Any, Any]:
    """A source and a transcript, one of which fails in an unexpected way."""
    source, transcript = Piped(), PlainTranscript()

    def fail(*_: Any) -> Any:
        raise RuntimeError("a bug")

    if what in ("feed", "cut"):
        setattr(transcript, what, fail)
    else:
        setattr(source, what, fail)
    return source, transcript


@pytest.mark.parametrize("what", ["fileno", "unblock", "receive", "feed"])
def test_a_failure_in_one_stream_ends_only_that_stream(stage: Stage, caplog: Any, what: str) -> None:
    other = stage.carry(other_source := Piped())
    with caplog.at_level(logging.CRITICAL, "flask_gateway"):
        source, transcript = broken_in(what)
        one = stage.carry(source, transcript=transcript)
        with suppress(OSError):  # it may be over by now
            source.upstream.sendall(b"a")
        one.over()
    assert source.closed == 1
    other_source.upstream.sendall(b"well!")
    assert other.over()
    assert other.rest() == b"well!"


def test_a_failure_while_settling_does_not_end_other_streams(stage: Stage, caplog: Any) -> None:
    with caplog.at_level(logging.CRITICAL, "flask_gateway"):
        for what in ("close", "release", "cut"):
            source, transcript = broken_in(what)
            one = stage.carry(source, transcript=transcript)
            source.upstream.sendall(b"!" if what == "release" else b"X")
            one.over()
    proves_alive(stage)


def test_a_failure_on_a_thread_ends_only_that_stream(stage: Stage, caplog: Any) -> None:
    transcript = PlainTranscript()
    transcript.cut = lambda error: 1 / 0  # type: ignore[assignment,method-assign]
    source = Halting(ScriptedSource(UpstreamCut("gone")))
    source._then.channel = None
    one = halted(stage, source, transcript=transcript)
    with caplog.at_level(logging.CRITICAL, "flask_gateway"):
        source.go.set()
        assert one.over() is False
    proves_alive(stage)


def test_without_threads_streams_still_settle(stage: Stage) -> None:
    source = Piped()
    one = stage.carry(source)
    stage.relay.close()
    source.upstream.sendall(b"a!")
    assert until(lambda: one.done)
    assert one.done == [(True, 1)]


# ---------------------------------------------------------------- events that take long


class Slow(PlainTranscript):
    """Postpones each part that begins with ``L``, and reads it when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.readers: list[str] = []
        self._part = b""

    def feed(self, data: bytes) -> bytes:
        if self.postpones and data.startswith(b"L"):
            self._part = data
            raise Postponed
        return super().feed(data)

    def catch_up(self) -> bytes:
        self.readers.append(threading.current_thread().name.rpartition("_")[0])
        assert self.go.wait(SOON)
        return super().feed(self._part) + b"l" * (3 << 20)


def test_a_thread_reads_a_large_event_and_other_streams_go_on(stage: Stage) -> None:
    source, transcript = Piped(), Slow()
    one = stage.carry(source, transcript=transcript)
    source.upstream.sendall(b"a")
    assert one.read(1) == b"a"
    source.upstream.sendall(b"L")
    assert until(lambda: transcript.readers)
    proves_alive(stage)
    transcript.go.set()
    assert one.read(1 + (3 << 20)) == b"L" + b"l" * (3 << 20)
    source.upstream.sendall(b"z!")
    assert one.read(2) == b"z!"
    assert one.over()
    assert transcript.readers == ["resuming"]


def test_a_large_event_is_copied_only_as_its_caller_reads_it(stage: Stage) -> None:
    source, transcript = Piped(), Slow()
    transcript.go.set()
    one = stage.carry(source, transcript=transcript, room=ROOM, chunked=True)
    (stream,) = stage.relay.streams
    source.upstream.sendall(b"L")
    assert until(lambda: stream._later)
    copied, seen = [len(stream._unsent)], b""
    source.upstream.sendall(b"z!")
    while not seen.endswith(b"0\r\n\r\n"):
        seen += one.caller.recv(65536)
        copied.append(len(stream._unsent))
    assert max(copied) <= BUFFER + SLICE + 16
    assert (seen.count(b"l"), seen.count(b"L"), seen.count(b"z!")) == (3 << 20, 1, 1)
    assert one.over()


def test_a_caller_who_leaves_within_a_large_event_ends_it(stage: Stage) -> None:
    source, transcript = Piped(), Slow()
    transcript.go.set()
    one = stage.carry(source, transcript=transcript, room=ROOM)
    (stream,) = stage.relay.streams
    source.upstream.sendall(b"L")
    assert until(lambda: stream._later)
    one.caller.close()
    assert not one.over()


def test_without_a_thread_a_large_event_ends_its_stream_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    submit = relay_module.submitted
    refused = stage.relay.resumers
    monkeypatch.setattr(
        relay_module, "submitted", lambda pool, work: None if pool is refused else submit(pool, work)
    )
    source = Piped()
    one = stage.carry(source, transcript=Slow())
    source.upstream.sendall(b"L")
    assert not one.over()
    assert "no thread can be started" in caplog.text
    proves_alive(stage)
