"""Compares the two drivers of a reply, a serving thread and the relay: the caller gets the same bytes.

Everything is real except the upstream's socket, which returns its bytes in scripted pieces.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.calls import ROLE, chunk, make_call
from kit.drivers import NOTHING, Relayed, Script, iterated, reply_over
from kit.examples import examples
from kit.framing import pieces, sent
from kit.waiting import until

from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import GatewayError
from flask_gateway.model.reply import Reply
from flask_gateway.streaming.resume import resumable
from flask_gateway.streaming.splice import PartialAnswer
from flask_gateway.upstreams.transport.response import PIECE

"""A step at which the socket has no data."""


class Seen(NamedTuple):
    """Everything that callers and observers learn about a reply."""

    body: bytes
    outcome: Outcome
    fate: str


def comparable(seen: Seen) -> tuple[Any, ...]:
    error = seen.outcome.error
    return (
        seen.body,
        seen.outcome.verdict,
        seen.outcome.usage,
        error and (error.code, error.message),
        seen.fate,
    )


@pytest.fixture(scope="module")
def relayed() -> Iterator[Relayed]:
    relayed = Relayed()
    yield relayed
    relayed.close()


def see(drive: Any, fields: list[str], script: Script) -> Seen | str:
    """The result of a reply; the error's code if the reply never begins."""
    reply, wire = reply_over(fields, script)
    told: list[Outcome] = []
    reply.on_close(told.append)
    try:
        reply.prime()
    except GatewayError as error:
        assert len(told) == 1
        return error.code
    body = drive(reply)
    (outcome,) = told
    return Seen(body, outcome, wire.fate)


def event(data: Any, end: bytes = b"\n\n") -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else msgspec.json.encode(data)) + end


USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
_EVENTS = st.one_of(
    st.text(max_size=8).map(lambda text: event(chunk(text))),
    st.sampled_from(
        [
            event(ROLE),
            event(chunk("a", finish="stop")),
            event(chunk(finish="stop")),
            event(chunk("b"), b"\r\n\r\n"),
            event(chunk("c"), b"\r\r"),
            event(USAGE),
            event(b"[DONE]"),
            event(b'{"id": tru'),
            event({"error": {"message": "oom", "code": "oom"}}),
            b": a comment\n\n",
            b"\n",
            b"data",
            b"event: x\n",
            b"",
        ]
    ),
)
#: Most end well.
_ENDS = st.sampled_from([event(chunk(finish="stop")) + event(b"[DONE]")] * 3 + [event(b"[DONE]"), b""])
_STREAMS = st.tuples(st.lists(_EVENTS, max_size=6).map(b"".join), _ENDS).map(b"".join)
_FAULTS = st.sampled_from([None] * 4 + ["cut", "reset", "surplus", "garbage"])


@st.composite
def scripts(draw: st.DrawFn) -> tuple[list[str], bytes, Script, Script]:
    """The framing, all bytes, the bytes behind them, and both in the pieces in which they arrive."""
    fields, raw = draw(sent(draw(_STREAMS)))
    fault = draw(_FAULTS)
    at = draw(st.integers(0, len(raw)))
    if fault in ("cut", "reset"):
        raw = raw[:at]
    elif fault == "surplus":
        raw += b"HTTP/1.1 200 OK\r\n"
    elif fault == "garbage":
        raw = raw[:at] + b"\xff\r\ngarbage" + raw[at:]
    behind: Script = [ConnectionResetError()] if fault == "reset" else []
    split: Script = []
    for piece in draw(pieces(raw)):
        split += [NOTHING] * draw(st.integers(0, 1)) + [piece]
    return fields, raw, behind, split + behind


@settings(max_examples=examples(70, 150), deadline=None)
@given(scripts())
def test_both_drivers_send_the_same_bytes_for_any_stream(
    relayed: Relayed, said: tuple[list[str], bytes, Script, Script]
) -> None:
    fields, raw, behind, split = said
    by_thread = see(iterated, fields, split)
    by_relay = see(relayed.drive, fields, split)
    whole = see(iterated, fields, [raw, *behind] if raw else behind)
    if isinstance(by_thread, str):
        assert by_relay == by_thread
        return
    assert isinstance(by_relay, Seen)
    assert comparable(by_relay) == comparable(by_thread)
    # Bytes that arrive together with a fault do not begin the reply: another upstream may be tried.
    if isinstance(whole, Seen):
        # Whether the connection can be kept depends on the bytes that have arrived by the end.
        assert comparable(whole)[:-1] == comparable(by_thread)[:-1]


@pytest.mark.parametrize("by", ["thread", "relay"])
@pytest.mark.parametrize("ends", ["well", "cut short", "reset", "left alone"])
def test_no_reply_waits_for_the_garbage_collector(relayed: Relayed, by: str, ends: str) -> None:
    """A collection stops all threads. A cycle would keep the whole call alive, its body included."""
    behind: Script = [ConnectionResetError()] if ends == "reset" else []
    tail = event(chunk(finish="stop")) + event(b"[DONE]") if ends == "well" else b""
    said = event(chunk("a")) + tail
    last = b"0\r\n\r\n" if ends == "well" else b""
    raw = b"%x\r\n%b\r\n" % (len(said), said) + last
    gc.collect()
    gc.disable()
    try:
        reply, _ = reply_over(["Transfer-Encoding: chunked"], [raw, *behind])
        reply.on_close(lambda outcome, known=reply: None)  # type: ignore[misc]
        source: Any = reply._source
        source._exchange.watch(relayed.reactor)
        parts = (reply, source, source._raw, source._raw._framing, source._exchange, reply.transcript)
        left = [weakref.ref(part) for part in parts]
        del source, parts
        reply.prime()
        if ends == "left alone":
            reply.close()
        else:
            assert (iterated if by == "thread" else relayed.drive)(reply)
        del reply
        assert until(lambda: not any(one() for one in left))
    finally:
        gc.enable()


def test_the_relay_reads_a_bounded_amount_at_a_time(relayed: Relayed) -> None:
    """All other streams wait while the relay parses what it has read."""
    reply, wire = reply_over([], [event(chunk("a")), event(chunk(finish="stop")), event(b"[DONE]")])
    asked: list[int] = []
    recv = wire.recv

    def noted(size: int) -> bytes:
        if threading.current_thread().name == "reactor":
            asked.append(size)
        return recv(size)

    reply.prime()
    wire.recv = noted  # type: ignore[method-assign]
    relayed.drive(reply)
    assert set(asked) == {PIECE}


# ---------------------------------------------------------------- resumed streams


REST = [event(chunk(word)) for word in ("lo", " wor", "ld")]
TAIL = b"".join(REST) + event(chunk(finish="stop")) + event(b"[DONE]")


@settings(max_examples=examples(70, 150), deadline=None)
@given(st.data(), st.integers(0, 3), st.booleans(), st.booleans())
def test_both_drivers_send_the_same_bytes_for_a_resumed_stream(
    relayed: Relayed, data: st.DataObject, words: int, resets: bool, breaks_again: bool
) -> None:
    """The first part breaks after some words. The second may be cut, too."""
    first = event(ROLE) + event(chunk("Hel")) + b"".join(REST[:words])
    second = event(ROLE) + (b"".join(REST[words:]) or event(chunk("!"))) + event(chunk(finish="stop"))
    second = (
        second[: data.draw(st.integers(len(second) // 2, len(second)))] if breaks_again else second + TAIL
    )
    split = [data.draw(pieces(part)) for part in (first, second)]
    call = make_call(stream=True)

    def ask(drive: Any) -> tuple[bytes, Any, list[str]]:
        reply, wire = reply_over([], [*split[0], *([ConnectionResetError()] if resets else [])])
        wires = [wire]

        def resume(beginning: PartialAnswer) -> Reply:
            other, wire = reply_over([], [NOTHING, *split[1]])
            wires.append(wire)
            return other.prime()

        told: list[Outcome] = []
        continued = resumable(reply.prime(), call, resume)
        continued.on_close(told.append)
        body = drive(continued)
        (outcome,) = told
        said = (outcome.verdict, outcome.usage, outcome.error and outcome.error.code)
        return body, said, [wire.fate for wire in wires]

    assert ask(relayed.drive) == ask(iterated)
