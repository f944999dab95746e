"""The commands ``usage``, ``ledger`` and ``prices``, on a ledger that a gateway keeps meanwhile or not."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from kit.admins import AdminClient
from kit.ledger_figures import books_in
from kit.ledger_lines import CALENDAR, settled

from flask_gateway.cli.command import EX_CONFIG, FOUND, OK
from flask_gateway.cli.main import main
from flask_gateway.ledger import database, maintenance
from flask_gateway.ledger.pruning import Kept
from flask_gateway.ledger.repair import Priced
from flask_gateway.state.memory import MemoryStore

Capture = pytest.CaptureFixture[str]
NOVEMBER = ["--since", "2026-11-01", "--until", "2026-12-01"]


def ran(config: dict[str, str], *argv: str) -> int:
    return main(argv, config)


def test_without_a_ledger_the_commands_say_so(config: dict[str, str], capsys: Capture) -> None:
    for argv in (["usage"], ["ledger", "check"], ["ledger", "rebuild"]):
        assert ran(config, *argv) == FOUND
        assert "no gateway has served with it yet" in capsys.readouterr().err
    assert main(["usage", "--config="], {}) == EX_CONFIG


def test_the_check_names_faults_and_missing_prices(
    config: dict[str, str], data: Path, capsys: Capture
) -> None:
    assert ran(config, "ledger", "check") == OK
    assert "up/dear (1)" in capsys.readouterr().out
    with closing(database.write(data / database.NAME)) as connection:
        connection.execute("UPDATE balance SET cost = 7 WHERE subject = 'all'")
    assert ran(config, "ledger", "check", "--json") == FOUND
    assert json.loads(capsys.readouterr().out)["faults"] == [
        "the total of all calls is 1500000000 in one table and 7 in another"
    ]
    assert ran(config, "ledger", "rebuild", "--json") == OK
    assert json.loads(capsys.readouterr().out) == {"charges": 2}
    assert ran(config, "ledger", "check") == OK


def test_a_restored_backup_has_keys_audit_and_ledger(
    config: dict[str, str], data: Path, tmp_path: Path, store: MemoryStore
) -> None:
    copies = tmp_path / "copies"
    before = AdminClient(data, store)
    key, gone = before.make(name="web"), before.make()
    assert ran(config, "ledger", "backup", str(copies), "--json") == OK
    assert ran(config, "ledger", "backup", str(copies), "--json") == OK  # again, over the first copy
    assert sorted(file.name for file in copies.iterdir()) == ["keys.db", "ledger.db"]
    assert {file.stat().st_mode & 0o777 for file in copies.iterdir()} == {0o600}
    before.ask("DELETE", f"/keys/{gone['id']}")
    after = AdminClient(copies, MemoryStore())
    assert [after.status(one["secret"]) for one in (key, gone)] == [200, 200]
    assert len(after.ask("GET", "/audit").json["data"]) == 2  # type: ignore[index]
    (row,) = after.ask("GET", "/usage?by=source&since=2026-11-01&until=2026-12-01").json["data"]  # type: ignore[index]
    assert row["cost"] == "1.500000000"


def test_a_backup_is_made_while_the_gateway_serves(
    config: dict[str, str], data: Path, tmp_path: Path
) -> None:
    books = books_in(data)
    books.turn()
    assert ran(config, "ledger", "backup", str(tmp_path / "copies")) == OK
    copied = tmp_path / "copies" / database.NAME
    assert copied.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copied)) as connection:
        assert connection.execute("SELECT count(*) FROM charge").fetchone() == (2,)
    books.close()


def test_a_running_gateway_does_the_work_of_commands(
    config: dict[str, str], data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    books, ended = books_in(data), threading.Event()
    books.turn()
    monkeypatch.setattr(maintenance, "PATIENCE", 0.2)
    assert ran(config, "ledger", "reprice") == FOUND  # of a version that does not answer
    assert "has not done it within 0.2 s" in capsys.readouterr().err
    monkeypatch.setattr(maintenance, "PATIENCE", 20.0)
    priced = lambda upstream, model, units, at: Priced(5, "r")  # noqa: E731
    books.maintenance = maintenance.Maintenance(CALENDAR, Kept(), lambda: priced)

    def turn() -> None:
        while not ended.wait(0.01):
            books.turn()

    turning = threading.Thread(target=turn)
    turning.start()
    assert ran(config, "ledger", "reprice", "--json") == OK
    assert json.loads(capsys.readouterr().out) == {"priced": 1, "cost": "0.000000005"}
    assert ran(config, "ledger", "rebuild") == OK
    assert ran(config, "ledger", "prune") == OK
    ended.set()
    turning.join()
    books.close()


def test_charges_get_a_price_later(config: dict[str, str], data: Path, capsys: Capture) -> None:
    assert ran(config, "ledger", "reprice", "--json") == OK
    assert json.loads(capsys.readouterr().out) == {"priced": 1, "cost": "0.000014000"}
    assert ran(config, "ledger", "check", "--json") == OK
    assert json.loads(capsys.readouterr().out) == {"faults": [], "charges without a price": []}
    assert ran(config, "usage", "--by", "all", "--json", *NOVEMBER) == OK
    (row,) = json.loads(capsys.readouterr().out)["usage"]
    assert (row["unpriced"], row["cost"]) == (0, "1.500014000")


def test_old_charges_are_pruned_and_then_nothing_is_rebuilt(
    config: dict[str, str], data: Path, capsys: Capture
) -> None:
    books = books_in(data)
    books.journal.write(settled(3, at=1_700_000_000))
    books.close()
    assert ran(config, "ledger", "prune", "--json") == OK
    assert json.loads(capsys.readouterr().out)["deleted"] >= 1
    assert ran(config, "ledger", "rebuild") == FOUND
    assert "cannot be computed again" in capsys.readouterr().err
    assert ran(config, "ledger", "check") == OK
