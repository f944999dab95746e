"""Tests the relay: bytes are forwarded as they arrive, upstreams that break off, pings in a long silence."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from contextlib import suppress

import pytest
from kit.relays import LOTS, ROOM, SOON, Carried, Piped, Stage, flood, reset, stands_still
from kit.replies import PlainTranscript
from kit.waiting import until

from flask_gateway.dialects.openai import PING_EVENT
from flask_gateway.model.errors import GatewayError, Verdict
from flask_gateway.model.reply import Reply
from flask_gateway.streaming import relay as relay_module

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
    assert len(os.listdir("/proc/self/fd")) <= before  # others may have been closed meanwhile
    assert len(stage.relay.poller) == 1  # the reactor's own: of those who may hang up


class Wordless(PlainTranscript):
    """A transcript that has neither a ping nor a word for an error, as sound has none."""

    ping = b""

    def cut(self, error: GatewayError) -> bytes:
        return b""


def test_a_cut_of_sound_ends_the_connection_without_the_last_chunk(stage: Stage) -> None:
    source = Piped()
    one = stage.carry(source, transcript=Wordless(), chunked=True)
    source.upstream.sendall(b"a")
    assert one.read(6) == b"1\r\na\r\n"
    source.upstream.sendall(b"X")
    assert not one.over()
    assert one.rest() == b""


def test_silent_sound_gets_no_pings_and_goes_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "PING", 0.05)
    source = Piped()
    one = stage.carry(source, transcript=Wordless(), chunked=True)
    source.upstream.sendall(b"a")
    assert one.read(6) == b"1\r\na\r\n"
    time.sleep(0.3)
    source.upstream.sendall(b"b!")
    assert one.over()
    assert one.rest() == b"2\r\nb!\r\n0\r\n\r\n"
