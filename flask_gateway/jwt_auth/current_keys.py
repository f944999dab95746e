"""Holds the present keys of a provider. One thread of the process fetches them; calls wait only for new ones.

While the provider is away, the keys of before serve on, up to an age. A token with an unknown ``kid`` makes
the thread fetch at once, as often as an allowance permits: everybody can write a ``kid``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from ..model.errors import KeysUnavailable
from ..reactor import Periodic
from .kept_keys import KeyFile
from .key_set import KeySet, VerificationKey
from .provider import Fetch, ProviderFault

log = logging.getLogger(__name__)

#: Between two looks of the thread, and after a failure until the next try, seconds.
PERIOD = 30.0
#: How long a call waits for keys that it needs, seconds, and how many do so at once.
WAIT, MOST_WAITING = 4.0, 8
#: Fetches for unknown ids of keys: so many at once, and one more after each period.
BURST = 3
#: The message for callers while there are no keys.
_NO_KEYS = (
    "The keys that verify your token cannot be fetched from the login provider now. "
    "This is not the fault of your token: try again in a moment."
)


class Ages(NamedTuple):
    """:param refresh: keys of this age are fetched again. :param most: they are trusted up to this age."""

    refresh: float = 600.0
    most: float = 86400.0


class CurrentKeys:
    """The keys of one provider in this process. Threads share it.

    :param kept: the file that outlasts the process; ``None``: none.
    :param clock: seconds since the epoch.
    """

    def __init__(
        self,
        issuer: str,
        fetch: Fetch,
        ages: Ages,
        kept: tuple[KeyFile, frozenset[str]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer, self._fetch, self._ages, self._clock = issuer, fetch, ages, clock
        self._file = kept[0] if kept else None
        self._held: tuple[KeySet | None, float] = (kept[0].read(kept[1]) if kept else None) or (None, 0.0)
        self._changed = threading.Condition()
        self._begun = self._ended = 0
        self._wanted = True
        self._waiting = 0
        self._allowance, self._refilled = BURST, clock()
        self._failures = 0
        self._thread = Periodic(f"keys of {issuer}", PERIOD, self.turn)

    def present(self) -> KeySet | None:
        """The keys that are trusted now; ``None``: there are none, or they are too old."""
        keys, fetched = self._held
        return keys if keys is not None and self._clock() - fetched < self._ages.most else None

    def start(self) -> None:
        """Fetch now and periodically, on the thread. More calls do nothing."""
        if not self._thread.running:
            self._thread.start()
            self._thread.call_soon()

    def stop(self) -> None:
        self._thread.stop(0.0)

    def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The key of a token; ``None``: the provider has none. It may wait for a fetch.

        :raises KeysUnavailable: no keys are there, or too many calls wait for them.
        """
        self.start()
        keys = self.present()
        found = keys.find(kid, algorithm) if keys else None
        if found is None and self._refetched():
            keys = self.present()
            found = keys.find(kid, algorithm) if keys else None
        if keys is None:
            raise KeysUnavailable(_NO_KEYS, retry_after=5.0)
        return found

    def _refetched(self) -> bool:
        """Have the keys fetched, and wait for it. Return whether that was permitted.

        :raises KeysUnavailable: too many calls wait, or the provider gave none.
        """
        with self._changed:
            if not self._permitted():
                return False
            if self._waiting >= MOST_WAITING:
                raise KeysUnavailable(_NO_KEYS, retry_after=1.0)
            needed = self._begun + 1
            self._waiting += 1
            try:
                self._thread.call_soon()
                ended = self._changed.wait_for(lambda: self._ended >= needed, WAIT)
            finally:
                self._waiting -= 1
        if not ended or self._failures:
            raise KeysUnavailable(_NO_KEYS, retry_after=5.0)
        return True

    def _permitted(self) -> bool:
        """Whether another fetch may be asked for. The lock is held. Calls that wait share one."""
        if self._wanted:
            return True
        now = self._clock()
        if (periods := int((now - self._refilled) / PERIOD)) != 0:
            self._allowance = min(BURST, self._allowance + max(0, periods))
            self._refilled = now
        if self._allowance == 0:
            return False
        self._allowance -= 1
        self._wanted = True
        return True

    def turn(self) -> None:
        """Fetch the keys if that is due. The thread calls it."""
        with self._changed:
            age = self._clock() - self._held[1]
            if not self._wanted and not self._failures and 0 <= age < self._ages.refresh:
                return
            self._wanted = False
            self._begun += 1
        try:
            self._take(self._fetch())
        except ProviderFault as fault:
            self._fail(str(fault))
        except Exception as error:  # noqa: BLE001  # a hostile answer must not hold back those who wait
            self._fail(f"{type(error).__name__} while reading its answer")
        finally:
            with self._changed:
                self._ended = self._begun
                self._changed.notify_all()

    def _take(self, keys: KeySet) -> None:
        if self._failures:
            log.warning("the keys of %s can be fetched again", self._issuer)
        (known, _), now = self._held, self._clock()
        self._held, self._failures = (keys, now), 0
        if known is not None and known.fingerprints != keys.fingerprints:
            log.warning("the keys of %s have changed: it has %d now", self._issuer, len(keys.keys))
        if self._file is not None:
            self._file.write(keys, now)

    def _fail(self, reason: str) -> None:
        if not self._failures:
            left = self._ages.most - (self._clock() - self._held[1])
            kept = f"those of before serve for {left:.0f} s more" if self.present() else "there are none"
            log.warning("the keys of %s cannot be fetched: %s (%s)", self._issuer, reason, kept)
        self._failures += 1
