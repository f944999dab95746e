"""The ledger of the settings, and an extra that is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flask_gateway.config.schema import LedgerSettings, Secret
from flask_gateway.ledger.places import LocalLedger, PostgresLedger, ledger_of


def test_without_psycopg_the_start_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ValueError, match=r"pip install '\.\[postgres\]'"):
        ledger_of(LedgerSettings(data=str(tmp_path), database=Secret("postgresql://db.test/x")))


def test_the_database_of_the_settings_decides(tmp_path: Path) -> None:
    several = LedgerSettings(data=str(tmp_path), database=Secret("postgresql://db.test/x"))
    assert isinstance(ledger_of(several), PostgresLedger)
    assert isinstance(ledger_of(LedgerSettings(data=str(tmp_path))), LocalLedger)


def test_one_machine_imports_neither_psycopg_nor_redis(tmp_path: Path) -> None:
    code = (
        "import sys, tempfile\n"
        "from kit.calls import make_settings\n"
        "from flask_gateway.app.build import build\n"
        "from flask_gateway.config.schema import LedgerSettings\n"
        f"gateway = build(make_settings(ledger=LedgerSettings(data={str(tmp_path)!r}), state='memory://'))\n"
        "gateway.accounting.books.turn()\n"
        "print(sorted({'psycopg', 'redis'} & set(sys.modules)))\n"
        "gateway.accounting.books.close()\n"
    )
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
