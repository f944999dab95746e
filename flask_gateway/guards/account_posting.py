"""Brings costs from the journals to the accounts that did not get them (``ledger.bookkeeper.AccountPosts``).

Each line names the accounts that have its cost, by their marks. An account that is there and has another mark
did not get it: the store was busy or had lost the account, or the worker was killed. In doubt a cost counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..ledger.lines import Opened, Settled
from ..ledger.posting import subjects
from ..model.spend import Hold
from .account_changes import Settlement
from .accounts import Accounts


class AccountPosting:
    """Posts the lines of each batch once, also when the database refuses the batch and gets it again.

    One thread uses it. If its process dies between the account and the database, the next one posts again.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        #: Called with a line that reached an account late, the account's subject and the settlement.
        self.watch: Callable[[Settled, str, Settlement], None] = _nothing
        #: By journal: the offset up to which lines have been posted.
        self._posted: dict[int, int] = {}
        #: The lost calls that have been posted, by worker and number.
        self._lost: set[tuple[str, int]] = set()

    def before(self, journal: int, lines: Sequence[tuple[Settled, int]]) -> dict[str, int]:
        """Post to the accounts that are there. Call it before the lines are written to the database.

        :param lines: each with the offset behind it.
        :returns: the marks of those accounts, for :meth:`after`.
        """
        done = self._posted.get(journal, 0)
        new = [line for line, end in lines if end > done]
        marks = self._marks(line for line, _ in lines)
        self._post(new, marks)
        if lines:
            self._posted[journal] = max(done, lines[-1][1])
        return marks

    def after(self, lines: Sequence[tuple[Settled, int]], marks: Mapping[str, int]) -> None:
        """Post to the accounts that have been opened since :meth:`before`: they may not know the lines."""
        present = self._marks(line for line, _ in lines)
        opened = {subject: mark for subject, mark in present.items() if marks.get(subject) != mark}
        if opened:
            self._post([line for line, _ in lines], opened)

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

    def forget(self, journal: int, worker: str) -> None:
        """Forget a journal that is deleted."""
        self._posted.pop(journal, None)
        self._lost = {place for place in self._lost if place[0] != worker}

    def turned(self) -> None:
        """Note that the database has all that the journals had."""
        self._accounts.now_current()
        self._accounts.forget_doubted()

    def changed(self) -> None:
        """Forget all accounts, because sums of the ledger have been changed. Calls open them again."""
        self._accounts.forget_all()

    def _marks(self, lines: Iterable[Settled]) -> dict[str, int]:
        groups = {subjects(line) for line in lines if line.cost}
        found = {subject for group in groups for subject in group}
        return {subject: mark for subject in found if (mark := self._accounts.mark(subject))}

    def _post(self, lines: Iterable[Settled], marks: Mapping[str, int]) -> None:
        if not marks:
            return
        costs: dict[str, int] = defaultdict(int)
        last: dict[str, Settled] = {}
        for line in lines:
            if line.cost:
                applied = {account.subject: account.mark for account in line.applied}
                for subject in marks.keys() & subjects(line):
                    if applied.get(subject) != marks[subject]:
                        costs[subject] += line.cost
                        last[subject] = line
        for subject, cost in costs.items():
            self.watch(last[subject], subject, self._accounts.post(subject, cost))


def _nothing(line: Settled, subject: str, settlement: Settlement) -> None:
    """Stands for a watch that there is none of."""
