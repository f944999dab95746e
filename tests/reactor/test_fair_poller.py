"""Tests the fair poller: no descriptor starves, no time slice is long, no old event is delivered."""

from __future__ import annotations

import os
import select
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_gateway.reactor import fair_poller as turns_module
from flask_gateway.reactor.fair_poller import MAX_EVENTS, TIME_SLICE, FairPoller

IN, OUT = 1, 4


class Kernel:
    """Behaves like epoll: a reported descriptor goes behind the other ready ones."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}
        self.ready: list[int] = []

    def register(self, fd: int, events: int) -> None:
        if fd in self.known:
            raise FileExistsError
        self.known[fd] = events

    def modify(self, fd: int, events: int) -> None:
        if fd not in self.known:
            raise FileNotFoundError
        self.known[fd] = events

    def unregister(self, fd: int) -> None:
        del self.known[fd]

    def fileno(self) -> int:
        return -1

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        assert timeout == 0
        told, rest = self.ready[:maxevents], self.ready[maxevents:]
        self.ready = rest + told
        return [(fd, self.known[fd]) for fd in told]


class Hand:
    """A clock that tests set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def nothing(events: int) -> None:
    pass


#: How many others want something all the time, how long each takes, and when how many more want something.
_CROWDS = st.tuples(
    st.integers(1, 40),
    st.sampled_from([0.0, 0.0001, 0.001, TIME_SLICE / 3, TIME_SLICE, 0.02]),
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8), st.booleans()), max_size=8),
)


@settings(max_examples=200, deadline=None)
@given(_CROWDS, st.integers(1, 12))
def test_a_ready_descriptor_waits_for_at_most_two_rounds(
    crowd: tuple[int, float, list[tuple[int, int, bool]]], most: int
) -> None:
    """A time slice also ends with the descriptor that is being served when the time is over."""
    greedy, takes, later = crowd
    kernel, clock = Kernel(), Hand()
    poller = FairPoller(kernel, clock)
    waits: dict[int, Counter[int]] = {}

    def serve(fd: int, stays: bool, events: int) -> None:
        clock.now += takes
        waits.pop(fd)
        for seen in waits.values():
            seen[fd] += 1
            assert seen[fd] <= 2
        if stays:
            waits[fd] = Counter()
        else:
            kernel.ready.remove(fd)

    def comes(fd: int, stays: bool) -> None:
        poller.wait_for(fd, IN, partial(serve, fd, stays))
        kernel.ready.append(fd)
        waits[fd] = Counter()

    for fd in range(greedy):
        comes(fd, True)
    number = greedy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns_module, "MAX_EVENTS", most)
        for turn in range(60):
            for when, how_many, stays in later:
                if when == turn:
                    for _ in range(how_many):
                        number += 1
                        comes(number, stays)
            began, before = clock.now, len(waits)
            poller.poll(0)
            poller.dispatch()
            assert clock.now - began <= TIME_SLICE + takes
            assert len(waits) <= before
    assert len(kernel.ready) == len(waits)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll on this platform")
def test_epoll_reports_more_than_max_events_in_round_robin_order() -> None:
    """Of far more than fit into one answer, each has as many poller as the others, though only three fit
    into a spell."""
    clock, served = Hand(), Counter[int]()
    with ExitStack() as stack:
        epoll = stack.enter_context(select.epoll())
        poller = FairPoller(epoll, clock)
        fds = [os.eventfd(1) for _ in range(2 * MAX_EVENTS + 100)]

        def serve(fd: int, events: int) -> None:
            clock.now += TIME_SLICE / 2.5
            served[fd] += 1

        for fd in fds:
            stack.callback(os.close, fd)
            poller.wait_for(fd, select.EPOLLIN, partial(serve, fd))
        for _ in range(len(fds)):
            poller.poll(0)
            poller.dispatch()
        assert set(served) == set(fds)
        assert max(served.values()) - min(served.values()) <= 1


Stage = tuple[Kernel, Hand, FairPoller, list[tuple[str, int]]]


@pytest.fixture
def stage() -> Stage:
    kernel, clock = Kernel(), Hand()
    return kernel, clock, FairPoller(kernel, clock), []


def two_are_told_of(stage: Stage, then: Callable[[], None]) -> None:
    """One poll reports two descriptors. While the first uses up the time slice, run the action."""
    kernel, clock, poller, seen = stage

    def first(events: int) -> None:
        clock.now += 1
        seen.append(("first", events))
        then()

    poller.wait_for(1, IN, first)
    poller.wait_for(2, IN, lambda events: seen.append(("second", events)))
    kernel.ready = [1, 2]
    poller.poll(0)
    poller.dispatch()
    kernel.ready = []


def test_a_ready_descriptor_is_served_in_the_next_time_slice(stage: Stage) -> None:
    two_are_told_of(stage, lambda: None)
    assert stage[3] == [("first", IN)]
    stage[2].poll(0)
    stage[2].dispatch()
    assert stage[3] == [("first", IN), ("second", IN)]


def test_a_forgotten_descriptor_is_not_served_and_neither_is_one_with_its_number(stage: Stage) -> None:
    _, _, poller, seen = stage

    def another() -> None:
        poller.forget(2)
        poller.wait_for(2, OUT, lambda events: seen.append(("another", events)))

    two_are_told_of(stage, another)
    poller.poll(0)
    poller.dispatch()
    assert seen == [("first", IN)]
    assert len(poller) == 2


def test_a_descriptor_with_new_events_does_not_get_its_old_events(stage: Stage) -> None:
    kernel, _, poller, seen = stage
    two_are_told_of(stage, lambda: poller.wait_for(2, OUT, lambda events: seen.append(("other", events))))
    poller.poll(0)
    poller.dispatch()
    assert seen == [("first", IN)]
    kernel.ready = [2]
    poller.poll(0)
    poller.dispatch()
    assert seen == [("first", IN), ("other", OUT)]


def test_a_descriptor_closed_without_forget_does_not_disturb_others(stage: Stage) -> None:
    """The descriptor stays in the epoll set as long as a duplicate of it is open."""
    kernel, _, poller, seen = stage
    poller.wait_for(1, IN, lambda events: seen.append(("gone", events)))
    kernel.known[2] = kernel.known.pop(1)
    poller.wait_for(3, IN, lambda events: seen.append(("well", events)))
    kernel.ready = [2, 3]
    poller.poll(0)
    poller.dispatch()
    assert seen == [("well", IN)]


def test_forgetting_an_unknown_descriptor_does_nothing() -> None:
    kernel = Kernel()
    poller = FairPoller(kernel)
    poller.forget(7)
    poller.wait_for(7, IN, nothing)
    poller.forget(7)
    poller.forget(7)
    assert kernel.known == {}
    poller.poll(0)
    poller.dispatch()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, peer = socket.socketpair()
    with ours, peer:
        yield ours, peer


def test_an_armed_descriptor_is_reported_once(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, peer = ends
    seen: list[int] = []
    with closing(select.epoll()) as epoll:
        poller = FairPoller(epoll)
        poller.armed = seen.append

        def turn() -> list[int]:
            seen.clear()
            poller.poll(0)
            poller.dispatch()
            return [*seen]

        poller.arm(ours.fileno())
        assert turn() == []
        peer.sendall(b"x")
        assert turn() == [ours.fileno()]
        assert turn() == []
        poller.arm(ours.fileno())
        assert turn() == [ours.fileno()]
        assert len(poller) == 0
        peer.close()
        poller.arm(ours.fileno())
        assert turn() == [ours.fileno()]


def test_a_descriptor_that_was_armed_can_be_registered_and_armed_again(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, _ = ends
    registered: list[int] = []
    armed: list[int] = []
    with closing(select.epoll()) as epoll:
        poller = FairPoller(epoll)
        poller.armed = armed.append
        poller.arm(ours.fileno())
        poller.wait_for(ours.fileno(), select.EPOLLOUT, registered.append)
        poller.poll(0)
        poller.dispatch()
        assert (registered, armed) == ([select.EPOLLOUT], [])
        poller.forget(ours.fileno())
        poller.arm(ours.fileno())
        poller.poll(0)
        poller.dispatch()
        assert (len(registered), armed) == (1, [])


def test_an_old_event_of_an_armed_descriptor_is_not_delivered_to_its_successor() -> None:
    kernel, got = Kernel(), []
    poller = FairPoller(kernel)
    poller.arm(7)
    kernel.ready = [7]
    poller.poll(0)
    kernel.unregister(7)  # closed, and another socket has its number
    poller.wait_for(7, OUT, got.append)
    poller.dispatch()
    assert got == []
