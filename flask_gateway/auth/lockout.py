"""Limits wrong API keys per address. A right key is always let in, however many wrong ones came with it.

The counts are in the store, so that all workers count together. The table has :data:`PLACES` entries, each
with the address it belongs to at the moment. Two addresses that hash to the same entry evict each other;
neither is blocked because of the other. The hash is keyed, so an attacker cannot choose a collision.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from hashlib import blake2b

from ..guards.sliding_window import Acquire, Quota
from ..model.call import Caller
from ..model.errors import TooManyFailedKeys, Unauthorized
from ..state.store import SECOND, Store, Value

#: Seconds.
WINDOW = 60.0
#: Entries for counts in the store, and for blocked addresses in a process.
PLACES = 1024


class KeyGuessLimiter:
    """Identifies callers by their keys, and counts the keys that fail. Shared by all threads of a process.

    :param identify: returns the caller of a key, or raises ``Unauthorized``.
    :param limit: keys of one address that may fail in any :data:`WINDOW`; 0 means without limit.
    :param secret: the same in all processes.
    """

    def __init__(self, identify: Callable[[str], Caller], store: Store, limit: int, secret: bytes) -> None:
        self._identify = identify
        self._store = store
        self._take = Acquire(limit, int(WINDOW * SECOND))
        self._secret = secret
        #: Until when wrong keys of which addresses are not counted any more, as far as this process knows.
        self._blocked: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def identify(self, key: str, address: Callable[[], bytes], now: float) -> Caller:
        """The caller whose key this is. A right key costs one look-up, and the address is not asked for.

        :param address: returns the caller's own address, empty where it is not known. Keys from nowhere
            are not counted: callers who have nothing to do with each other would share the count.
        :param now: ``time.monotonic()``, seconds.
        :raises Unauthorized: the key is nobody's.
        :raises TooManyFailedKeys: it is nobody's, and so were too many from this address.
        """
        try:
            return self._identify(key)
        except Unauthorized:
            if self._take.limit and (origin := address()):
                self._refuse_blocked(origin, now)
                self._count(origin, now)
            raise

    def _refuse_blocked(self, address: bytes, now: float) -> None:
        """Without the store, so that any number of wrong keys costs no more than one."""
        left = self._blocked.get(address, now) - now
        if left > 0:
            raise _too_many(left)

    def _count(self, address: bytes, now: float) -> None:
        """:raises TooManyFailedKeys: this one was one too many."""
        digest = blake2b(address, digest_size=9, key=self._secret).digest()
        place, owner = int.from_bytes(digest[:2], "big") % PLACES, int.from_bytes(digest[2:], "big")

        def strike(old: Value | None, at: int) -> tuple[Value | None, tuple[bool, Quota]]:
            log = old[1:] if old and old[0] == owner else None
            new, answer = self._take(log, at)
            return (old if new is log else (owner, *(new or ()))), answer

        counted, quota = self._store.update(f"strikes:{place}", strike, ttl=WINDOW)
        if not counted:
            left = quota.wait / SECOND
            self._block(address, now + left)
            raise _too_many(left)

    def _block(self, address: bytes, until: float) -> None:
        with self._lock:
            while len(self._blocked) >= PLACES:
                del self._blocked[next(iter(self._blocked))]  # blocked the longest ago
            self._blocked.pop(address, None)
            self._blocked[address] = until


def _too_many(left: float) -> TooManyFailedKeys:
    error = TooManyFailedKeys(
        "This API key is not known here, and too many wrong keys have come from your address lately. "
        "Check the key for typing errors. A right key is let in at once.",
        retry_after=left,
    )
    error.headers["x-should-retry"] = "false"  # it stays wrong
    return error
