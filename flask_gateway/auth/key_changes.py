"""Makes one change of the issued keys: rows and audit in one transaction, then an announcement to all.

When it returns, every worker of the machine applies the change from its next call on.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from ..config.errors import one_line
from ..model.errors import KeysUnavailable
from ..state import StoreError
from ..state.store import Store
from . import key_tables as tables
from .key_ring import Change, What, announce
from .key_store import KeyStore, KeyStoreError, transaction

log = logging.getLogger(__name__)

#: Workers look into the database by themselves at least this often, seconds.
_LOOKED = 2.0


class Actor(NamedTuple):
    """Identifies an admin's request, for the audit.

    :param name: of the admin. :param request: the id of the request. :param address: the sender's.
    """

    name: str
    request: str
    address: str


class OneChange:
    """One transaction. Its methods note what it changed."""

    def __init__(self, db: sqlite3.Connection, now: int, actor: Actor) -> None:
        self.db, self.now, self.actor = db, now, actor
        self.seq = 0
        self.changes: list[Change] = []
        self.lines: list[str] = []

    def touched(self, number: int, what: What) -> None:
        """Tell the workers, after the commit, that a key has changed; 0: the teams have."""
        self.seq = tables.add_change(self.db, number, what is What.END)
        self.changes.append(Change(number, what))

    def audit(self, action: str, subject: str, before: Any, after: Any) -> None:
        """Write down what was changed. Neither state has a secret in it."""
        actor, texts = self.actor, [msgspec.json.encode(state).decode() for state in (before, after)]
        entry = {"at": self.now, "action": action, "subject": subject, "before": texts[0], "after": texts[1]}
        tables.add_audit(
            self.db, {**entry, "admin": actor.name, "request": actor.request, "address": actor.address}
        )
        self.lines.append(one_line(f"{actor.name} at {actor.address or '-'}: {action} {subject}"))


class KeyChanges:
    """Makes changes of the issued keys, one at a time on the machine.

    :param clock: epoch seconds.
    """

    def __init__(self, keys: KeyStore, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._keys, self._store, self._clock = keys, store, clock

    @contextmanager
    def change(self, actor: Actor) -> Iterator[OneChange]:
        """Begin a change; commit and announce it at the end of the block. An exception rolls it back.

        :raises KeysUnavailable: the database cannot be changed now, and was not.
        """
        try:
            with self._keys.writing() as db:
                with transaction(db):
                    step = OneChange(db, int(self._clock()), actor)
                    yield step
                self._announce(step)
        except KeyStoreError as error:
            log.error("flask-gateway: a change of keys failed: %s", error)
            raise KeysUnavailable(
                "The keys cannot be changed now, and nothing was changed. Try again; "
                "the gateway's operator finds the cause in the log.",
                retry_after=5.0,
            ) from error
        for line in step.lines:
            log.warning("flask-gateway: admin %s", line)  # the lowest level that every server shows

    @contextmanager
    def reading(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        """Open the database for reading, with the present moment.

        :raises KeysUnavailable: it cannot be read now.
        """
        try:
            if not self._keys.exists():
                with self._keys.writing():
                    pass  # makes the tables
            with self._keys.reading() as db:
                yield db, int(self._clock())
        except KeyStoreError as error:
            log.error("flask-gateway: the keys cannot be read: %s", error)
            raise KeysUnavailable(
                "The keys cannot be read now. Try again; the gateway's operator finds the cause in the log.",
                retry_after=5.0,
            ) from error

    def _announce(self, step: OneChange) -> None:
        if not step.changes:
            return
        try:
            announce(self._store, step.seq, step.changes)
        except StoreError as error:
            log.warning("flask-gateway: the store announces no change of keys: %s", error)
            time.sleep(_LOOKED)  # by then every worker has looked
