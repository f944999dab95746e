"""Tests the options in the mock's URL."""

from __future__ import annotations

import pytest

from flask_gateway.upstreams.mock.upstream import MockUpstream

# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("latncy_ms=3", ["latncy_ms", "'3'", "did you mean 'latency_ms'"]),
        ("colour=red", ["colour", "expected one of latency_ms"]),
        ("tokens=many", ["tokens", "'many'", "a whole number from 1"]),
        ("tokens=0", ["tokens", "'0'"]),
        ("tokens=1.5", ["tokens", "'1.5'"]),
        ("rate=-1", ["rate", "'-1'", "a number from 0"]),
        ("rate=nan", ["rate", "'nan'"]),
        ("latency_ms=", ["latency_ms", "''"]),
        ("status=200", ["status", "'200'", "from 400 to 599"]),
        ("cut_after=x", ["cut_after", "'x'"]),
        ("rate=1&rate=2", ["rate", "twice"]),
    ],
)
def test_a_wrong_option_is_named_with_its_value_and_what_was_expected(query, expected):
    with pytest.raises(ValueError) as caught:
        MockUpstream("mock", f"mock://local?{query}")
    for part in expected:
        assert part in str(caught.value)


def test_all_options_together_are_accepted():
    MockUpstream("mock", "mock://local?latency_ms=1.5&tokens=9&rate=2.5&status=503&cut_after=0")
