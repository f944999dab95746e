"""Amounts for the next calls of a busy process: when they are taken, drawn on, and given back."""

from __future__ import annotations

import pytest

from flask_gateway.guards import allotments as module
from flask_gateway.guards.allotments import BUSY, CALLS, LASTS, ROOM, Allotments
from flask_gateway.reactor.while_any import WhileAny

PLENTY = 10**9


class Busy:
    """A process with a limit, whose clock stands still."""

    def __init__(self) -> None:
        self.now = 100.0
        self.given_back: list[tuple[str, int, int]] = []
        self.of: Allotments[str] = Allotments("test", self._give_back, lambda: self.now)

    def _give_back(self, key: str, place: int, amount: int) -> None:
        self.given_back.append((key, place, amount))

    def ask(self, times: int, amount: int = 1, left: int = PLENTY, key: str = "k") -> list[int]:
        """Reserve in the store, so often. Return what was wanted for later calls."""
        wanted = []
        for _ in range(times):
            wanted.append(self.of.wanted(key, amount))
            self.of.reserved(key, left)
        return wanted

    def take(self, free: int, place: int = 1, left: int = PLENTY, terms: int = 7) -> None:
        self.of.take("k", terms, "grant", place, free, left, self.now + LASTS)


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Busy:
    monkeypatch.setattr(WhileAny, "start", lambda self: None)
    return Busy()


def test_only_a_busy_process_wants_an_allotment(busy: Busy) -> None:
    assert busy.ask(BUSY) == [0] * (BUSY - 1) + [CALLS]
    busy.now += 2 * LASTS
    assert busy.ask(1) == [0]  # its pace has halved
    busy.now += 10 * LASTS
    assert busy.ask(1) == [0]


def test_a_busy_process_stays_busy_by_what_it_draws(busy: Busy) -> None:
    busy.ask(BUSY)
    busy.take(CALLS)
    for _ in range(BUSY):
        assert busy.of.draw("k", 7, 1)
    busy.now += LASTS
    assert busy.ask(1)[0] > 0


def test_where_little_is_left_there_is_none(busy: Busy) -> None:
    """So a limit is as exact at its edge as without allotments."""
    assert busy.ask(3 * BUSY, amount=10, left=10 * ROOM - 1) == [0] * 3 * BUSY
    assert busy.ask(2, amount=10, left=10 * ROOM) == [0, 10 * CALLS]
    assert busy.ask(1, amount=11) == [0]


def test_one_thread_at_a_time_takes_one(busy: Busy) -> None:
    busy.ask(BUSY)
    assert [busy.of.wanted("k", 1) for _ in range(3)] == [CALLS, 0, 0]


def test_calls_draw_until_it_is_used_up_or_has_ended(busy: Busy) -> None:
    busy.ask(1)
    busy.take(10)
    assert busy.of.draw("k", 7, 6) == ("grant", 4)
    assert busy.of.draw("k", 7, 5) is None
    assert busy.of.draw("k", 8, 1) is None  # the limits have been changed
    assert busy.of.draw("other", 7, 1) is None
    assert busy.of.draw("k", 7, 4) == ("grant", 0)
    assert busy.of.put_back("k", 1, 3)
    assert not busy.of.put_back("k", 2, 3)
    assert not busy.of.put_back("k", 1, -4)
    assert busy.of.put_back("k", 1, -3)
    assert busy.of.current("k") == "grant"
    busy.now += LASTS
    assert busy.of.draw("k", 7, 0) is None
    assert not busy.of.put_back("k", 1, 1)
    assert busy.of.current("k") is None


def test_the_rest_goes_back_once(busy: Busy) -> None:
    busy.ask(1)
    busy.take(10)
    assert busy.of.end_old()
    assert busy.given_back == []
    busy.now += LASTS
    assert not busy.of.end_old()
    assert not busy.of.end_old()
    assert busy.given_back == [("k", 1, 10)]


def test_a_process_that_exits_gives_everything_back(busy: Busy) -> None:
    busy.take(5, place=3)
    assert busy.of.draw("k", 7, 2)
    assert busy.of.end_old()  # others are left: this one
    assert busy.given_back == []
    busy.of.end_all()
    busy.of.end_all()
    assert busy.given_back == [("k", 3, 3)]
    assert busy.of.draw("k", 7, 1) is None


def test_the_rest_of_the_one_before_stays_in_it_or_goes_back(busy: Busy) -> None:
    busy.ask(1)
    busy.take(3)
    busy.take(5)
    assert busy.of.draw("k", 7, 8) == ("grant", 0)
    busy.take(4)
    busy.take(6, place=2)
    assert busy.given_back == [("k", 1, 4)]
    assert busy.of.draw("k", 7, 6) == ("grant", 0)


def test_one_that_others_have_left_little_behind_goes_back(busy: Busy) -> None:
    busy.ask(1)
    busy.take(CALLS, left=ROOM // 2 - 1)
    assert busy.of.draw("k", 7, 1) is None
    busy.of.end_old()
    assert busy.given_back == [("k", 1, CALLS)]


def test_few_subjects_are_remembered(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 8)
    busy.ask(1)
    busy.take(5)
    for number in range(50):
        busy.ask(1, key=f"k{number}")
    assert len(busy.of._paces) <= 8
    assert busy.of.draw("k", 7, 5)
