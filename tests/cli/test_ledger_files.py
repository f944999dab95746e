"""Tests how commands open the ledger, and how they print rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_gateway.cli.ledger_files import NoLedger, print_csv, print_table, reading, settings_with_data
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.schema import LedgerSettings, Settings
from flask_gateway.ledger import database

Capture = pytest.CaptureFixture[str]


def test_settings_without_a_directory_are_refused_with_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"^ledger\.data: expected a directory"):
        settings_with_data({"GATEWAY_API_KEYS": "a-key-of-a-test-1"})


def test_a_ledger_that_is_missing_or_none_is_named(tmp_path: Path) -> None:
    settings = Settings(keys=(), upstreams=(), ledger=LedgerSettings(data=str(tmp_path)))
    with pytest.raises(NoLedger, match="no gateway has served with it yet"), reading(settings):
        pass
    (tmp_path / database.NAME).write_bytes(b"no database" * 1000)
    with pytest.raises(NoLedger, match="cannot be read"), reading(settings) as connection:
        connection.execute("SELECT * FROM charge")


def test_rows_in_columns(capsys: Capture) -> None:
    print_table([{"key": "a", "cost": 1}, {"key": "longer", "cost": None}])
    assert capsys.readouterr().out.splitlines() == ["key     cost", "a       1", "longer"]
    print_table([])
    assert capsys.readouterr().out == "nothing\n"


def test_rows_as_csv_are_no_formulas(capsys: Capture) -> None:
    print_csv([{"key": "=1+1", "cost": 1}])
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "key,cost"
    assert not out.splitlines()[1].startswith("=")
