"""Tests calls: their times, and other fields of the body."""

from __future__ import annotations

import time

import msgspec
from kit.calls import make_call

from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import UpstreamCut, Verdict


def test_all_times_follow_from_one_reading_of_the_wall_clock() -> None:
    call = msgspec.structs.replace(make_call(), started=100.0, started_ns=1_700_000_000_000_000_000)
    assert call.epoch_ns(100.0) == call.started_ns
    assert call.epoch_ns(101.5) == call.started_ns + 1_500_000_000


def test_the_outcome_of_an_error_names_the_upstream_that_failed() -> None:
    outcome = Outcome.of_error(UpstreamCut("cut", upstream="llama"))
    assert (outcome.verdict, outcome.upstream, outcome.model) == (Verdict.FAILURE, "llama", None)
    assert Outcome.of_error(KeyError()) == Outcome(Verdict.IGNORED)


def test_a_call_with_other_fields_keeps_the_rest() -> None:
    call = make_call("m", user="ann", n=1)
    changed = call.with_fields(messages=[], user=None, seed=7)
    assert {name: bytes(value) for name, value in changed.fields.items()} == {
        "model": b'"m"',
        "n": b"1",
        "messages": b"[]",
        "seed": b"7",
    }
    assert call.decoded("user", 100) == "ann"
    assert msgspec.structs.replace(changed, fields=call.fields) == call


def test_the_time_that_remains_is_never_negative() -> None:
    now = time.monotonic()
    assert msgspec.structs.replace(make_call(), deadline=now - 1).remaining() == 0.0
    assert 50 < msgspec.structs.replace(make_call(), deadline=now + 100).remaining() <= 100
