"""The ids of spans, and the times of a call."""

from __future__ import annotations

import re

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.model.call import Ids, Outcome
from flask_gateway.model.errors import UpstreamCut, Verdict

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "first", ["00f067aa0ba902b7", "0000000000000001", "ffffffffffffffff", "fffffffffffffffe"]
)
def test_the_gateways_span_and_its_attempts_have_different_valid_ids(first: str) -> None:
    ids = Ids("r", "t", f"00-{TRACE}-{first}-01")
    spans = [ids.span, *(ids.attempt_span(number) for number in range(4))]
    assert len(set(spans)) == 5
    assert all(re.fullmatch("(?!0{16})[0-9a-f]{16}", span) for span in spans)
    assert spans[1] == first


def test_each_attempt_sends_its_own_span_in_the_same_trace() -> None:
    ids = Ids("r", "t", f"00-{TRACE}-00f067aa0ba902b7-01")
    assert ids.traceparent_of(0) == ids.traceparent
    assert ids.traceparent_of(2) == f"00-{TRACE}-00f067aa0ba902b9-01"


def test_all_times_follow_from_one_reading_of_the_wall_clock() -> None:
    call = msgspec.structs.replace(make_call(), started=100.0, started_ns=1_700_000_000_000_000_000)
    assert call.epoch_ns(100.0) == call.started_ns
    assert call.epoch_ns(101.5) == call.started_ns + 1_500_000_000


def test_the_outcome_of_an_error_names_the_upstream_that_failed() -> None:
    outcome = Outcome.of_error(UpstreamCut("cut", upstream="llama"))
    assert (outcome.verdict, outcome.upstream, outcome.model) == (Verdict.FAILURE, "llama", None)
    assert Outcome.of_error(KeyError()) == Outcome(Verdict.IGNORED)
