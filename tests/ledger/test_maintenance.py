"""Commands have a running gateway prune, rebuild and reprice: the process that keeps the ledger does it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from kit.ledger_figures import books_in
from kit.ledger_lines import CALENDAR, NOW, settled

from flask_gateway.ledger.bookkeeper import NoAccounts
from flask_gateway.ledger.books import Books
from flask_gateway.ledger.maintenance import ANSWER, REQUEST, Maintenance, WorkAnswer, answer, ask, requested
from flask_gateway.ledger.pruning import Kept
from flask_gateway.ledger.repair import Priced


class Noted(NoAccounts):
    """Notes that accounts are to be opened again."""

    def __init__(self) -> None:
        self.changes = 0

    def changed(self) -> None:
        self.changes += 1


def serving(data: Path, accounts: Noted | None = None) -> Books:
    books = books_in(data)
    books._accounts = accounts
    price = lambda upstream, model, units, at: Priced(7, "r") if model == "known" else None  # noqa: E731
    books.maintenance = Maintenance(CALENDAR, Kept(days=5), lambda: price)
    return books


def asked(books: Books, action: str) -> WorkAnswer:
    """The answer to a command, while the gateway turns."""
    answers: list[WorkAnswer | None] = []
    command = threading.Thread(target=lambda: answers.append(ask(books.data, action, patience=20)))
    command.start()
    while command.is_alive():
        books.turn()
        command.join(0.01)
    (found,) = answers
    assert found is not None
    assert list(books.data.glob("maintenance.*")) == []
    return found


def test_a_running_gateway_reprices_rebuilds_and_prunes(tmp_path: Path) -> None:
    accounts = Noted()
    books = serving(tmp_path, accounts)
    for n, fields in enumerate(
        ({"upstream_model": "known"}, {"upstream_model": "other"}, {"at": NOW - 10 * 86400})
    ):
        more: dict[str, Any] = {"cost": 1 if "at" in fields else None, **fields}
        books.journal.write(settled(n, **more))
    books.turn()
    assert asked(books, "reprice").told == {"priced": 1, "cost": "0.000000007"}
    assert asked(books, "rebuild").told == {"charges": 3}
    assert accounts.changes == 2
    assert asked(books, "prune").told == {"deleted": 1}
    assert accounts.changes == 2
    refused = asked(books, "rebuild")
    assert refused.told == {}
    assert "old charges have been deleted" in refused.fault
    books.close()


def test_without_an_answer_the_command_gives_up_and_takes_its_request_back(tmp_path: Path) -> None:
    answer(tmp_path, WorkAnswer("of another command"))
    assert ask(tmp_path, "reprice", patience=0.1) is None
    assert not (tmp_path / REQUEST).exists()
    assert (tmp_path / ANSWER).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"action":"reprice"}'])
def test_a_request_that_is_none_is_taken_away(tmp_path: Path, text: bytes) -> None:
    (tmp_path / REQUEST).write_bytes(text)
    assert requested(tmp_path) is None
    assert requested(tmp_path) is None
    assert not (tmp_path / REQUEST).exists()
