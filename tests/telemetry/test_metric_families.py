"""Tests the labels of metrics: unknown names become other."""

from __future__ import annotations

import pytest
from kit.metric_figures import Counted

from flask_gateway.model.call import Attempt


@pytest.fixture
def counted() -> Counted:
    return Counted()


def test_unknown_names_become_other(counted: Counted) -> None:
    counted.tell(model="made-up", upstream="made-up", code="made-up", route=None)
    counted.tell(attempts=(Attempt("llama", "made-up", 0.1), Attempt("made-up", "made-up", 0.1)))
    assert ("other", "other", "other", "200", "other") in counted.of("requests_total")
    assert counted.of("attempts_total") == {("other", "llama"): 1, ("other", "other"): 1}
    assert set(counted.of("attempt_duration_seconds_count")) == {("llama",), ("other",)}
    assert counted.of("failovers_total") == {("llama", "other", "other"): 1}
