"""Builds what keeps account of calls. Imported only where a data directory is set."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..config.schema import LedgerSettings, Settings
from ..guards.account_changes import Settlement
from ..guards.account_posting import AccountPosting
from ..guards.accounts import Accounts
from ..guards.budgets import BudgetGuard
from ..guards.openings import Balances
from ..guards.token_estimate import Estimates
from ..ledger.accounted import AccountedService, JournalGuard, adjustment
from ..ledger.alerts import AlertPoster, Webhook
from ..ledger.balances import LedgerBalances
from ..ledger.books import Books
from ..ledger.costing import Costing
from ..ledger.lines import Settled
from ..ledger.maintenance import Maintenance
from ..ledger.places import ledger_of
from ..ledger.pruning import Kept
from ..ledger.quotes import Quotes
from ..ledger.user_digest import user_digest
from ..model.calendar_windows import Calendar, zone
from ..model.call import Call
from ..model.protocols import Service
from ..model.spend import BooksUnknown
from ..state.store import Store
from ..telemetry.metrics import Reports
from .line_limits import LineLimits
from .prices import TABLE, pricer, prices_of, providers_of, tables_in

if TYPE_CHECKING:
    from ..auth.issued_keys import IssuedKeys

log = logging.getLogger(__name__)

#: How long after its start a process is not ready while the ledger is behind the journals, seconds.
_CATCH_UP = 5.0

#: Returns the upstreams that may answer a call, each with its name for the model.
Targets = Callable[[Call], Iterable[tuple[str, str]]]


class Accounting(msgspec.Struct, frozen=True):
    """The ledger and the accounts of this process, which a reload keeps, and the prices of its settings."""

    books: Books
    accounts: Accounts
    posting: AccountPosting
    budgets: BudgetGuard
    costing: Costing
    tell: bool
    #: Replaces the names of end users; ``None``: they are kept.
    user_digest: Callable[[str], str] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the ledger has what journals had at the start, so that no budget opens with too little.

        After five seconds it no longer matters: calls go on, and such budgets count as unverified.
        """
        return time.monotonic() - self.books.began >= _CATCH_UP or self.accounts.are_current

    def adjust(self, subject: str, amount: int, request: str) -> int:
        """Credit or charge one subject until its windows end. It is in force when this returns.

        :param subject: as in ``model/limits.py``. :param amount: nano-dollars; below 0: a credit.
        :param request: the id of the row in the ledger.
        :returns: epoch seconds at which it counts.
        """
        if not self.accounts.mark(subject):  # the next call would open it from a ledger that has it later
            with suppress(BooksUnknown):
                self.accounts.open(subject)
        settlement = self.accounts.post(subject, amount)
        latest = settlement.windows[0][0] if settlement.windows else 0
        at = max(self.books.clock(), latest)
        line = adjustment(self.books.journal.number(), subject, amount, request, at, settlement.mark)
        self.books.journal.write(line)
        self.posting.watch(line, subject, settlement)
        return int(at)

    def guard(self) -> JournalGuard:
        """The last guard: it writes the line that opens a call."""
        return JournalGuard(self.books.journal, self.books.clock)

    def around(self, service: Service) -> Service:
        """Return the guarded service with its calls settled in the journal."""
        return AccountedService(service, self.books.journal, self.costing, self.books.clock, tell=self.tell)


class LedgerCosts:
    """Computes the costs of calls, before and after (``guards.budgets.CallCosts``)."""

    def __init__(self, books: Books, costing: Costing, targets: Targets) -> None:
        self._books = books
        quotes = Quotes(costing, targets, books.clock)
        self.expected, self.most, self.legs = quotes.expected, quotes.most, costing.legs

    @property
    def keeps(self) -> bool:
        return not self._books.journal.degraded


def accounting_of(  # noqa: PLR0913  what a gateway is built of
    settings: Settings,
    before: Accounting | None,
    reports: Reports,
    store: Store,
    estimates: Estimates,
    targets: Targets,
    issued: IssuedKeys | None = None,
) -> Accounting:
    """Return the accounting for those settings.

    :param before: the one before a reload: its ledger and accounts are kept. ``None``: they are opened.
    """
    ledger = settings.ledger
    assert ledger.data is not None
    data = Path(ledger.data)
    kept = (before.books, before.accounts, before.posting) if before else None
    books, accounts, posting = kept or _open(ledger, data, reports, store)
    costing = costing_of(settings, data)
    calendar = Calendar(zone(ledger.timezone), ledger.week_starts)
    books.maintenance = Maintenance(calendar, Kept(ledger.keep_days), partial(pricer, settings, data))
    books.each_second = partial(_follow, costing, settings, data)
    budgets = BudgetGuard(
        accounts,
        estimates,
        LedgerCosts(books, costing, targets),
        reports,
        shares=ledger.alerts,
        tell=ledger.tell_cost,
    )
    digest = before.user_digest if before else user_digest(data) if ledger.users == "digest" else None
    budgets.note = books.journal.write
    limits = LineLimits(settings, issued)

    def watch(line: Settled, subject: str, settlement: Settlement) -> None:
        budgets.watch(subject, limits.of(line, subject), settlement)

    posting.watch = watch
    books.journal.dropped = posting.dropped
    return Accounting(books, accounts, posting, budgets, costing, ledger.tell_cost, digest)


def _open(
    ledger: LedgerSettings, data: Path, reports: Reports, store: Store
) -> tuple[Books, Accounts, AccountPosting]:
    calendar = Calendar(zone(ledger.timezone), ledger.week_starts)
    place, balances = ledger_of(ledger), balances_of(ledger)
    accounts = Accounts(store, balances, calendar, unverified=reports.budget_unverified)
    posting, kept = AccountPosting(accounts), Kept(ledger.keep_days)
    alerts = None
    if ledger.webhook is not None:
        webhook = Webhook(
            ledger.webhook.reveal(), ledger.webhook_secret.reveal() if ledger.webhook_secret else ""
        )
        alerts = AlertPoster(place, webhook, reports, time.time)
    books = Books(data, calendar, reports, accounts=posting, kept=kept, alerts=alerts, place=place)
    return books, accounts, posting


def balances_of(ledger: LedgerSettings) -> Balances:
    """Return the balances with which accounts open."""
    if ledger.database is None:
        return LedgerBalances(Path(ledger.data or ""))
    from ..ledger.postgres_balances import PostgresBalances

    return PostgresBalances(ledger.database.reveal())


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
