"""The lines of a call: one when every guard has admitted it, and one for each leg at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kit.calls import make_call
from kit.ledger_lines import NOW
from kit.replies import PlainTranscript, ScriptedSource

from flask_gateway.ledger.accounted import MOST_NAME, AccountedService, JournalGuard
from flask_gateway.ledger.costing import Costing
from flask_gateway.ledger.journal import Journal
from flask_gateway.ledger.lines import Line, Opened, Settled, decode
from flask_gateway.model.call import AnswerPart, Call, Caller, Outcome, Usage
from flask_gateway.model.errors import RateLimited, UpstreamError
from flask_gateway.model.reply import Reply
from flask_gateway.model.spend import Applied, Hold, Spend
from flask_gateway.pricing.rates import ModelPrice, Period, Rates
from flask_gateway.pricing.table import Prices
from flask_gateway.routing.dispatcher import Guarded

PRICE = ModelPrice((Period(Rates(input=1_000_000, output=2_000_000)),))
COSTING = Costing(Prices({("up", "m"): PRICE}, []), {})


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


def lines(journal: Journal, folder: Path) -> list[Line | None]:
    journal.close()
    return [read.line for path in sorted(folder.iterdir()) for read in decode(path.read_bytes())]


class InParts(Reply):
    """A reply of these parts."""

    def __init__(self, parts: tuple[AnswerPart, ...]) -> None:
        super().__init__(ScriptedSource(b"hello!"), PlainTranscript(), "up", "m")
        self._told = parts

    def parts(self) -> tuple[AnswerPart, ...]:
        return self._told


class Answers:
    """Answers each call with a reply, or with an error."""

    name = "answers"

    def __init__(self, error: Exception | None = None, parts: tuple[AnswerPart, ...] = ()) -> None:
        self.error, self.parts = error, parts

    def send(self, call: Call) -> Reply:
        if self.error is not None:
            raise self.error
        return InParts(self.parts)


class Refuses:
    def admit(self, call: Call) -> Any:
        raise RateLimited("no")


class Settles:
    """Settles an account: what it notes must be in the line."""

    headers: Mapping[str, str] = {}

    def admit(self, call: Call) -> Settles:
        assert call.spend is not None
        call.spend.holds = (Hold("key:web", 1, 2, 3_000_000),)
        self.spend = call.spend
        return self

    def settle(self, outcome: Outcome) -> None:
        self.spend.deferred = (Hold("team:a", 1, 3, 9),)
        self.spend.applied, self.spend.at = (Applied("key:web", 77),), NOW + 5

    def cancel(self) -> None:
        raise AssertionError


def service(journal: Journal, answers: Answers, *guards: Any, tell: bool = True) -> AccountedService:
    guarded = Guarded(answers, [*guards, JournalGuard(journal, lambda: NOW)])
    return AccountedService(guarded, journal, COSTING, lambda: NOW + 1, tell=tell)


def a_call(**changes: Any) -> Call:
    call = make_call(caller=Caller("web", 0, team="search"))
    return msgspec.structs.replace(call, spend=Spend(tags={"env": "prod"}), user="alice", **changes)


def test_a_call_has_a_line_at_its_beginning_and_one_at_its_end(journal: Journal, tmp_path: Path) -> None:
    reply = service(journal, Answers()).send(a_call())
    assert b"".join(reply) == b"hello!"
    begun, ended = lines(journal, tmp_path)
    assert begun == Opened(n=1, id="req-1", at=NOW, key="web", team="search", user="alice", model="m")
    assert isinstance(ended, Settled)
    assert (ended.n, ended.at, ended.cost, ended.end, ended.upstream) == (1, NOW + 1, 5000, True, "up")
    assert (ended.units.input, ended.units.output, ended.tags) == (1, 2, {"env": "prod"})
    assert reply.headers["x-gateway-cost"] == "0.000005000"


def test_the_line_has_what_the_guards_held_and_settled(journal: Journal, tmp_path: Path) -> None:
    b"".join(service(journal, Answers(), Settles()).send(a_call()))
    begun, ended = lines(journal, tmp_path)
    assert isinstance(begun, Opened)
    assert isinstance(ended, Settled)
    assert begun.holds == (Hold("key:web", 1, 2, 3_000_000),)
    assert (ended.applied, ended.at) == ((Applied("key:web", 77),), NOW + 5)
    assert ended.held == (Hold("team:a", 1, 3, 9),)


def test_a_call_that_fails_is_ended_after_its_permits(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(UpstreamError):
        service(journal, Answers(UpstreamError("500")), Settles()).send(a_call())
    _, ended = lines(journal, tmp_path)
    assert isinstance(ended, Settled)
    assert (ended.cost, ended.charged, ended.end, ended.at) == (0, False, True, NOW + 5)


def test_a_call_that_a_guard_refused_has_no_line(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(RateLimited):
        service(journal, Answers(), Refuses()).send(a_call())
    assert lines(journal, tmp_path) == []


def test_each_leg_has_a_line_and_the_last_ends_the_call(journal: Journal, tmp_path: Path) -> None:
    parts = (AnswerPart("up", "m", Usage(1, 0)), AnswerPart("other", "m", Usage(2, 0)))
    reply = service(journal, Answers(parts=parts)).send(a_call())
    b"".join(reply)
    _, *ended = lines(journal, tmp_path)
    assert [(line.leg, line.cost, line.end) for line in ended if isinstance(line, Settled)] == [
        (0, 1000, False),
        (1, None, True),
    ]
    assert "x-gateway-cost" not in reply.headers  # the price of a part is unknown


def test_the_cost_is_told_only_if_it_is_wanted(journal: Journal) -> None:
    reply = service(journal, Answers(), tell=False).send(a_call())
    b"".join(reply)
    assert "x-gateway-cost" not in reply.headers


def test_long_names_are_cut(journal: Journal, tmp_path: Path) -> None:
    b"".join(service(journal, Answers()).send(a_call(model="é" * 100_000)))
    begun, _ = lines(journal, tmp_path)
    assert isinstance(begun, Opened)
    assert len(begun.model) == MOST_NAME


def test_a_missing_price_is_logged_once(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    parts = (AnswerPart("other", "m", Usage(2, 0)),)
    one = service(journal, Answers(parts=parts))
    for _ in range(3):
        b"".join(one.send(a_call()))
    assert caplog.text.count("has no price") == 1
