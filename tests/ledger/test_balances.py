"""Tests what accounts read from the ledger when they open, and that a ledger that cannot be read says so."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from kit.ledger_figures import books_in
from kit.ledger_lines import settled

from flask_gateway.ledger.balances import LedgerBalances
from flask_gateway.model.spend import BooksUnknown

EVER = (0, 0, 0, 0)


def test_a_ledger_that_is_missing_is_unknown_and_is_tried_again(tmp_path: Path) -> None:
    with closing(LedgerBalances(tmp_path / "data")) as balances:
        for _ in range(2):
            with pytest.raises(BooksUnknown):
                balances.used("key:a", EVER)
        books = books_in(tmp_path / "data")
        books.journal.write(settled(1, key="a", cost=7))
        books.turn()
        books.close()
        assert balances.used("key:a", EVER)[3] == 7
        assert balances.used("key:nobody", EVER) == (0, 0, 0, 0)
