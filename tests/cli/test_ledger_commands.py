"""The commands ``usage``, ``ledger`` and ``prices``, on a ledger that a gateway keeps meanwhile or not."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from kit.admins import AdminClient
from kit.ledger_figures import books_in
from kit.ledger_lines import settled

from flask_gateway.app.prices import TABLE
from flask_gateway.cli.command import EX_CONFIG, FOUND, OK, USAGE
from flask_gateway.cli.main import main
from flask_gateway.ledger import database
from flask_gateway.pricing.table import decode, shipped
from flask_gateway.state.memory import MemoryStore

Capture = pytest.CaptureFixture[str]
NOVEMBER = ["--since", "2026-11-01", "--until", "2026-12-01"]


@pytest.fixture
def config(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "gateway.toml"
    file.write_text(
        '[ledger]\ndata = "data"\n[upstreams.up]\nurl = "https://up.test"\n'
        '[models.m]\nupstream = "up"\n[models.dear]\nupstream = "up"\nprice = { input = "1", output = "2" }\n'
    )
    return {"GATEWAY_CONFIG": str(file)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    books = books_in(tmp_path / "data")
    books.journal.write(settled(1, key="=evil()", cost=1_500_000_000))
    books.journal.write(settled(2, key="b", cost=None, upstream_model="dear"))
    books.turn()
    books.close()
    return tmp_path / "data"


def ran(config: dict[str, str], *argv: str) -> int:
    return main(argv, config)


def test_usage_in_a_table_as_json_and_as_csv(config: dict[str, str], data: Path, capsys: Capture) -> None:
    assert ran(config, "usage", "--by", "key", *NOVEMBER) == OK
    assert "1.500000000" in capsys.readouterr().out
    assert ran(config, "usage", "--by", "all", "--json", *NOVEMBER) == OK
    (row,) = json.loads(capsys.readouterr().out)["usage"]
    assert (row["calls"], row["unpriced"], row["cost"]) == (2, 1, "1.500000000")
    assert ran(config, "usage", "--by", "day,key", "--csv", *NOVEMBER) == OK
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["key"] for row in rows} == {"'=evil()", "b"}
    assert {row["day"] for row in rows} == {"2026-11-27"}


@pytest.mark.parametrize("argv", [["--by", "size"], ["--since", "soon"]])
def test_wrong_usage_of_usage(config: dict[str, str], data: Path, argv: list[str], capsys: Capture) -> None:
    assert ran(config, "usage", *argv) == USAGE


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
    for action in ("prune", "rebuild", "reprice"):
        assert ran(config, "ledger", action) == FOUND
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


def test_prices_are_shown_and_missing_ones_found(config: dict[str, str], data: Path, capsys: Capture) -> None:
    assert ran(config, "prices", "show", "--json") == FOUND
    dear, plain = json.loads(capsys.readouterr().out)["prices"]
    assert (dear["model"], dear["source"], dear["price"]) == ("dear", "setting", "input 1, output 2")
    assert (plain["model"], plain["source"], plain["price"]) == ("m", "", "unknown")
    assert ran(config, "prices", "show", "up/dear") == OK
    assert "input 1, output 2" in capsys.readouterr().out
    assert ran(config, "prices", "check", "--json") == FOUND
    assert json.loads(capsys.readouterr().out)["without_price"] == ["up/m"]


def test_a_newer_table_is_taken_over(
    config: dict[str, str], data: Path, tmp_path: Path, capsys: Capture
) -> None:
    new = msgspec.structs.replace(shipped(), made="2027-01-01", providers=dict(shipped().providers))
    openai = new.providers["openai"]
    models = {**openai.models, "gpt-9": openai.models["gpt-4o"]}
    new.providers["openai"] = msgspec.structs.replace(openai, models=models)  # type: ignore[index]
    file = tmp_path / "table.json"
    file.write_bytes(msgspec.json.encode(new))
    assert ran(config, "prices", "update", str(file), "--json") == OK
    assert json.loads(capsys.readouterr().out)["changed"] == ["openai/gpt-9"]
    assert not (data / TABLE).exists()
    assert ran(config, "prices", "update", str(file), "--yes") == OK
    assert (data / TABLE).read_bytes() == file.read_bytes()
    file.write_text("{}")
    assert ran(config, "prices", "update", str(file), "--yes") == FOUND


def test_the_data_of_genai_prices_is_taken_over(
    config: dict[str, str], data: Path, tmp_path: Path, capsys: Capture
) -> None:
    models = [
        {"id": "gpt-9", "match": {"equals": "gpt-9"}, "prices": {"input_mtok": 0.1, "output_mtok": 2}},
        {"id": "gpt-x", "match": {"equals": "gpt-x"}, "prices": {"input_mtok": 1, "smells_kcount": 2}},
    ]
    file = tmp_path / "data.json"
    file.write_text(json.dumps([{"id": "openai", "api_pattern": "https://api", "models": models}]))
    assert ran(config, "prices", "update", str(file), "--yes") == OK
    shown = capsys.readouterr().out
    assert "openai/gpt-9" in shown
    assert "left out: openai/gpt-x: the unit smells_kcount is not known to this version" in shown
    (found,) = decode((data / TABLE).read_bytes()).find("openai", "gpt-9") or ()
    assert found.rates.input == 100_000
    file.write_text("[1]")
    assert ran(config, "prices", "update", str(file), "--yes") == FOUND
    assert "no data.json of genai-prices" in capsys.readouterr().err
