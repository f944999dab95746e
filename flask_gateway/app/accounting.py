"""Builds what keeps account of calls. Imported only where a data directory is set."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import msgspec

from ..config.schema import Settings
from ..ledger.accounted import AccountedService, JournalGuard
from ..ledger.books import Books
from ..ledger.costing import Costing
from ..model.calendar_windows import Calendar, zone
from ..model.protocols import Service
from ..telemetry.metrics import Reports
from .prices import TABLE, prices_of, providers_of, tables_in

log = logging.getLogger(__name__)


class Accounting(msgspec.Struct, frozen=True):
    """The ledger of this process, which a reload keeps, and the prices of its settings."""

    books: Books
    costing: Costing
    tell: bool

    def guard(self) -> JournalGuard:
        """The last guard: it writes the line that opens a call."""
        return JournalGuard(self.books.journal, self.books.clock)

    def around(self, service: Service) -> Service:
        """Return the guarded service with its calls settled in the journal."""
        return AccountedService(service, self.books.journal, self.costing, self.books.clock, tell=self.tell)


def accounting_of(settings: Settings, books: Books | None, reports: Reports) -> Accounting:
    """Return the accounting for those settings.

    :param books: kept from before a reload; ``None``: they are opened.
    """
    ledger = settings.ledger
    assert ledger.data is not None
    data = Path(ledger.data)
    if books is None:
        books = Books(data, Calendar(zone(ledger.timezone), ledger.week_starts), reports)
    costing = costing_of(settings, data)
    books.each_second = partial(_follow, costing, settings, data)
    return Accounting(books, costing, ledger.tell_cost)


def costing_of(settings: Settings, data: Path) -> Costing:
    """Return the prices of the settings' upstreams."""
    mark = _mark(data)
    prices = prices_of(settings, tables_in(data))
    return Costing(prices, providers_of(settings, prices), mark)


def _follow(costing: Costing, settings: Settings, data: Path) -> None:
    """Read the operator's table again if it has changed."""
    if _mark(data) != costing.mark:
        new = costing_of(settings, data)
        costing.prices, costing.providers, costing.mark = new.prices, new.providers, new.mark
        log.info("the prices in %s are in force", data / TABLE)


def _mark(data: Path) -> tuple[int, ...] | None:
    """Identify a version of the operator's table; ``None`` if there is none."""
    try:
        status = (data / TABLE).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
