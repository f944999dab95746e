"""Openings that ask PostgreSQL: away, frozen, back; no call waits twice."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from kit.ledger_lines import CALENDAR, NOW, settled
from kit.postgres import PostgresServer
from kit.stores import free_port
from kit.waiting import until

from flask_gateway.ledger.bookkeeper import Bookkeeper
from flask_gateway.ledger.journal import Journal
from flask_gateway.ledger.places import PostgresLedger
from flask_gateway.ledger.postgres_balances import PostgresBalances
from flask_gateway.model.spend import BooksUnknown

STARTS = CALENDAR.starts(NOW)


def knows(balances: PostgresBalances) -> bool:
    try:
        return balances.used("all", STARTS) == (5, 5, 5, 5)
    except BooksUnknown:
        return False


def test_no_host_is_books_unknown_and_only_the_first_call_waits() -> None:
    balances = PostgresBalances(f"postgresql://postgres@127.0.0.1:{free_port()}/x")
    for _ in range(3):
        with pytest.raises(BooksUnknown):
            balances.used("all", STARTS)


def test_a_host_that_does_not_answer_delays_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = threading.Event()
    balances = PostgresBalances("postgresql://postgres@127.0.0.1:1/x", clock=lambda: 5.0)
    monkeypatch.setattr(balances, "_connect", connecting.wait)
    for _ in range(20):
        with pytest.raises(BooksUnknown, match="did not take a connection in time"):
            balances.used("all", STARTS)
    connecting.set()


def test_a_frozen_server_is_unknown_and_comes_back(
    data: Path, postgres_server: PostgresServer, postgres_url: str
) -> None:
    server = postgres_server
    with closing(PostgresBalances(postgres_url)) as balances:
        journal = Journal(data / "journal")
        journal.write(settled(5))
        with closing(Bookkeeper(data, CALENDAR, place=PostgresLedger(postgres_url))) as keeper:
            keeper.turn()
        journal.close()
        assert until(lambda: knows(balances))
        server.freeze()
        began = time.monotonic()
        with pytest.raises(BooksUnknown):
            balances.used("all", STARTS)
        for _ in range(50):
            with pytest.raises(BooksUnknown):
                balances.used("all", STARTS)
        assert time.monotonic() - began < 5
        server.thaw()
        assert until(lambda: knows(balances))
        server.kill()
        assert not knows(balances)
        server.start()
        assert until(lambda: knows(balances))
