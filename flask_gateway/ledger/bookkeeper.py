"""Moves journals into the ledger. One process of the machine does: the holder of a lock.

A turn reads each journal from the place that the database remembers, and writes rows and the new place in one
transaction. So a bookkeeper that dies between any two lines loses none and counts none twice. When a worker
has died, the calls that it admitted and did not settle are charged with the amounts that they held.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple, Protocol

from ..model.calendar_windows import Calendar
from . import database
from .file_lock import lock_file
from .journal import UNFINISHED
from .lines import MOST, Alerted, Opened, Read, Settled, decode
from .places import LedgerPlace, LocalLedger
from .posting import Batch, Place
from .pruning import Kept, prune_step

log = logging.getLogger(__name__)

#: Lines of one transaction, and bytes read for it.
LINES = 800
_BYTES = 256 * 1024
assert _BYTES > 2 * MOST


class Progress(NamedTuple):
    """One turn: the lines that were read, those that were damaged, and the calls found lost."""

    lines: int = 0
    damaged: int = 0
    lost: int = 0

    def plus(self, other: Progress) -> Progress:
        return Progress(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class AccountPosts(Protocol):
    """Brings costs to the accounts that did not get them (``guards/account_posting.py``)."""

    def before(self, journal: str, lines: Sequence[tuple[Settled, int]]) -> Mapping[str, int]: ...

    def after(self, lines: Sequence[tuple[Settled, int]], marks: Mapping[str, int]) -> None: ...

    def lost(self, worker: str, opened: Opened, line: Settled) -> None: ...

    def forget(self, journal: str) -> None: ...

    def turned(self) -> None: ...

    def changed(self) -> None: ...


class NoAccounts:
    """Stands for the accounts of a ledger without budgets."""

    def before(self, journal: str, lines: Sequence[tuple[Settled, int]]) -> Mapping[str, int]:
        return {}

    def after(self, lines: Sequence[tuple[Settled, int]], marks: Mapping[str, int]) -> None:
        """Do nothing."""

    def lost(self, worker: str, opened: Opened, line: Settled) -> None:
        """Do nothing."""

    def forget(self, journal: str) -> None:
        """Do nothing."""

    def turned(self) -> None:
        """Do nothing."""

    def changed(self) -> None:
        """Do nothing."""


class Bookkeeper:
    """Keeps the ledger of one data directory. One thread uses it.

    :param data: the data directory; it has ``journal/``.
    :param calendar: the time zone of reports and windows.
    :param clock: epoch seconds.
    :param accounts: get the costs of lines that they do not have.
    :param place: the ledger; ``None``: the file in the data directory.
    """

    def __init__(
        self,
        data: Path,
        calendar: Calendar,
        clock: Callable[[], float] = time.time,
        accounts: AccountPosts | None = None,
        place: LedgerPlace | None = None,
    ) -> None:
        self._accounts: AccountPosts = accounts or NoAccounts()
        self._journals = data / "journal"
        self._calendar = calendar
        self._clock = clock
        self._tags: dict[int, set[tuple[str, str]]] = {}
        #: The bytes of each journal that have been read.
        self._read: dict[str, int] = {}
        self._lock = lock_file(data / "bookkeeper.lock")
        try:
            self._database = (place or LocalLedger(data)).write()
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Close the database and let another process keep the books."""
        self._database.close()
        os.close(self._lock)

    def turn(self) -> Progress:
        """Read what all workers have written since the last turn.

        :raises sqlite3.Error: the database cannot be written now. Nothing is lost; the next turn reads on.
        """
        progress = Progress()
        for worker, names in groupby(sorted(self._sizes()), key=_worker):
            progress = progress.plus(self._read_worker(worker, list(names)))
        self._accounts.turned()
        return progress

    def has_news(self) -> bool:
        """Whether journals have lines that have not been read.

        It is cheaper than a turn, and does not see that a worker has ended.

        :raises OSError: the journals cannot be listed.
        """
        return self._sizes() != self._read

    def prune(self, kept: Kept, *, at_once: bool = False) -> int:
        """Delete a step of old rows. Return how many; 0: none is left.

        :param at_once: trust the clock, even if it is months ahead of the last time.
        """
        return prune_step(self._database, kept, self._clock(), self._calendar, at_once=at_once)

    @property
    def connection(self) -> sqlite3.Connection:
        """The only connection that writes."""
        return self._database

    def _sizes(self) -> dict[str, int]:
        """The journals by name, each with its bytes."""
        with os.scandir(self._journals) as entries:
            return {e.name: e.stat().st_size for e in entries if not e.name.startswith(UNFINISHED)}

    def _read_worker(self, worker: str, names: list[str]) -> Progress:
        # A file that is free gets no more lines, so it is asked before it is read. A worker frees its
        # newest file only after it has made another, or when it ends.
        free = [name for name in names if _free(self._journals / name)]
        ended = names[-1] in free and self._newest(worker) == names[-1]
        progress = Progress()
        for name in names:
            progress = progress.plus(self._read_file(name, whole=name in free))
        if ended:
            progress = progress.plus(Progress(lost=self._lose(worker, names[-1])))
        for name in (name for name in free if ended or name != names[-1]):
            self._delete(name)
        return progress

    def _newest(self, worker: str) -> str:
        return max(name for name in self._sizes() if _worker(name) == worker)

    def _delete(self, name: str) -> None:
        (self._journals / name).unlink()
        database.forget(self._database, name)
        self._read.pop(name, None)
        self._accounts.forget(name)

    def _read_file(self, name: str, *, whole: bool) -> Progress:
        """Read a file to its end.

        :param whole: nothing is written to it any more, so a last line without its newline is complete or
            torn.
        """
        progress = Progress()
        if not whole and self._read.get(name) == (self._journals / name).stat().st_size:
            return progress
        number, offset = database.place(self._database, name)
        with (self._journals / name).open("rb", buffering=0) as file:
            while True:
                file.seek(offset)
                buffer = file.read(_BYTES) or b""
                lines = _lines(buffer, offset, whole=whole)
                if not lines:
                    self._read[name] = offset
                    return progress
                damaged = _damaged(file, lines)
                self._post(name, number, lines, damaged)
                offset = lines[-1].end
                progress = progress.plus(Progress(len(lines), damaged))

    def _post(self, name: str, number: int, lines: list[Read], damaged: int) -> None:
        worker = _worker(name)
        batch = Batch(self._calendar, self._tags)
        # A call that is opened and ended by these lines needs no row among the calls in flight.
        opened: dict[int, Opened] = {}
        ended: list[int] = []
        settled: list[tuple[Settled, int]] = []
        for line, end, _ in lines:
            if isinstance(line, Opened):
                opened[line.n] = line
            elif isinstance(line, Settled):
                settled.append((line, end))
                batch.add(line, Place(number, end))
                if line.end and opened.pop(line.n, None) is None:
                    ended.append(line.n)
        alerts = [line for line, *_ in lines if isinstance(line, Alerted)]
        if damaged:
            log.error("%d damaged lines in a journal of worker %s were skipped", damaged, worker)
        marks = self._accounts.before(name, settled)
        with database.transaction(self._database):
            database.open_calls(self._database, worker, opened.values())
            database.end_calls(self._database, worker, ended)
            database.insert(self._database, batch)
            database.note_alerts(self._database, alerts)
            database.move(self._database, number, lines[-1].end, damaged)
        self._accounts.after(settled, marks)

    def _lose(self, worker: str, last: str) -> int:
        """Charge the calls that a dead worker left open with the amounts that they held."""
        opened = database.calls_in_flight(self._database, worker)
        if not opened:
            return 0
        number, offset = database.place(self._database, last)
        batch = Batch(self._calendar, self._tags)
        for row, line in enumerate(opened, 1):
            lost = _lost(line, self._clock())
            self._accounts.lost(worker, line, lost)
            batch.add(lost, Place(number, offset + row))
        with database.transaction(self._database):
            database.insert(self._database, batch)
            database.end_calls(self._database, worker, [line.n for line in opened])
        log.warning("worker %s ended with %d calls in flight; they are charged as lost", worker, len(opened))
        return len(opened)


def _lines(buffer: bytes, offset: int, *, whole: bool) -> list[Read]:
    """The lines of a buffer; of a buffer that is full and has none, one damaged line."""
    if whole and buffer and len(buffer) < _BYTES:
        buffer += b"\n"
    lines = list(islice(decode(buffer, offset), LINES))
    if not lines and len(buffer) == _BYTES:
        return [Read(None, offset + _BYTES)]
    return lines


def _damaged(file: FileIO, lines: list[Read]) -> int:
    """Count the lines that cannot be read, but those that were torn and written again behind them."""
    damaged = [line for line in lines if line.line is None]
    if not damaged:
        return 0
    first = damaged[0].end - 1
    file.seek(first)
    later = file.read()
    return sum(not line.comes_again(later, line.end - 1 - first) for line in damaged)


def _lost(line: Opened, now: float) -> Settled:
    # Without a hold nobody knows what it cost, so its cost is unknown, not 0.
    cost = max((hold.amount for hold in line.holds), default=None)
    return Settled(
        n=line.n,
        id=line.id,
        at=max(now, line.at),
        key=line.key,
        team=line.team,
        user=line.user,
        model=line.model,
        cost=cost,
        source="lost",
        status=0,
    )


def _worker(name: str) -> str:
    return name.rpartition(".")[0]


def _free(path: Path) -> bool:
    """Tell whether the worker that writes a journal has ended."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
