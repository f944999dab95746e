"""Tests a breaker with several callers in any sequence: the others are never refused for the calls of one."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kit.examples import examples
from kit.several_callers import BAD, GOOD, LEFT, begin
from kit.stores import HandClock

from flask_gateway.guards.breaker import Breaker, BreakerPermit
from flask_gateway.guards.breaker_state import Policy
from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import CircuitOpen
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.store import SECOND


def leader(callers: list[str]) -> tuple[str, int]:
    """Compute a Boyer-Moore vote from its definition."""
    name, lead = "", 0
    for caller in callers:
        if not lead:
            name, lead = caller, 1
        else:
            lead += 1 if caller == name else -1
    return name, lead


class SeveralCallers(RuleBasedStateMachine):
    """Calls of three callers begin and end in any order. The model keeps lists of callers."""

    policy = Policy(max_failures=4, reset=30 * SECOND, lease=12 * SECOND)

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.breaker = Breaker("m", MemoryStore(self.clock), self.policy)
        self.now, self.era = 0.0, 0
        self.phase, self.only, self.probed, self.until = "CLOSED", "", "", 0.0
        self.row: list[str] = []
        self.others, self.well = 0, False
        self.ended: list[tuple[str, bool]] = []
        self.began: float | None = None
        self.open: list[tuple[BreakerPermit, str, int, float]] = []

    @rule(seconds=st.sampled_from([1, 9, 11, 12, 30, 100]))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        self.clock.advance(seconds)

    @rule(caller=st.sampled_from("abc"))
    def begin(self, caller: str) -> None:
        apart = self.only not in ("", caller)
        passes = self.phase == "CLOSED" or apart
        other = self.phase == "OPEN" and not self.only and self.probed not in ("", caller)
        probes = not passes and (self.now >= self.until or other)
        try:
            permit = begin(self.breaker, caller)
        except CircuitOpen:
            assert not passes
            assert not probes
            return
        assert passes or probes
        lease = 0.0
        if probes:
            self.era += self.phase == "OPEN"
            self.phase, self.until = "HALF_OPEN", self.now + 12
            lease = self.until
        self.open.append((permit, caller, self.era, lease))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), outcome=st.sampled_from([GOOD, BAD, BAD, LEFT]))
    def end(self, data: st.DataObject, outcome: Outcome) -> None:
        self.settle(data.draw(st.integers(0, len(self.open) - 1)), outcome)

    @rule(caller=st.sampled_from("abc"), count=st.integers(2, 5))
    def fail(self, caller: str, count: int) -> None:
        """Add several failures at once, so that circuits do open."""
        known = len(self.open)
        for _ in range(count):
            self.begin(caller)
        while len(self.open) > known:
            self.settle(known, BAD)

    def settle(self, place: int, outcome: Outcome) -> None:
        permit, caller, era, lease = self.open.pop(place)
        permit.settle(outcome)
        if era == self.era:
            self.count(caller, outcome, lease)

    def count(self, caller: str, outcome: Outcome, lease: float) -> None:
        apart, bad = self.only not in ("", caller), outcome is BAD
        if self.phase == "HALF_OPEN" and not apart:
            self.probe(caller, outcome, lease)
            return
        if outcome is LEFT:
            return
        if self.began is None or self.now >= self.began + 10:
            self.began, self.ended = (self.now if bad else None), []
        if self.began is not None:
            self.ended.append((caller, bad))
        failed = [who for who, was_bad in self.ended if was_bad]
        share = len(self.ended) >= 20 and 2 * len(failed) >= len(self.ended)
        if apart:
            self.others, self.well = (self.others + 1 if bad else 0), self.well or not bad
            if self.others >= (4 if self.well else 2) or share:
                self.row, self.only = ["?"] * self.others, ""
                self.change("OPEN", self.now + 30)
            return
        self.row = [*self.row, caller] if bad else []
        if len(self.row) >= 4:
            name, lead = leader(self.row)
            self.only = name if 2 * lead > len(self.row) else ""
            self.change("OPEN", self.now + 30)
        elif share:
            name, lead = leader(failed)
            self.only = name if 2 * lead > len(failed) else ""
            self.change("OPEN", self.now + 30)

    def probe(self, caller: str, outcome: Outcome, lease: float) -> None:
        if outcome is BAD:
            self.row.append(caller)
            second = self.probed not in ("", caller)
            self.probed = "" if second or self.only else caller
            self.change("OPEN", 0)
            wait = self.breaker.status().retry_after
            assert wait is not None
            self.until = self.now + wait
        elif outcome is GOOD:
            self.row, self.only, self.probed = [], "", ""
            self.change("CLOSED", 0)
        elif self.until == lease:
            self.until = self.now

    def change(self, phase: str, until: float) -> None:
        self.phase, self.until, self.era = phase, until, self.era + 1
        self.began, self.ended = None, []
        if not self.only:
            self.others, self.well = 0, False

    @invariant()
    def the_status_is_the_models(self) -> None:
        status = self.breaker.status()
        assert (status.state, status.failures) == (self.phase, len(self.row))
        assert status.one_caller == (self.others > 0 or self.well)
        for caller in "abc":
            apart = self.only not in ("", caller)
            assert self.breaker.status(caller).state == ("CLOSED" if apart else self.phase)


TestSeveralCallers = SeveralCallers.TestCase
TestSeveralCallers.settings = settings(max_examples=examples(100, 400), stateful_step_count=25, deadline=None)
