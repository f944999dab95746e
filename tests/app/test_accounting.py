"""A gateway with a ledger: costs in header, log and metrics; without one, nothing of it is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kit.calls import AUTH, chat, make_settings

from flask_gateway import create_app
from flask_gateway.app.build import Gateway, rebuild
from flask_gateway.config.schema import LedgerSettings
from flask_gateway.ledger import database
from flask_gateway.state.memory import MemoryStore


def test_a_call_is_in_the_ledger(
    tmp_path: Path, store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings(ledger=LedgerSettings(data=str(tmp_path)))
    app = create_app(settings, store)
    gateway: Gateway = app.extensions["gateway"]
    assert gateway.accounting is not None
    response = app.test_client().post("/v1/chat/completions", json=chat("mock"), headers=AUTH)
    assert response.status_code == 200
    assert "x-gateway-cost" not in response.headers  # the mock has no price
    assert '"cost_source":"unpriced"' in capsys.readouterr().err
    figures = app.test_client().get("/metrics").text
    unpriced = [line for line in figures.splitlines() if line.startswith("gateway_unpriced_calls_total{")]
    assert any('upstream="mock"' in line for line in unpriced)
    books = rebuild(settings, gateway).accounting.books  # type: ignore[union-attr]
    assert books is gateway.accounting.books, "a reload keeps the journal"
    books.journal.sync()


def test_the_database_is_only_read_by_others(tmp_path: Path) -> None:
    database.write(tmp_path / database.NAME).close()
    connection = database.read(tmp_path / database.NAME)
    with pytest.raises(Exception, match="readonly"):
        connection.execute("DELETE FROM charge")
    connection.close()


def test_without_a_data_directory_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; from flask_gateway import create_app; create_app();"
        "ours = tuple(f'flask_gateway.{one}' for one in ('ledger', 'pricing', 'app.accounting'));"
        "begin = (*ours, 'sqlite3');"
        "print([module for module in sys.modules if module.startswith(begin)])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "[]"
