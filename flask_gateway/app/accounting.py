"""Builds what keeps account of calls. Imported only where a data directory is set."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..config.schema import Settings
from ..ledger.accounted import AccountedService, JournalGuard
from ..ledger.books import Books
from ..ledger.costing import Costing
from ..model.calendar_windows import Calendar, zone
from ..model.protocols import Service
from ..pricing.table import Prices, shipped
from ..telemetry.metrics import Reports


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
    if books is None:
        assert ledger.data is not None
        calendar = Calendar(zone(ledger.timezone), ledger.week_starts)
        books = Books(Path(ledger.data), calendar, reports)
    return Accounting(books, costing_of(settings), ledger.tell_cost)


def costing_of(settings: Settings) -> Costing:
    """Return the prices of the settings' upstreams."""
    prices = Prices({}, [("shipped", shipped())])
    providers = {upstream.name: prices.provider_of(upstream.url) for upstream in settings.upstreams}
    return Costing(prices, providers)
