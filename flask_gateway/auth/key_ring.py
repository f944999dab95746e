"""Announces changes of issued keys in the store, so that every worker knows of them at its next call.

The store has two values. ``keys:gen`` is ``(generation,)``, and every call reads it. ``keys:ring`` is
``(generation, key, what, key, what, …)``: the last changes, the newest last, one for each generation.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from ..state.store import Store, Value

GENERATION, RING = "keys:gen", "keys:ring"
#: The most changes that the ring holds: a value has at most 300 integers.
LONGEST = 148
#: How long the store keeps both, seconds. Without them, workers look into the database once a second.
_KEPT = 30 * 86400.0


class What(IntEnum):
    """The action of a worker when a key has changed, before it reads the database."""

    BLOCK = 1
    LOOK = 2
    #: Block the key, and end its streams.
    END = 3


class Change(NamedTuple):
    """A change of a key.

    :param key: its number in the database; 0: a team has changed.
    """

    key: int
    what: What


class News(NamedTuple):
    """The changes since a generation.

    :param complete: whether the ring still has all of them.
    """

    changes: tuple[Change, ...]
    complete: bool


def extended(ring: Value | None, seq: int, changes: Iterable[Change]) -> Value:
    """Return the ring with further changes.

    :param seq: the last change's number in the database. The generation is at least that, so a store that
        lost its state never gives a generation again.
    """
    new = [part for change in changes for part in change]
    old = ring or (0,)
    generation = max(old[0] + len(new) // 2, seq)
    known = old[1:] if generation == old[0] + len(new) // 2 else ()
    return (generation, *(*known, *new)[-2 * LONGEST :])


def news_since(ring: Value | None, generation: int | None) -> News:
    """Return the changes after a generation; all that are known after ``None``."""
    if ring is None:
        return News((), False)
    changes = tuple(Change(key, What(what)) for key, what in zip(ring[1::2], ring[2::2], strict=True))
    missed = len(changes) + 1 if generation is None else ring[0] - generation
    if 0 <= missed <= len(changes):
        return News(changes[len(changes) - missed :], True)
    return News(changes, False)


def announce(store: Store, seq: int, changes: list[Change]) -> None:
    """Tell all workers. The writer's lock is held, so announcements come one after another."""

    def extend(old: Value | None, now: int) -> tuple[Value | None, int]:
        new = extended(old, seq, changes)
        return new, new[0]

    generation = store.update(RING, extend, _KEPT)
    # Of two machines that announce at the same time, the later generation stays.
    store.update(GENERATION, lambda old, now: ((max(generation, old[0] if old else 0),), None), _KEPT)
