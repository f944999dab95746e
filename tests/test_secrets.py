"""The net that catches printed secrets has no hole: what is printed does fail a test."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import KEY, UPSTREAM_KEY, pytest_runtest_makereport


def report_of(item: pytest.Item, printed: str) -> pytest.TestReport:
    """The report on a test that was passed, and had printed something."""
    passed = pytest.TestReport(
        item.nodeid, item.location, {}, "passed", None, "call", [("Captured stderr call", printed)]
    )
    caught: Any = pytest_runtest_makereport(item, None)  # type: ignore[arg-type]
    next(caught)
    with pytest.raises(StopIteration) as done:
        caught.send(passed)
    return done.value.value


@pytest.mark.parametrize("secret", [KEY, UPSTREAM_KEY])
def test_a_printed_secret_fails_a_test(request: pytest.FixtureRequest, secret: str) -> None:
    assert report_of(request.node, f"Bearer {secret}\n").failed
    assert report_of(request.node, "Bearer ****\n").passed
