"""Keeps the ledger in one process: its journal, a thread that syncs it, and a thread that keeps the books.

In every worker the bookkeeping thread tries to take the lock. The one that has it keeps the books of all
workers; when its process ends, another takes over within a second. Trouble with the disk stops no call: lines
wait, a line a minute is logged, and the metrics show it.
"""

from __future__ import annotations

import atexit
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ..model.calendar_windows import Calendar
from ..reactor import Periodic
from . import database
from .alerts import AlertPoster
from .bookkeeper import AccountPosts, Bookkeeper, Progress
from .journal import Journal
from .maintenance import Maintenance, WorkAnswer, answer, is_requested, requested
from .places import LedgerPlace
from .pruning import Kept

log = logging.getLogger(__name__)

#: Seconds between two turns of the bookkeeper, and between two tries to become it.
TURN, TRY = 0.25, 0.75
#: Without news there is a turn after so many seconds. It sees that a worker has ended.
QUIET = 0.9
#: Seconds between two times at which old rows are deleted.
PRUNE = 3600.0
#: Seconds between two syncs of the journal.
SYNC = 1.0
#: Seconds between two log lines about trouble.
_PAUSE = 60.0
#: The trouble of a disk or a database. It may pass.
TROUBLE = (OSError, sqlite3.Error, database.LedgerError)


class Figures(Protocol):
    """Shows how the ledger is doing (``telemetry/metrics.py``)."""

    def ledger_lost(self, lines: int) -> None:
        """So many lines could not be kept."""
        ...

    def ledger_state(self, degraded: bool, lag: float) -> None:
        """:param degraded: something cannot be written now. :param lag: seconds since the last turn."""
        ...


class Books:
    """The ledger of this process. Build it after the fork.

    :param data: the data directory. It is made if it is missing.
    :param calendar: the time zone of reports and windows.
    :param clock: epoch seconds.
    :param accounts: get the costs of lines that they do not have.
    :param kept: how many charges are kept.
    :param alerts: posts alerts of budgets from the process that keeps the books.
    :param place: the ledger; ``None``: the file in the data directory.
    """

    def __init__(  # noqa: PLR0913  each has another source
        self,
        data: Path,
        calendar: Calendar,
        figures: Figures,
        clock: Callable[[], float] = time.time,
        accounts: AccountPosts | None = None,
        kept: Kept = Kept(),  # noqa: B008  # immutable
        alerts: AlertPoster | None = None,
        place: LedgerPlace | None = None,
    ) -> None:
        #: ``time.monotonic()`` of the start.
        self.began = time.monotonic()
        self._accounts = accounts
        self._place = place
        self.data = data
        self.calendar = calendar
        self.clock = clock
        self._journals = data / "journal"
        self.journal = Journal(self._journals)
        #: Called once a second, such as to read prices that have changed.
        self.each_second: Callable[[], None] = _nothing
        #: The work that the operator's commands may ask for; ``None``: none.
        self.maintenance: Maintenance | None = None
        self._figures = figures
        self._kept = kept
        self._next_prune = 0.0
        self._bookkeeper: Bookkeeper | None = None
        self._next_try = 0.0
        self._next_log = 0.0
        #: When the books were up to date, ``time.monotonic()``, and whether the bookkeeper is in trouble.
        self._turned = time.monotonic()
        self._troubled = False
        self._next_turn = 0.0
        self._lost = 0
        self._alerts = alerts
        self._threads = [Periodic("bookkeeper", TURN, self._turn), Periodic("journal", SYNC, self.sync)]
        if alerts is not None:
            self._threads.append(Periodic("alerts", SYNC, self.post_alerts))
        self._make_directories()

    def start(self) -> None:
        """Start the threads. When the process exits, they end what they have begun."""
        for thread in self._threads:
            thread.start()
        atexit.register(self.finish)

    @property
    def keeps(self) -> bool:
        """Whether this process keeps the books of all workers."""
        return self._bookkeeper is not None

    def turn(self) -> Progress:
        """Bring the books up to date, if this process keeps them or may begin to. One thread calls this."""
        if self._bookkeeper is None and not self._take_over():
            return Progress()
        assert self._bookkeeper is not None
        try:
            progress = self._bookkeeper.turn()
            self._prune(self._bookkeeper)
            self._maintain(self._bookkeeper)
            if self._alerts is not None:
                self._alerts.note(self._bookkeeper.connection)
        except TROUBLE as error:
            self._complain(error)
            with suppress(sqlite3.Error):
                database.make_room(self._bookkeeper.connection)
            return Progress()
        self._turned, self._troubled = time.monotonic(), False
        if progress.damaged:
            self._figures.ledger_lost(progress.damaged)
        return progress

    def _turn(self) -> None:
        now = time.monotonic()
        if self._has_work(now):
            self._next_turn = now + QUIET
            self.turn()
        else:
            self._turned = now

    def _has_work(self, now: float) -> bool:
        """Whether a turn is due. The answer costs less than a turn in which nothing happens."""
        bookkeeper = self._bookkeeper
        if bookkeeper is None or self._troubled or now >= min(self._next_turn, self._next_prune):
            return True
        asked = is_requested(self.data) or (self._alerts is not None and self._alerts.has_results)
        try:
            return asked or bookkeeper.has_news()
        except OSError:
            return True  # the turn complains

    def sync(self) -> None:
        """Bring the journal to the disk, and show how the ledger is doing. One thread calls this."""
        try:
            self._make_directories()
            self.journal.sync()
        except OSError as error:
            self._complain(error)
        if lost := self.journal.lost - self._lost:
            self._lost += lost
            self._figures.ledger_lost(lost)
        lag = time.monotonic() - self._turned if self.keeps else 0.0
        self._figures.ledger_state(self.journal.degraded or self._troubled, lag)
        self.each_second()

    def post_alerts(self) -> None:
        """Post alerts of budgets, if this process keeps the books. One thread calls this."""
        if self.keeps and self._alerts is not None:
            self._alerts.work()

    def finish(self) -> None:
        """End the threads, each after the work that it has begun.

        The next bookkeeper would do again a turn that stopped between accounts and ledger, and
        post an alert again.
        """
        atexit.unregister(self.finish)
        for thread in reversed(self._threads):
            thread.stop()
        if self._bookkeeper is not None and self._alerts is not None:
            with suppress(*TROUBLE):
                self._alerts.note(self._bookkeeper.connection)

    def close(self) -> None:
        """End the threads, and release the journal and the lock, as the end of the process does."""
        self.finish()
        self.journal.close()
        if self._bookkeeper is not None:
            self._bookkeeper.close()
            self._bookkeeper = None

    def _prune(self, bookkeeper: Bookkeeper) -> None:
        """Once an hour delete old rows, one step in each turn until none is left."""
        now = time.monotonic()
        if now >= self._next_prune and not bookkeeper.prune(self._kept):
            self._next_prune = now + PRUNE

    def _maintain(self, bookkeeper: Bookkeeper) -> None:
        """Do the work that a command asks for. It may take long: journals wait meanwhile."""
        request = requested(self.data) if self.maintenance is not None else None
        if request is None or self.maintenance is None:
            return
        log.info("the ledger: %s, as a command asks", request.action)
        try:
            found = WorkAnswer(request.id, self.maintenance.run(bookkeeper, request.action))
        except TROUBLE as error:
            found = WorkAnswer(request.id, fault=str(error))
        if self._accounts is not None and request.action != "prune":
            self._accounts.changed()
        answer(self.data, found)

    def _take_over(self) -> bool:
        now = time.monotonic()
        if now < self._next_try:
            return False
        self._next_try = now + TRY
        try:
            self._bookkeeper = Bookkeeper(self.data, self.calendar, self.clock, self._accounts, self._place)
        except BlockingIOError:  # another process keeps the books
            self._troubled = False
            return False
        except TROUBLE as error:
            self._complain(error)
            return False
        self._turned = now
        return True

    def _make_directories(self) -> None:
        if self._journals.is_dir():
            return
        for directory in (self.data, self._journals):
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                self._complain(error)
                return

    def _complain(self, error: Exception) -> None:
        self._troubled, now = True, time.monotonic()
        if now >= self._next_log:
            self._next_log = now + _PAUSE
            log.error(
                "the ledger in %s cannot be kept now (%s). Calls go on; it is tried again.", self.data, error
            )


def _nothing() -> None:
    """Stands for work that there is none of."""
