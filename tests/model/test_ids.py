"""Tests the ids of spans."""

from __future__ import annotations

import re

import pytest

from flask_gateway.model.ids import Ids

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
