"""Keeps the tokens that calls reserved and did not use until they can be given back cheaply.

The next reservation of the same subject in this process gives them back in the same change of the store. A
thread gives back the others within a grain of the limit's window, by which it may refuse too long anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..reactor.while_any import WhileAny

#: For how long tokens may be kept, seconds: half a grain of a minute.
KEPT = 0.23

#: The grains of reservations, each with the tokens that go back to it.
Returns = tuple[tuple[int, int], ...]


class TokenReturns:
    """The tokens to be given back, by the store's key. Threads share it: ``_lock`` guards it.

    :param give_back: gives tokens of a key back in the store.
    """

    def __init__(self, give_back: Callable[[str, Returns], None]) -> None:
        self._give_back = give_back
        self._lock = threading.Lock()
        self._kept: dict[str, Returns] = {}
        self._thread = WhileAny("tokens", KEPT, self.flush)

    def keep(self, key: str, stamp: int, tokens: int) -> None:
        """Note tokens to be given back to the grain from which they were taken."""
        with self._lock:
            self._kept[key] = (*self._kept.get(key, ()), (stamp, tokens))
        self._thread.start()

    def take(self, key: str) -> Returns:
        """Return what is to be given back of a key. The caller does it."""
        if key not in self._kept:
            return ()
        with self._lock:
            return self._kept.pop(key, ())

    def flush(self) -> bool:
        """Give everything back now. Return whether there was anything."""
        with self._lock:
            kept, self._kept = self._kept, {}
        for key, returns in kept.items():
            self._give_back(key, returns)
        return bool(kept)
