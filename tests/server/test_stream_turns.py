"""Tests the turns of streams that wait for a thread: their order, their patience, and that none is lost."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.guards.inflight import MAY_WAIT_SINCE, READ_BODY
from flask_gateway.server.stream_turns import (
    LONGEST_WAIT,
    MOST_WAITING,
    StreamTurns,
    WaitingStream,
    rewound,
)


class Worker:
    def __init__(self) -> None:
        self.resumed: list[Any] = []
        self.turns = StreamTurns(self.resumed.append)

    def add(self, caller: str, conn: Any, now: float, since: float | None = None) -> None:
        environ = {MAY_WAIT_SINCE: now if since is None else since}
        self.turns.add(WaitingStream(caller, conn, None, environ))

    @property
    def conns(self) -> list[Any]:
        return [stream.conn for stream in self.resumed]


def test_streams_of_a_caller_are_resumed_in_order_and_others_go_on_waiting() -> None:
    worker = Worker()
    for at, (caller, conn) in enumerate([("a", 1), ("b", 2), ("a", 3)]):
        worker.add(caller, conn, float(at))
    worker.turns.next("a")
    worker.turns.next("nobody")
    assert worker.conns == [1]
    worker.turns.next("a")
    worker.turns.next("a")
    assert worker.conns == [1, 3]
    assert len(worker.turns) == 1
    assert all(MAY_WAIT_SINCE in stream.environ for stream in worker.resumed)  # they may wait again


def test_a_stream_that_waits_again_comes_first() -> None:
    worker = Worker()
    worker.add("a", "new", 5.0)
    worker.add("a", "old", 5.1, since=1.0)
    worker.turns.next("a")
    assert worker.conns == ["old"]


def test_no_stream_waits_for_longer_than_the_longest_wait() -> None:
    worker = Worker()
    for number in range(5):
        worker.add("ab"[number % 2], number, float(number))
    worker.turns.give_up(LONGEST_WAIT)
    assert not worker.resumed
    worker.turns.give_up(LONGEST_WAIT + 1.5)
    assert worker.conns == [0, 1]
    assert not any(MAY_WAIT_SINCE in stream.environ for stream in worker.resumed)  # they may not wait again
    assert len(worker.turns) == 3


def test_all_are_resumed_when_the_worker_stops_and_the_number_is_bounded() -> None:
    worker = Worker()
    for number in range(MOST_WAITING):
        assert worker.turns.has_room
        worker.add(str(number % 3), number, 0.0)
    assert not worker.turns.has_room
    worker.turns.end()
    assert sorted(worker.conns) == list(range(MOST_WAITING))
    assert not worker.turns
    assert not any(MAY_WAIT_SINCE in stream.environ for stream in worker.resumed)


@given(st.lists(st.tuples(st.sampled_from("anx"), st.sampled_from("ab"), st.floats(0, 9)), max_size=60))
def test_each_stream_is_resumed_once(steps: list[tuple[str, str, float]]) -> None:
    worker, now, added = Worker(), 0.0, 0
    for step, caller, seconds in steps:
        now += seconds
        if step == "a":
            worker.add(caller, added, now)
            added += 1
        elif step == "n":
            worker.turns.next(caller)
        else:
            worker.turns.give_up(now)
        assert len(worker.turns) == added - len(worker.resumed)
    worker.turns.end()
    assert sorted(worker.conns) == list(range(added))


def test_a_request_is_rewound_to_before_its_body_was_read() -> None:
    environ = {
        READ_BODY: b"{}",
        "werkzeug.request": 1,
        "HTTP_X_REQUEST_START": "1.0",
        MAY_WAIT_SINCE: 2.5,
        "PATH": "/x",
    }
    stream = rewound("a", "conn", "resp", environ)
    assert stream.since == 2.5
    assert environ.pop("wsgi.input").read() == b"{}"
    assert environ == {MAY_WAIT_SINCE: 2.5, "PATH": "/x"}
