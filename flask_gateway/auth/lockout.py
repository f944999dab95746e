"""Limits wrong API keys per address: above the limit, they are refused with 429 instead of 401.

A valid key is always accepted, even from a blocked address.

The counts are in the store, so all workers count together. The table has :data:`ENTRIES` entries, each with
the address that uses it at the moment. Two addresses that hash to the same entry evict each other; neither is
blocked because of the other. The hash is keyed, so an attacker cannot choose a collision.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from hashlib import blake2b

from ..guards.sliding_window import MINUTE, Acquire, Quota
from ..model.call import Caller
from ..model.errors import TooManyFailedKeys, Unauthorized
from ..state.store import SECOND, Store, Value

#: How many addresses the store counts at a time, and how many blocked addresses a process remembers.
ENTRIES = 1024


#: Returns a header of the request by its name.
Header = Callable[[str], str | None]
#: Finds the caller of a key that is none of the gateway's, by the key and the request's headers.
FurtherCallers = Callable[[str, Header], Caller | None]


class KeyGuessLimiter:
    """Identifies callers by their keys, and counts wrong keys. Shared by all threads of a process.

    :param identify: returns the caller of a key, or raises ``Unauthorized``.
    :param limit: wrong keys allowed per address in any 60 seconds; 0 means no limit.
    :param secret: keys the hash of addresses; the same in all processes.
    :param others: asked for unknown keys; ``None``: there are no other callers.
    """

    def __init__(
        self,
        identify: Callable[[str], Caller],
        store: Store,
        limit: int,
        secret: bytes,
        others: FurtherCallers | None = None,
    ) -> None:
        self._identify = identify
        self._store = store
        self._acquire = Acquire(limit, int(MINUTE * SECOND))
        self._secret = secret
        self._others = others
        #: The addresses that this process knows as blocked, each with the end of its block.
        self._blocked: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def identify(
        self, key: str, address: Callable[[], bytes], now: float, header: Header | None = None
    ) -> Caller:
        """The caller that the key belongs to. A valid key costs one look-up and never reads the address.

        :param address: returns the caller's own address, empty if it is not known. Keys from unknown
            addresses are not counted: unrelated callers would share one count.
        :param now: ``time.monotonic()``, seconds.
        :param header: returns a header of the request; ``None``: only the gateway's own keys are valid here.
        :raises Unauthorized: the key is unknown.
        :raises TooManyFailedKeys: the key is unknown, and the address has sent too many of them.
        """
        try:
            try:
                return self._identify(key)
            except Unauthorized as error:
                # A subclass says that the key is one of ours, and no longer valid.
                if self._others is None or header is None or type(error) is not Unauthorized:
                    raise
                if (caller := self._others(key, header)) is None:
                    raise
                return caller
        except Unauthorized:
            if self._acquire.limit and (sender := address()):
                self._refuse_blocked(sender, now)
                self._count(sender, now)
            raise

    def _refuse_blocked(self, address: bytes, now: float) -> None:
        """Refuse an address that this process knows as blocked. It never asks the store, so a flood of wrong
        keys is cheap."""
        left = self._blocked.get(address, now) - now
        if left > 0:
            raise _too_many(left)

    def _count(self, address: bytes, now: float) -> None:
        """Count a wrong key.

        :raises TooManyFailedKeys: it exceeds the limit.
        """
        digest = blake2b(address, digest_size=9, key=self._secret).digest()
        entry, owner = int.from_bytes(digest[:2], "big") % ENTRIES, int.from_bytes(digest[2:], "big")

        def count(old: Value | None, at: int) -> tuple[Value | None, tuple[bool, Quota]]:
            log = old[1:] if old and old[0] == owner else None
            new, answer = self._acquire(log, at)
            return (old if new is log else (owner, *(new or ()))), answer

        counted, quota = self._store.update(f"wrong_keys:{entry}", count, ttl=MINUTE)
        if not counted:
            left = quota.wait / SECOND
            self._block(address, now + left)
            raise _too_many(left)

    def _block(self, address: bytes, until: float) -> None:
        with self._lock:
            while len(self._blocked) >= ENTRIES:
                del self._blocked[next(iter(self._blocked))]  # the oldest block
            self._blocked.pop(address, None)
            self._blocked[address] = until


def _too_many(left: float) -> TooManyFailedKeys:
    error = TooManyFailedKeys(
        "This API key is not known here, and too many wrong keys have come from your address lately. "
        "Check the key for typing errors. A valid key is accepted at once.",
        retry_after=left,
    )
    error.headers["x-should-retry"] = "false"  # the key stays wrong
    return error
