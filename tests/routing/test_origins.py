"""Tests the memory of which upstream keeps what."""

from __future__ import annotations

from flask_gateway.routing.origins import BUCKETS, PAIRS, Origins
from flask_gateway.state.memory import MemoryStore

# ------------------------------------------------------------------ remembered ids and parsing


def test_the_memory_is_bounded_and_forgets_the_oldest(store: MemoryStore) -> None:
    origins = Origins(store)
    origins.remember((f"resp_{number}" for number in range(3 * BUCKETS * PAIRS)), "a")
    kept = list(store.scan("origins:"))
    assert len(kept) <= BUCKETS
    assert max(len(value) for _, value in kept) <= 2 * PAIRS
    assert origins.upstream_of("resp_0", ["a", "b"]) is None
    assert origins.upstream_of(f"resp_{3 * BUCKETS * PAIRS - 1}", ["b", "a"]) == "a"
