"""Tests the hooks before and after every request."""

from __future__ import annotations

import pytest

from flask_gateway.web.hooks import waited_in_front


@pytest.mark.parametrize(
    ("start", "peer", "waited"),
    [
        ("1700000000.500", "127.0.0.1", 1.5),
        ("t=1700000000.500", "", 1.5),
        ("1700000000", None, 2.0),
        ("1699999990.000", "::1", 4.0),  # longer than we have been there
        ("1700000003.000", "127.0.0.1", 0.0),  # from the future
        ("1700000000.500", "10.0.0.7", 0.0),  # another machine's clock
        ("170000000", "127.0.0.1", 0.0),
        ("soon", "127.0.0.1", 0.0),
        ("", "127.0.0.1", 0.0),
        (None, "127.0.0.1", 0.0),
    ],
)
def test_the_wait_between_proxy_and_gateway_is_measured(
    start: str | None, peer: str | None, waited: float
) -> None:
    assert waited_in_front(start, peer, now=1700000002.0, began=1699999998.0) == pytest.approx(waited)
