"""Tests callers of the relay that leave, read slowly, or read nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from kit.relays import BUFFER, LOTS, ROOM, Piped, Stage, flood, proves_alive, reset, stands_still
from kit.waiting import until

from flask_gateway.model.errors import Verdict
from flask_gateway.streaming import relay as relay_module


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
