"""Remembers which upstream made which response, so that a follow-up is sent where its state is.

The memory lies in the store that the workers share. It is a fixed number of buckets, each a list of pairs:
the digest of an id and that of an upstream's name, oldest first. A full bucket forgets its oldest pair.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..guards.pauses import digest_of
from ..state.store import Store, Value

#: Together the ids that are remembered: at least some ten thousand of the last.
BUCKETS, PAIRS = 128, 128
#: A bucket that nothing was added to for so long is forgotten, seconds. OpenAI keeps responses for 30 days.
LIFETIME = 30 * 24 * 3600.0


class Origins:
    """The upstreams that hold what callers may refer to, by its id. Shared by all threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def remember(self, ids: Iterable[str], upstream: str) -> None:
        """Note that the upstream has made what has these ids."""
        for name in ids:
            self._remember(digest_of(name), digest_of(upstream))

    def _remember(self, name: int, upstream: int) -> None:
        def change(value: Value | None, now: int) -> tuple[Value | None, None]:
            pairs = value or ()
            if _find(pairs, name) == upstream:
                return value, None
            return (*pairs[-2 * (PAIRS - 1) :], name, upstream), None

        self._store.update(_bucket(name), change, LIFETIME)

    def upstream_of(self, name: str, upstreams: Iterable[str]) -> str | None:
        """Return which of the upstreams has made what has this id; ``None`` if that is not known."""
        digest = digest_of(name)
        found = _find(self._store.read(_bucket(digest)) or (), digest)
        return next((one for one in upstreams if digest_of(one) == found), None)


def _bucket(digest: int) -> str:
    return f"origins:{digest % BUCKETS}"


def _find(pairs: Value, name: int) -> int | None:
    """The upstream's digest of the youngest pair with that name."""
    for at in range(len(pairs) - 2, -1, -2):
        if pairs[at] == name:
            return pairs[at + 1]
    return None
