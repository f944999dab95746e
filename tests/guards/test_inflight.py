"""Tests the calls in flight of a process: limits, shares, and cancelling all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.guards.inflight import (
    AwaitsTurn,
    InFlightCalls,
    InFlightPermit,
    NoThreadToWait,
    UpstreamThreadQuota,
)
from flask_gateway.model.call import Call, Caller, Outcome
from flask_gateway.model.errors import Overloaded, ServerShutdown, UpstreamFull, Verdict

DONE = Outcome(Verdict.SUCCESS)


_threads: list[ThreadPoolExecutor] = []


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The threads live as long as the test. Otherwise the next one could reuse the id of one with a call."""
    yield
    while _threads:
        _threads.pop().shutdown()


def elsewhere(work: Callable[[], object]) -> object:
    """Run it on a separate thread, as another call would. Return its result or raise its exception."""
    _threads.append(ThreadPoolExecutor(1))
    done = _threads[-1].submit(work)
    return done.exception() or done.result()


def admit(underway: InFlightCalls, name: str = "a", **more: object) -> tuple[Call, object]:
    call = make_call(caller=Caller(id=name, rate_limit=0), **more)  # type: ignore[arg-type]
    return call, elsewhere(lambda: underway.admit(call))


def test_a_call_without_a_free_thread_is_refused_with_retry_after() -> None:
    shed: list[str] = []
    underway = InFlightCalls(10, shed=shed.append)
    underway.limit_threads(2)
    first = admit(underway)[1]
    admit(underway)
    _, refused = admit(underway)
    assert isinstance(refused, Overloaded)
    assert (refused.status, refused.code, refused.retry_after) == (503, "overloaded", 1.0)
    assert shed == ["threads"]
    assert isinstance(first, InFlightPermit)
    first.settle(DONE)
    first.settle(DONE)
    assert underway.threads == 1
    assert isinstance(admit(underway)[1], InFlightPermit)


def test_a_thread_that_waits_for_a_body_counts_for_its_caller() -> None:
    shed: list[str] = []
    underway = InFlightCalls(10, callers=2, shed=shed.append)
    underway.limit_threads(4)

    def wait() -> None:
        underway.wait_for_body("a")
        underway.wait_for_body("a")  # the same body

    assert [elsewhere(wait) for _ in range(3)] == [None] * 3
    assert isinstance(elsewhere(wait), NoThreadToWait)
    assert isinstance(admit(underway, "a")[1], Overloaded)
    assert underway.thread_usage().held == 3
    assert isinstance(admit(underway, "b")[1], InFlightPermit)
    assert isinstance(admit(underway, "b")[1], Overloaded)
    assert shed == ["share", "share", "threads"]


def test_a_call_takes_the_place_of_its_body_and_a_failed_body_leaves_none() -> None:
    underway = InFlightCalls(10, callers=2)
    underway.limit_threads(4)
    underway.wait_for_body("a")
    permit = underway.admit(make_call(caller=Caller(id="a", rate_limit=0)))
    assert underway.thread_usage().held == 1
    permit.settle(DONE)
    underway.wait_for_body("a")
    underway.release_thread()
    assert underway.thread_usage().held == 0
    assert not underway._by_caller


def test_a_relayed_stream_holds_no_thread_but_counts_as_a_stream() -> None:
    underway = InFlightCalls(2)
    underway.limit_threads(1)
    call = make_call(stream=True)

    def begin() -> InFlightPermit:
        permit = underway.admit(call)
        underway.release_thread()
        return permit

    permit = elsewhere(begin)
    assert (underway.threads, underway.streams, underway.thread_usage().starting) == (0, 1, 0)
    _, second = admit(underway, stream=True)
    assert isinstance(second, InFlightPermit)
    assert isinstance(permit, InFlightPermit)
    permit.settle(DONE)
    second.settle(DONE)
    assert (underway.threads, underway.streams) == (0, 0)


def test_time_without_calls_does_not_slow_the_pace() -> None:
    underway = InFlightCalls(10)
    for _ in range(2):
        call = msgspec.structs.replace(make_call(), started=time.monotonic())
        underway._moved = 0.0  # the last call ended long ago
        elsewhere(lambda call=call: underway.admit(call).settle(DONE))  # type: ignore[misc]
    assert underway.thread_usage().pace < 0.05


def test_streams_above_the_limit_are_refused_and_other_calls_are_not() -> None:
    shed: list[str] = []
    underway = InFlightCalls(1, shed=shed.append)
    admit(underway, stream=True)
    assert isinstance(admit(underway, stream=True)[1], Overloaded)
    assert isinstance(admit(underway)[1], InFlightPermit)
    assert shed == ["streams"]


def test_one_of_several_keys_cannot_take_all_threads() -> None:
    shed: list[str] = []
    underway = InFlightCalls(10, callers=2, shed=shed.append)
    underway.limit_threads(4)
    given = [admit(underway, "greedy")[1] for _ in range(4)]
    assert [isinstance(one, InFlightPermit) for one in given] == [True, True, True, False]
    assert isinstance(admit(underway, "other")[1], InFlightPermit)
    assert shed == ["share"]


def test_a_stream_that_may_wait_awaits_its_turn_and_is_not_counted() -> None:
    shed: list[str] = []
    underway, freed = InFlightCalls(10, callers=2, shed=shed.append), []
    underway.limit_threads(4)
    underway.freed = freed.append
    first = admit(underway, "a", stream=True)[1]
    for _ in range(2):
        admit(underway, "a")
    stream = msgspec.structs.replace(make_call(stream=True, caller=Caller("a", 0)), may_wait=True)
    assert not underway.has_share("a")
    assert underway.has_share("b")
    with pytest.raises(AwaitsTurn) as turn:
        underway.admit(stream)
    assert turn.value.caller == "a"
    for other in (
        msgspec.structs.replace(stream, whole=True),
        msgspec.structs.replace(stream, may_wait=False),
    ):
        with pytest.raises(Overloaded):
            underway.admit(other)
    assert (shed, freed, underway.threads) == (["share", "share"], [], 3)
    assert isinstance(first, InFlightPermit)
    first.settle(DONE)
    assert freed == ["a"]
    assert isinstance(elsewhere(lambda: underway.admit(stream)), InFlightPermit)


def test_a_single_key_may_take_all_threads() -> None:
    underway = InFlightCalls(10, callers=1)
    underway.limit_threads(4)
    assert all(isinstance(admit(underway)[1], InFlightPermit) for _ in range(4))


def test_one_of_several_upstreams_cannot_take_all_threads() -> None:
    underway = InFlightCalls(10, upstreams=2)
    underway.limit_threads(4)
    slow = UpstreamThreadQuota("slow", underway)
    calls = [admit(underway)[0] for _ in range(4)]
    permits = [slow.admit(call) for call in calls[:3]]
    with pytest.raises(UpstreamFull) as caught:
        slow.admit(calls[3])
    assert caught.value.retry_elsewhere
    UpstreamThreadQuota("quick", underway).admit(calls[3])
    permits[0].settle(DONE)
    permits[0].settle(DONE)
    slow.admit(calls[0])
    with pytest.raises(UpstreamFull):
        slow.admit(calls[3])


def test_an_upstreams_count_ends_with_the_thread_held_for_it() -> None:
    underway = InFlightCalls(10, upstreams=2)
    underway.limit_threads(1)
    share = UpstreamThreadQuota("one", underway)

    def carried() -> tuple[InFlightPermit, InFlightPermit]:
        call = make_call(stream=True)
        outer, inner = underway.admit(call), share.admit(call)
        underway.release_thread()
        return inner, outer

    permits = [elsewhere(carried) for _ in range(3)]
    for pair in permits:
        assert isinstance(pair, tuple), pair
        for permit in pair:
            permit.settle(DONE)
    assert isinstance(elsewhere(carried), tuple)
    assert underway.threads == 0


def test_all_calls_in_flight_can_be_cancelled() -> None:
    underway = InFlightCalls(10)
    calls = [admit(underway, stream=bool(number % 2))[0] for number in range(4)]
    over, permit = admit(underway)
    assert isinstance(permit, InFlightPermit)
    permit.settle(DONE)
    assert underway.end(lambda: ServerShutdown("bye")) == 4
    assert all(isinstance(call.cancellation.error, ServerShutdown) for call in calls)
    assert over.cancellation.error is None


def test_nothing_is_left_after_many_calls_on_many_threads() -> None:
    underway = InFlightCalls(1000, callers=3, upstreams=3)
    underway.limit_threads(1000)
    share = UpstreamThreadQuota("one", underway)

    def work(number: int) -> None:
        for turn in range(50):
            call = make_call(stream=bool(turn % 2), caller=Caller(id=f"k{number % 3}", rate_limit=0))
            outer = underway.admit(call)
            inner = share.admit(call)
            if turn % 3:
                underway.release_thread()
            inner.settle(DONE)
            outer.settle(DONE)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (underway.threads, underway.streams, underway.thread_usage().starting) == (0, 0, 0)
    assert not underway._by_caller
    assert not underway._by_upstream
    assert not underway._calls


def test_a_late_settlement_does_not_uncount_the_next_upstream() -> None:
    """A stream that broke is resumed at b. Another thread settles a's part only afterwards."""
    underway = InFlightCalls(10)
    call, _ = admit(underway, stream=True)
    first = UpstreamThreadQuota("a", underway).admit(call)
    second = UpstreamThreadQuota("b", underway).admit(call)
    first.settle(DONE)
    assert [name for name, _ in underway.standing(0.0)] == ["b"]
    second.settle(DONE)
    assert [name for name, _ in underway.standing(0.0)] == [""]


def test_the_same_upstream_may_resume_its_own_answer() -> None:
    underway = InFlightCalls(10)
    call, _ = admit(underway, stream=True)
    first, second = (UpstreamThreadQuota("a", underway).admit(call) for _ in range(2))
    first.settle(DONE)
    assert [name for name, _ in underway.standing(0.0)] == ["a"]
    second.settle(DONE)
    assert [name for name, _ in underway.standing(0.0)] == [""]


def test_the_threads_of_an_upstream_are_counted_to_the_end_of_its_own_work() -> None:
    underway = InFlightCalls(10, upstreams=2)
    underway.limit_threads(4)
    permits = []
    for _ in range(3):
        call, held = admit(underway)
        permits += [
            UpstreamThreadQuota("a", underway).admit(call),
            UpstreamThreadQuota("b", underway).admit(call),
            held,
        ]
    call, _ = admit(underway)
    with pytest.raises(UpstreamFull):
        UpstreamThreadQuota("a", underway).admit(call)
    for permit in permits:
        assert isinstance(permit, InFlightPermit)
        permit.settle(DONE)
    UpstreamThreadQuota("a", underway).admit(call)
    UpstreamThreadQuota("b", underway).admit(call)
