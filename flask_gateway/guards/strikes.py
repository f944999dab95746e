"""Failed keys: an address that has sent too many is not listened to for a while, right key or wrong.

The counts are in the store, so that all workers count together. There is a fixed number of places for
them, each with the address it belongs to at the moment: a million addresses take no more room than a
thousand, and what they can do to each other is to be forgotten. Nobody is ever barred for another.
Which addresses share a place depends on a secret, so that it takes luck to have one's own forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from hashlib import blake2b

from ..core import SECOND, Caller, Store, Value
from ..errors import TooManyFailedKeys, Unauthorized
from .window import Quota, Take

#: Seconds.
WINDOW = 60.0
#: Places for counts in the store, and for barred addresses in a process.
PLACES = 1024


class Strikes:
    """Tells callers by their keys, and counts the failures. Shared by all threads of a process.

    :param identify: tells whose key one is, or raises ``Unauthorized``.
    :param limit: keys of one address that may fail in any :data:`WINDOW`; 0 means without limit.
    :param secret: the same in all processes.
    """

    def __init__(self, identify: Callable[[str], Caller], store: Store, limit: int, secret: bytes) -> None:
        self._identify = identify
        self._store = store
        self._take = Take(limit, int(WINDOW * SECOND))
        self._secret = secret
        #: Until when which addresses are barred: what this process knows of it without asking the store.
        self._barred: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def identify(self, key: str, address: Callable[[], bytes], now: float) -> Caller:
        """Whose key this is. While nobody is barred, it costs no more than to look that up.

        :param address: tells where the key comes from.
        :param now: ``time.monotonic()``, seconds.
        :raises Unauthorized: nobody's. :raises TooManyFailedKeys: it was not looked at.
        """
        self.check(address, now)
        try:
            return self._identify(key)
        except Unauthorized:
            if self._take.limit:
                self._count(address(), now)
            raise

    def check(self, address: Callable[[], bytes], now: float) -> None:
        """To be asked before a key is looked at. Parameters as above.

        :raises TooManyFailedKeys: it is not to be.
        """
        if self._barred:
            left = self._barred.get(address(), now) - now
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
            self._bar(address, now + left)
            raise _too_many(left)

    def _bar(self, address: bytes, until: float) -> None:
        with self._lock:
            while len(self._barred) >= PLACES:
                del self._barred[next(iter(self._barred))]  # barred the longest ago
            self._barred.pop(address, None)
            self._barred[address] = until


def _too_many(left: float) -> TooManyFailedKeys:
    return TooManyFailedKeys(
        "Too many wrong API keys have come from your address, so it is not listened to for a while.",
        retry_after=left,
    )
