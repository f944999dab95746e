"""Brings costs from the journals to the accounts that did not get them (``ledger.bookkeeper.AccountPosts``).

Each line names the accounts that have its cost, by their marks. An account that is there and has another mark
did not get it: the store was busy or had lost the account, the worker was killed, or it left the settlement
to the bookkeeper, as busy workers do. In doubt a cost counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ..ledger.lines import Opened, Settled, decode
from ..ledger.posting import subjects
from ..model.spend import Applied, BooksUnknown, Hold
from .account_changes import Settlement
from .accounts import Accounts

#: The subjects without an account whose costs are watched in one turn.
MOST_WITHOUT_ACCOUNT = 1024


class AccountPosting:
    """Posts the lines of each batch once, also when the database refuses the batch and gets it again.

    One thread uses it. If its process dies between the account and the database, the next one knows by the
    store how far it came.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        #: Called with a line that reached an account late, the account's subject and the settlement.
        self.watch: Callable[[Settled, str, Settlement], None] = _nothing
        #: By the name of a journal: the offset up to which lines have been posted.
        self._posted: dict[str, int] = {}
        #: The lost calls that have been posted, by worker and number.
        self._lost: set[tuple[str, int]] = set()
        #: By subject: the cost of this turn that no account got, and the last of its lines.
        self._without_account: dict[str, tuple[int, Settled]] = {}

    def before(self, journal: str, lines: Sequence[tuple[Settled, int]]) -> dict[str, int]:
        """Post to the accounts that are there. Call it before the lines are written to the database.

        :param journal: its name. :param lines: each with the offset behind it.
        :returns: the marks of those accounts, for :meth:`after`.
        """
        done = max(self._posted.get(journal, 0), self._accounts.posted(journal))
        new = [line for line, end in lines if end > done]
        marks = self._marks(line for line, _ in lines)
        self._post(new, marks, releases=True)
        if new and marks:
            self._posted[journal] = lines[-1][1]
            self._accounts.note_posted(journal, lines[-1][1])
        return marks

    def after(self, lines: Sequence[tuple[Settled, int]], marks: Mapping[str, int]) -> None:
        """Post to the accounts that have been opened since :meth:`before`: they may not know the lines."""
        present = self._marks(line for line, _ in lines)
        opened = {subject: mark for subject, mark in present.items() if marks.get(subject) != mark}
        if opened:
            self._post([line for line, _ in lines], opened, releases=False)
        for line, _ in lines:
            if line.cost and (line.held or line.applied):
                for subject in _unsettled(line) - present.keys():
                    self._note_absent(line, subject)

    def lost(self, worker: str, opened: Opened, line: Settled) -> None:
        """Settle a call whose worker has ended, in its name. Call it before the line is written."""
        if (worker, opened.n) in self._lost:
            return
        self._lost.add((worker, opened.n))
        held = {hold.subject: hold for hold in opened.holds}
        for subject in {*subjects(line), *held}:
            if self._accounts.mark(subject):
                hold = held.get(subject, Hold(subject, 0, 0, 0))
                self.watch(line, subject, self._accounts.settle_of(hold, line.cost or 0))
            elif subject in held:
                self._note_absent(line, subject)

    def dropped(self, text: bytes) -> None:
        """Settle what a line holds that could not be kept: the ledger will not have it."""
        for line, *_ in decode(text):
            if isinstance(line, Settled):
                for hold in line.held:
                    self._accounts.settle_of(hold, line.cost or 0)

    def forget(self, journal: str) -> None:
        """Forget a journal that is deleted."""
        worker = journal.rpartition(".")[0]
        self._posted.pop(journal, None)
        self._lost = {place for place in self._lost if place[0] != worker}

    def turned(self) -> None:
        """Note that the database has all that the journals had."""
        self._watch_ledger()
        self._accounts.now_current()
        self._accounts.forget_doubted()

    def changed(self) -> None:
        """Forget all accounts, because sums of the ledger have been changed. Calls open them again."""
        self._accounts.forget_all()

    def _note_absent(self, line: Settled, subject: str) -> None:
        """Note the cost of a line for one of its budgets that has no account."""
        noted = self._without_account
        if subject in noted or len(noted) < MOST_WITHOUT_ACCOUNT:
            cost, _ = noted.get(subject, _NO_COST)
            noted[subject] = cost + (line.cost or 0), line

    def _watch_ledger(self) -> None:
        """Watch costs that no account got, by the sums of the ledger. No later settlement crosses a share
        that they crossed."""
        noted, self._without_account = self._without_account, {}
        for subject, (cost, line) in noted.items():
            try:
                sums = self._accounts.in_ledger(subject, line.at)
            except BooksUnknown:
                self._without_account[subject] = cost, line
                continue
            windows = tuple((start, used - cost, used) for start, used in sums)
            self.watch(line, subject, Settlement(0, windows))

    def _marks(self, lines: Iterable[Settled]) -> dict[str, int]:
        groups = {subjects(line) for line in lines if line.cost or line.held}
        found = {subject for group in groups for subject in group}
        return {subject: mark for subject in found if (mark := self._accounts.mark(subject))}

    def _post(self, lines: Sequence[Settled], marks: Mapping[str, int], *, releases: bool) -> None:
        """:param releases: what lines hold, together with their costs."""
        if not marks:
            return
        costs = _missing(lines, marks)
        held = _held(lines) if releases else {}
        for subject in {*costs, *held}:
            cost, line = costs.get(subject, _NO_COST)
            for (holder, epoch), amount in (held.get(subject) or _NO_ROWS).items():
                settlement = self._accounts.settle_of(Hold(subject, holder, epoch, amount), cost)
                if cost and line is not None:
                    self.watch(line, subject, settlement)
                cost = 0  # it counts once, with the first row


#: The amounts that the rows of one account hold, by holder and epoch.
_Rows = Mapping[tuple[int, int], int]
_NO_ROWS: _Rows = {(0, 0): 0}
_NO_COST = (0, None)


def _unsettled(line: Settled) -> set[str]:
    """The budgets of a call whose accounts did not get its cost when it ended."""
    return {hold.subject for hold in line.held} | {one.subject for one in line.applied if not one.mark}


def _missing(lines: Iterable[Settled], marks: Mapping[str, int]) -> dict[str, tuple[int, Settled | None]]:
    """The costs that accounts do not have, by subject, each with the last of their lines."""
    found: dict[str, tuple[int, Settled | None]] = {}
    groups: dict[tuple[tuple[str, ...], tuple[Applied, ...]], tuple[int, Settled]] = {}
    for line in lines:
        if line.cost:
            place = subjects(line), line.applied
            cost, _ = groups.get(place, _NO_COST)
            groups[place] = cost + line.cost, line
    for (names, applied), (more, line) in groups.items():
        for subject in marks.keys() & names:
            if Applied(subject, marks[subject]) not in applied:
                cost, _ = found.get(subject, _NO_COST)
                found[subject] = cost + more, line
    return found


def _held(lines: Iterable[Settled]) -> dict[str, dict[tuple[int, int], int]]:
    """The amounts that lines hold, by subject and row."""
    found: dict[str, dict[tuple[int, int], int]] = {}
    for line in lines:
        for hold in line.held:
            rows, row = found.setdefault(hold.subject, {}), (hold.holder, hold.epoch)
            rows[row] = rows.get(row, 0) + hold.amount
    return found


def _nothing(line: Settled, subject: str, settlement: Settlement) -> None:
    """Stands for a watch that there is none of."""
