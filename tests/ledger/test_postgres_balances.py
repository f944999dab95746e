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
    for _ in range(20):
        with pytest.raises(BooksUnknown):
            balances.used("all", STARTS)
    balances.close()


def test_a_host_that_does_not_answer_delays_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = threading.Event()
    balances = PostgresBalances("postgresql://postgres@127.0.0.1:1/x")
    monkeypatch.setattr(balances, "_connect", connecting.wait)
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(BooksUnknown, match="did not take a connection in time"):
            balances.used("all", STARTS)
    assert time.monotonic() - began < 10  # 0.2 s, and not 20
    connecting.set()


def test_a_connection_that_the_server_has_ended_is_made_again_within_the_same_call(
    data: Path, postgres_server: PostgresServer, postgres_url: str
) -> None:
    PostgresLedger(postgres_url).write().close()
    balances = PostgresBalances(postgres_url)
    assert until(lambda: reads(balances))
    for _ in range(3):
        postgres_server.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        )
        assert reads(balances)
    balances.close()


def reads(balances: PostgresBalances) -> bool:
    try:
        return balances.used("all", STARTS) == (0, 0, 0, 0)
    except BooksUnknown:
        return False


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
