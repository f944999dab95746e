"""Tests the table in shared memory: even use, and as many keys as documented."""

from __future__ import annotations

from flask_gateway.state.shm_table import BUCKETS, SLOTS, slot_address


def test_buckets_are_evenly_used() -> None:
    used = [0] * BUCKETS
    for number in range(BUCKETS * 20):
        used[slot_address(f"limit:{number}").bucket] += 1
    assert max(used) < SLOTS


# ---------------------------------------------------------------- memory


def test_as_many_keys_fit_as_the_documentation_says() -> None:
    used = [0] * BUCKETS
    for number in range(32_000):
        used[slot_address(f"limit:{number:08x}").bucket] += 1
    assert max(used) <= SLOTS
