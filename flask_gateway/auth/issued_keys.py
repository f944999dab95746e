"""Knows the issued keys in a worker, and follows their changes.

A call reads one value of the store. If that says that keys have changed, those that are blocked take effect
at once; then one thread reads the changed rows, and the others wait for it briefly. While the database cannot
be read, keys go on as they are known, blocked ones stay blocked, and an unknown key gets 503: it may be new.
A key that was revoked is remembered for a while. It is refused at once, however late the database is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from ..model.errors import KeysUnavailable
from ..reactor import Periodic
from ..state.store import Store
from . import key_rows
from .key_ring import GENERATION, RING, What, news_since
from .key_rows import KnownKey, Position, Table
from .key_store import KeyStore, KeyStoreError

log = logging.getLogger(__name__)

#: How often a worker looks for changes by itself, seconds; and into the database, every so many times.
PERIOD, LOOK_EVERY = 0.25, 4
#: How long a call waits for the thread that reads the database, seconds: with a known key, and without.
KNOWN_WAITS, UNKNOWN_WAITS = 0.05, 2.0
#: More changes than this are not read one by one.
_MOST_CHANGES = 1000
#: The revoked keys and ended secrets that are remembered, by their digests.
_MOST_GONE = 4096
#: How often a call with an unknown key looks whether the copy of the keys has it now, seconds.
_COPY_PAUSE = 0.02
#: For how long calls do not try again to read a database that could not be read, seconds.
_PAUSE = 1.0


class IssuedKeys:
    """The issued keys in one process. Reloads of the settings keep it. Shared by all threads.

    :param end_calls: ends the calls in flight of the callers with these ids.
    :param always: whether there may be keys at any moment; otherwise only once the database exists.
    """

    def __init__(
        self, keys: KeyStore, store: Store, end_calls: Callable[[Collection[str]], None], *, always: bool
    ) -> None:
        self._keys, self._store, self._end_calls, self._always = keys, store, end_calls, always
        #: Replaced as a whole, never changed.
        self._table: Table = {}
        self.teams: Mapping[str, str] = {}
        #: The digests that the table had lately. The oldest come first.
        self._gone: dict[bytes, None] = {}
        #: The numbers of keys that are blocked before their rows are read.
        self._blocked: frozenset[int] = frozenset()
        #: The generation whose changes the table has; the state of the database that was read.
        self._checked: int | None = None
        self._seen = Position(-1)
        self._retry_at = 0.0
        self._reading, self._blocking = threading.Lock(), threading.Lock()
        self._ending: set[str] = set()
        self._ticks = 0
        #: The file that was read, as ``KeyStore.version`` has it; ``None``: perhaps another.
        self._file: tuple[int, ...] | None = None
        self._in_use = always or keys.exists()
        self._periodic = Periodic("keys", PERIOD, self.look)

    def __len__(self) -> int:
        return len(self._table)

    def of_id(self, id: str) -> KnownKey | None:
        """Return a key by its id; ``None`` if there is none, or it is revoked. It looks through all keys."""
        return next((known for known in self._table.values() if known.id == id), None)

    @property
    def version(self) -> int:
        return hash(self._seen)

    def start(self) -> None:
        """Read all keys, and start to follow their changes. Call it after the fork.

        A database that cannot be read now is read as soon as it can be.
        """
        self._store.watch(GENERATION)
        if self._in_use:
            generation = self._store.read(GENERATION)
            with self._reading:
                self._read(generation[0] if generation else None)
        self._periodic.start()

    def find(self, digest: bytes) -> KnownKey | None:
        """Return the key with this SHA-256 digest; ``None`` if it is unknown or revoked.

        :raises KeysUnavailable: it is unknown, and the newest keys could not be read.
        """
        if not self._in_use:
            return None
        generation = self._store.read(GENERATION)
        behind = generation is not None and generation[0] != self._checked
        if behind or self._seen.seq < 0:
            met = digest in self._table or digest in self._gone
            behind = not self._catch_up(generation[0] if generation else None, known=met)
        known = self._table.get(digest)
        if known is None and digest in self._gone:
            return None
        if known is None and self._keys.copies and not behind:
            behind = not self._newest()
            known = self._table.get(digest)
        if known is None and behind and digest not in self._gone:
            raise KeysUnavailable(
                "The gateway cannot read its newest keys at the moment, and this key is not among those it "
                "knows. Try again in a moment.",
                retry_after=1.0,
            )
        return None if known is None or known.number in self._blocked else known

    def look(self) -> None:
        """Look for changes, also for those that only the database shows, and end calls of revoked keys."""
        self._ticks += 1
        self._in_use = self._always or self._keys.exists()
        if self._in_use:
            generation = self._store.read(GENERATION)
            number = generation[0] if generation else None
            if number is not None and number != self._checked:
                self._block(number)
            self._keys.refresh()
            due = self._keys.copies or (self._ticks % LOOK_EVERY == 0 and self._may_differ())
            if due or self._seen.seq < 0 or number not in (None, self._checked):
                with self._reading:
                    self._read(number)
        while self._ending:
            ended, self._ending = self._ending, set()
            self._end_calls(ended)

    def _may_differ(self) -> bool:
        """Whether the database may have changed since the last look."""
        before, self._file = self._file, self._keys.version()
        return self._file is None or self._file != before or self._retry_at > 0.0

    def _follow(self, generation: int | None, waits: float) -> bool:
        """Take over the changes up to a generation. Return whether the table has them."""
        if generation is not None:
            self._block(generation)
        if time.monotonic() < self._retry_at or not self._reading.acquire(timeout=waits):
            return False
        try:
            if self._seen.seq >= 0 and generation in (None, self._checked):
                return True  # another thread has read them meanwhile
            return time.monotonic() >= self._retry_at and self._read(generation)
        finally:
            self._reading.release()

    def _newest(self) -> bool:
        """Take over what other machines have announced just now, which a remembered read does not show."""
        generation = self._store.update(GENERATION, lambda old, now: (old, old), 1.0)
        if generation is None or generation[0] == self._checked:
            return True
        return self._catch_up(generation[0], known=False)

    def _catch_up(self, generation: int | None, *, known: bool) -> bool:
        """Take over the changes up to a generation, before a call goes on. Return whether the table has them.

        A call with a key that is known does not wait for a copy: blocked keys are blocked without it.
        """
        if not self._keys.copies:
            return self._follow(generation, KNOWN_WAITS if known else UNKNOWN_WAITS)
        if known and generation is not None:
            self._block(generation)
            return False
        return self._follow(generation, UNKNOWN_WAITS) or self._wait_for_copy(generation)

    def _wait_for_copy(self, generation: int | None) -> bool:
        """Wait until the copy of the keys has a generation. Return whether the table has it."""
        deadline = time.monotonic() + UNKNOWN_WAITS
        while time.monotonic() < deadline:
            self._periodic.call_soon()
            time.sleep(_COPY_PAUSE)
            if self._follow(generation, UNKNOWN_WAITS):
                return True
        return False

    def _block(self, generation: int) -> None:
        """Block the keys that the ring names, without the database."""
        last = dict(news_since(self._store.read(RING), self._checked).changes)
        blocked = {key for key, what in last.items() if what is not What.LOOK}
        with self._blocking:
            if self._checked != generation:
                self._blocked |= blocked
        ends = {key for key, what in last.items() if what is What.END}
        if ends:
            self._end({known.id for known in self._table.values() if known.number in ends})

    def _end(self, ids: set[str]) -> None:
        if ids:
            self._ending |= ids
            self._periodic.call_soon()

    def _read(self, generation: int | None) -> bool:
        """Read what has changed. The caller holds the lock. Return whether that succeeded."""
        blocked, reached = self._blocked, generation
        try:
            if self._keys.exists():
                reached = self._read_changes(generation)
            elif self._seen.seq < 0:
                self._seen = Position(0)
        except KeyStoreError as error:
            if self._retry_at == 0.0:
                log.warning("flask-gateway: the issued keys cannot be read; those known stay: %s", error)
            self._retry_at = time.monotonic() + _PAUSE
            return False
        self._retry_at = 0.0
        with self._blocking:
            self._checked = reached
            if generation not in (None, reached):
                return False  # the copy is behind: blocked keys stay so
            self._blocked -= blocked
        return True

    def _read_changes(self, generation: int | None) -> int | None:
        """Return the generation whose changes the table has now."""
        with self._keys.reading() as connection:
            reached = self._keys.copied(connection) if self._keys.copies else generation
            now, seen, before = key_rows.position(connection), self._seen, self._table
            if now == seen:
                return reached
            follows = now.seq >= seen.seq and key_rows.follows(connection, seen)
            changed = key_rows.changes_between(connection, seen.seq, now.seq) if follows else {}
            if follows and not changed:  # the audit alone has more
                self._seen = now
                return reached
            if not follows or len(changed) > _MOST_CHANGES:
                self._table = after = key_rows.all_keys(connection)
                ended = _ids(before) - _ids(after) if before else set()
                self._gone = {}
            else:
                kept = {digest: known for digest, known in before.items() if known.number not in changed}
                self._table = after = kept | key_rows.keys_numbered(connection, changed)
                self._remember_gone(digest for digest in before if digest not in after)
                ends = {number for number, what in changed.items() if what is What.END}
                ended = {known.id for known in before.values() if known.number in ends} if ends else set()
            self.teams = key_rows.team_limits(connection)
            self._seen = now
        self._end(ended)
        return reached

    def _remember_gone(self, digests: Iterable[bytes]) -> None:
        gone = {**self._gone, **dict.fromkeys(digests)}
        self._gone = dict.fromkeys(list(gone)[-_MOST_GONE:])


def _ids(table: Table) -> set[str]:
    return {known.id for known in table.values()}
