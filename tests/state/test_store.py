"""Tests the keys of state: names of any length have their own, within the bounds of every store."""

from __future__ import annotations

import pytest

from flask_gateway.state.contract import name_of
from flask_gateway.state.store import StoreStatus, state_key


@pytest.mark.parametrize("name", ["a", "", "ü" * 40, "x" * 80])
def test_a_short_name_stays_readable(name: str) -> None:
    assert state_key("kind", name) == f"kind:{name}"


@pytest.mark.parametrize("name", ["x" * 81, "ü" * 41, "model/" * 1000])
def test_a_long_name_becomes_its_digest_and_every_store_takes_it(name: str) -> None:
    key = state_key("kind", name)
    assert len(key) == len("kind:") + 32
    name_of(key)
    assert key != state_key("kind", name + "x")
    assert key != state_key("other", name)


def test_a_store_is_well_unless_it_says_otherwise() -> None:
    assert StoreStatus() == (False, "", 0)
