"""Tests the relay alone, with real sockets, a real reactor and scripted answers.

Whatever happens to one stream, it ends once and settles once, and no other stream is disturbed.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from kit.replies import PlainTranscript, ScriptedSource
from kit.waiting import until

from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import GatewayError, UpstreamCut, UpstreamTimeout, Verdict
from flask_gateway.model.reply import Reply, Run
from flask_gateway.reactor import Reactor
from flask_gateway.streaming import relay as relay_module
from flask_gateway.streaming.relay import PING_EVENT, Relay

SOON = 10.0
BUFFER, ROOM = 64 * 1024, 8192


def pair(room: int = 0) -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a TCP connection, or of one whose buffer holds about so many bytes."""
    if room:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    theirs.settimeout(SOON)
    return ours, theirs


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Piped:
    """A source of the bytes written to :attr:`upstream` (``model.reply.Source``); ``X`` breaks it off."""

    opened: ClassVar[list[Piped]] = []

    def __init__(self, patience: float = SOON) -> None:
        self.opened.append(self)
        self.sock, self.upstream = pair()
        self.sock.settimeout(SOON)
        self.patience = patience
        self.holds = False
        self.taken = self.released = self.closed = 0
        self.error: GatewayError | None = None

    @property
    def channel(self) -> Piped | None:
        return self

    def fileno(self) -> int:
        return self.sock.fileno()

    def unblock(self) -> None:
        self.sock.settimeout(0)

    def read(self) -> bytes:
        data = b"" if self.error else self.sock.recv(65536)
        if data.endswith(b"X"):
            self.error, self.holds = UpstreamCut("gone"), True
            data = data[:-1]
        if self.error is not None and not data:
            raise self.error
        self.taken += len(data)
        return data

    def receive(self) -> bytes | None:
        try:
            return self.read()
        except BlockingIOError:
            return None

    def expire(self) -> None:
        self.error = UpstreamTimeout("silent")
        self.sock.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        self.released += 1
        self.end()

    def close(self) -> None:
        self.closed += 1
        self.end()

    def end(self) -> None:
        self.sock.close()
        self.upstream.close()


class Carried:
    """One relayed stream: the caller's end of it, and its outcomes."""

    def __init__(
        self, relay: Relay, reply: Reply, *, chunked: bool = False, room: int = 0, head: bytes = b""
    ) -> None:
        self.reply = reply
        self.sock, self.caller = pair(room)
        self.told: list[Outcome] = []
        self.done: list[tuple[bool, int]] = []
        self.threads: set[str] = set()
        reply.on_close(self._closed)
        self._finish = lambda clean: self.done.append((clean, len(self.told)))
        relay.start(reply, self.sock, head, chunked=chunked, done=self._finish)

    def _closed(self, outcome: Outcome) -> None:
        self.threads.add(threading.current_thread().name.rpartition("_")[0])
        self.told.append(outcome)

    def read(self, size: int) -> bytes:
        """Read so many bytes."""
        data = b""
        while len(data) < size and (more := self.caller.recv(size - len(data))):
            data += more
        return data

    def over(self) -> bool:
        """Wait for its end and return whether it was clean. It must be reported once, after the settling."""
        assert until(lambda: self.done), "it did not end"
        (done,) = self.done
        assert done[1] == len(self.told) == 1
        assert self.threads == {"settling"}
        return done[0]

    def rest(self) -> bytes:
        """Return all remaining bytes for the caller, after the stream's end."""
        self.over()
        self.sock.close()
        data = b""
        while more := self.caller.recv(65536):
            data += more
        return data

    def close(self) -> None:
        self.sock.close()
        self.caller.close()


class Stage:
    """A relay, and all its streams."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.relay = Relay(self.reactor, buffer=BUFFER, send_timeout=SOON)
        self.carried: list[Carried] = []

    def carry(self, source: Any, *, transcript: Any = None, **options: Any) -> Carried:
        reply = Reply(source, transcript or PlainTranscript(), "llama")
        self.carried.append(Carried(self.relay, reply, **options))
        return self.carried[-1]

    def close(self) -> None:
        try:
            assert until(lambda: len(self.relay) == 0), "a stream is left over"
        finally:
            self.relay.close()
            self.reactor.close()
            for one in self.carried:
                one.close()
            while Piped.opened:
                Piped.opened.pop().end()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def proves_alive(stage: Stage) -> None:
    """Assert that another stream works."""
    source = Piped()
    other = stage.carry(source)
    source.upstream.sendall(b"well!")
    assert other.over()
    assert other.rest() == b"well!"


# ---------------------------------------------------------------- callers


@pytest.mark.parametrize("how", [reset, socket.socket.close])
def test_a_caller_who_leaves_ends_the_answer(stage: Stage, how: Callable[[socket.socket], None]) -> None:
    source = Piped()
    one = stage.carry(source)
    source.upstream.sendall(b"a")
    assert one.read(1) == b"a"
    how(one.caller)
    while not one.done:
        try:
            source.upstream.sendall(b"b")
        except OSError:
            break
        time.sleep(0.001)
    assert one.over() is False
    assert [outcome.verdict for outcome in one.told] == [Verdict.IGNORED]
    assert (source.closed, source.released) == (1, 0)
    proves_alive(stage)


def flood(source: Piped, amount: int) -> bytes:
    """Let a thread of the upstream send more than the caller reads. Return all the data."""
    data = bytes(range(97, 123)) * (amount // 26)

    def send() -> None:
        try:
            source.upstream.sendall(data + b"!")
        except OSError:
            return

    threading.Thread(target=send, daemon=True).start()
    return data + b"!"


#: More than the kernel buffers of a connection.
LOTS = 32 * 1024 * 1024


def stands_still(source: Piped) -> bool:
    """Return whether the relay has stopped reading the upstream."""

    def still() -> bool:
        before = source.taken
        time.sleep(0.05)
        return source.taken == before > 0

    return until(still)


@pytest.mark.parametrize("how", [reset, socket.socket.close])
def test_a_caller_who_leaves_while_it_is_too_slow(stage: Stage, how: Callable[[socket.socket], None]) -> None:
    source = Piped()
    one = stage.carry(source)
    flood(source, LOTS)
    assert stands_still(source)
    how(one.caller)
    assert one.over() is False
    assert one.told[0].verdict is Verdict.IGNORED
    assert source.closed == 1


def test_a_slow_caller_fills_only_its_buffer_and_loses_nothing(stage: Stage) -> None:
    source = Piped()
    one = stage.carry(source, room=ROOM)
    said = flood(source, 2 * 1024 * 1024)
    assert stands_still(source)
    (stream,) = stage.relay.streams
    assert BUFFER < len(stream._unsent) <= BUFFER + 65536
    proves_alive(stage)
    assert one.read(len(said)) == said
    assert one.over()
    assert source.taken == len(said)


def test_a_slow_caller_costs_nothing_while_it_reads_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "PING", 0.02)
    source = Piped()
    one = stage.carry(source, room=ROOM)
    flood(source, 1024 * 1024)
    assert stands_still(source)
    rings, at = [0], stage.reactor.at

    def counted(when: float, ring: Callable[[], None]) -> Any:
        rings[0] += 1
        return at(when, ring)

    monkeypatch.setattr(stage.reactor, "at", counted)
    time.sleep(0.3)
    assert rings[0] <= 1
    assert not one.done
    one.caller.close()
    assert one.over() is False


def test_a_caller_who_reads_nothing_is_dropped_in_time(stage: Stage) -> None:
    stage.relay.send_timeout = 0.1
    source = Piped()
    began = time.monotonic()
    one = stage.carry(source, room=ROOM)
    flood(source, LOTS)
    assert one.over() is False
    assert 0.1 <= time.monotonic() - began < 2
    assert one.told[0].verdict is Verdict.IGNORED
    assert source.closed == 1


def test_a_caller_who_reads_a_little_is_kept(stage: Stage) -> None:
    stage.relay.send_timeout = 0.5
    source = Piped()
    one = stage.carry(source, room=ROOM)
    said = flood(source, 512 * 1024)
    got, began = b"", time.monotonic()
    while time.monotonic() - began < 1.0:
        got += one.caller.recv(8192)
        time.sleep(0.05)
    assert not one.done
    assert got + one.read(len(said) - len(got)) == said
    assert one.over()


def test_a_finished_answer_waits_for_its_slow_caller(stage: Stage) -> None:
    source = Piped()
    one = stage.carry(source, room=ROOM, chunked=True)
    source.upstream.sendall(b"x" * 40_000 + b"!")
    assert until(lambda: one.told)
    assert source.released == 1
    assert not one.done
    end = b"x!\r\n0\r\n\r\n"
    assert one.read(6 + 40_001 + 7).endswith(end)
    assert one.over()


# ---------------------------------------------------------------- upstreams


def test_an_upstream_that_breaks_off_ends_in_an_error_event(stage: Stage) -> None:
    source = Piped()
    one = stage.carry(source, chunked=True)
    source.upstream.sendall(b"a")
    assert one.read(6) == b"1\r\na\r\n"
    source.upstream.sendall(b"X")
    assert one.over()
    assert one.rest() == b"15\r\n<upstream_stream_cut>\r\n0\r\n\r\n"
    assert one.told[0].verdict is Verdict.FAILURE
    assert (source.closed, source.released) == (1, 0)


def test_a_silent_upstream_ends_in_an_error_event(stage: Stage) -> None:
    source = Piped(patience=0.1)
    one = stage.carry(source)
    source.upstream.sendall(b"a")
    assert one.over()
    assert one.rest() == b"a<upstream_timeout>"


def test_a_late_loop_does_not_time_out_the_upstream(stage: Stage) -> None:
    """A delay of the loop on a busy machine does not count as the upstream's silence."""
    source = Piped(patience=0.2)
    one = stage.carry(source)
    source.upstream.sendall(b"a")
    assert one.read(1) == b"a"
    began, other = threading.Event(), Piped()

    class Dawdling(PlainTranscript):
        def feed(self, data: bytes) -> bytes:
            if b"!" in data:
                began.set()
                time.sleep(0.4)
            return super().feed(data)

    another = stage.carry(other, transcript=Dawdling())
    other.upstream.sendall(b"x")
    assert another.read(1) == b"x"  # the relay polls it now, so the next bytes take the usual path
    other.upstream.sendall(b"y!")
    assert began.wait(SOON)
    source.upstream.sendall(b"b!")
    assert one.over()
    assert one.rest() == b"b!"


def test_an_upstream_that_sends_anything_is_not_silent(stage: Stage) -> None:
    source = Piped(patience=0.25)
    one = stage.carry(source)
    for _ in range(8):
        source.upstream.sendall(b"-")  # not forwarded to the caller
        time.sleep(0.05)
    source.upstream.sendall(b"a!")
    assert one.over()
    assert one.rest() == b"a!"


def test_silence_counts_only_while_the_upstream_is_read(stage: Stage) -> None:
    source = Piped(patience=0.2)
    one = stage.carry(source, room=ROOM)
    amount = 4 * 1024 * 1024
    threading.Thread(target=lambda: source.upstream.sendall(b"x" * amount), daemon=True).start()
    assert stands_still(source)
    time.sleep(0.3)
    assert not one.done
    assert len(one.read(amount)) == amount
    began = time.monotonic()
    assert one.over()
    assert time.monotonic() - began < 2
    assert one.rest() == b"<upstream_timeout>"


def test_a_cut_connection_is_noticed_while_reading_is_paused(stage: Stage) -> None:
    source = Piped()
    one = stage.carry(source, room=ROOM)
    flood(source, LOTS)
    assert stands_still(source)
    source.expire()
    assert until(lambda: one.told)
    assert one.told[0].verdict is Verdict.FAILURE
    one.caller.close()
    one_over = until(lambda: one.done)
    assert one_over


# ---------------------------------------------------------------- silence


def test_pings_are_sent_in_a_long_silence(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "PING", 0.05)
    source = Piped()
    one = stage.carry(source, chunked=True)
    source.upstream.sendall(b"a")
    ping = b"8\r\n" + PING_EVENT + b"\r\n"
    expected = b"1\r\na\r\n" + 2 * ping
    assert one.read(len(expected)) == expected
    source.upstream.sendall(b"b!")
    assert one.over()
    assert one.rest().removeprefix(ping).removeprefix(ping) == b"2\r\nb!\r\n0\r\n\r\n"


def test_a_caller_that_receives_data_gets_no_pings(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "PING", 0.3)
    source = Piped()
    one = stage.carry(source)
    for _ in range(10):
        source.upstream.sendall(b"a")
        time.sleep(0.05)
    source.upstream.sendall(b"!")
    assert one.over()
    assert one.rest() == b"a" * 10 + b"!"


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


# ---------------------------------------------------------------- well


@pytest.mark.parametrize("chunked", [True, False])
def test_bytes_are_forwarded_as_they_arrive(stage: Stage, chunked: bool) -> None:
    source = Piped()
    one = stage.carry(source, chunked=chunked)
    for word in (b"one", b"two"):
        source.upstream.sendall(word)
        expected = b"3\r\n%b\r\n" % word if chunked else word
        assert one.read(len(expected)) == expected
    source.upstream.sendall(b"--!")
    assert one.over()
    assert one.rest() == (b"1\r\n!\r\n0\r\n\r\n" if chunked else b"!")
    assert one.told[0].verdict is Verdict.SUCCESS
    assert (source.closed, source.released) == (0, 1)


@pytest.mark.parametrize("chunked", [True, False])
def test_the_head_is_sent_with_the_first_part_or_alone(stage: Stage, chunked: bool) -> None:
    source = Piped()
    one = stage.carry(source, chunked=chunked, head=b"HEAD")
    source.upstream.sendall(b"a!")
    assert one.over()
    assert one.rest() == b"HEAD" + (b"2\r\na!\r\n0\r\n\r\n" if chunked else b"a!")
    transcript = PlainTranscript()
    transcript.end = lambda: b""  # type: ignore[method-assign]
    one = stage.carry(source := Piped(), chunked=chunked, head=b"HEAD", transcript=transcript)
    source.upstream.close()
    assert one.over()
    assert one.rest() == b"HEAD" + (b"0\r\n\r\n" if chunked else b"")


def test_the_stream_ends_when_its_upstream_ends(stage: Stage) -> None:
    source = Piped()
    one = stage.carry(source)
    source.upstream.sendall(b"a")
    source.upstream.shutdown(socket.SHUT_WR)
    assert one.over()
    assert one.rest() == b"a."


def test_bytes_from_before_the_commit_are_sent_first(stage: Stage) -> None:
    source = Piped()
    source.upstream.sendall(b"first")
    reply = Reply(source, PlainTranscript(), "llama").prime()
    one = Carried(stage.relay, reply)
    stage.carried.append(one)
    assert one.read(5) == b"first"
    source.upstream.sendall(b"!")
    assert one.over()


def test_many_streams_at_once_leave_nothing_behind() -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    stage, count = Stage(), 120
    sources = [Piped() for _ in range(count)]
    ones = [stage.carry(source, chunked=bool(index % 2)) for index, source in enumerate(sources)]
    assert len(stage.relay) == count
    for turn in range(5):
        for number, source in enumerate(sources):
            source.upstream.sendall(b"%d,%d;" % (number, turn))
    for number, source in enumerate(sources):
        if number % 3:
            source.upstream.sendall(b"X" if number % 3 == 1 else b"!")
            continue
        reset(ones[number].caller)
        with suppress(OSError):  # that its caller has left may have been noticed by what was said before
            source.upstream.sendall(b"!")
    for number, one in enumerate(ones):
        one.over()
        if number % 3:
            text = one.rest()
            assert all(b"%d,%d;" % (number, turn) in text for turn in range(5))
            assert (b"cut>" in text) == (number % 3 == 1)
    stage.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(stage.relay.poller) == 1  # the reactor's own: of those who may hang up
