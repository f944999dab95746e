"""Announcements of changes: none is missed, whatever the store forgets. Law 10 of keys.md, in part."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.auth.key_ring import (
    GENERATION,
    LONGEST,
    RING,
    Change,
    News,
    What,
    announce,
    extended,
    news_since,
)
from flask_gateway.state.contract import MAX_INTS
from flask_gateway.state.memory import MemoryStore

CHANGES = st.lists(st.builds(Change, st.integers(0, 50), st.sampled_from(What)), min_size=1, max_size=4)


@given(st.lists(CHANGES, max_size=80), st.data())
def test_a_late_look_sees_all_changes_or_knows_that_some_are_missing(
    batches: list[list[Change]], data: st.DataObject
) -> None:
    ring, seq = None, 0
    behind = data.draw(st.integers(0, len(batches)))
    after: list[Change] = []
    generation = None
    for place, batch in enumerate(batches):
        if place == behind:
            generation = ring[0] if ring else 0
        seq += len(batch)
        ring = extended(ring, seq, batch)
        assert len(ring) <= MAX_INTS
        if place >= behind:
            after += batch
    if generation is None:
        generation = ring[0] if ring else 0
    news = news_since(ring, generation)
    if news.complete:
        assert list(news.changes) == after
    else:
        assert ring is None or len(after) > LONGEST


def test_a_store_that_lost_its_state_gives_no_generation_again(store: MemoryStore) -> None:
    announce(store, 7, [Change(1, What.BLOCK)])
    first = store.read(GENERATION)
    store.update(RING, lambda old, now: (None, None), 1)
    store.update(GENERATION, lambda old, now: (None, None), 1)
    announce(store, 8, [Change(2, What.LOOK)])
    assert first == (7,)
    assert store.read(GENERATION) == (8,)


def test_a_gap_in_the_numbers_means_that_changes_were_missed(store: MemoryStore) -> None:
    announce(store, 1, [Change(1, What.BLOCK)])
    announce(store, 5, [Change(2, What.END)])  # the command line made 2 to 4
    assert news_since(store.read(RING), 1) == News((Change(2, What.END),), False)
