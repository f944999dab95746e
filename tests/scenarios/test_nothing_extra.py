"""A served process without a data directory imports nothing of issued keys, budgets and the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.gateways import StartGateway
from kit.servers import stream_body

pytestmark = pytest.mark.live

#: Extends the server's settings: at its end each worker writes down what it has imported.
CONFIG = """
import os, sys
from pathlib import Path

exec(Path("gunicorn.conf.py").read_text())

def worker_exit(server, worker):
    Path("{folder}", f"{{os.getpid()}}.modules").write_text("\\n".join(sorted(sys.modules)))
"""
OFF = (
    "sqlite3",
    "_sqlite3",
    "psycopg",
    "redis",
    *(
        f"flask_gateway.{one}"
        for one in (
            "app.accounting",
            "auth.idempotency",
            "auth.issued_keys",
            "auth.key_",
            "auth.live_keys",
            "auth.team_admin",
            "auth.user_admin",
            "guards.account",
            "guards.budget",
            "ledger",
            "pricing",
            "web.admin",
        )
    ),
)


def test_without_a_data_directory_workers_import_nothing_of_keys_and_money(
    tmp_path: Path, start_gateway: StartGateway
) -> None:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(CONFIG.format(folder=tmp_path))
    settings = {"GATEWAY_RATE_LIMIT_PER_MINUTE": "1000", "GATEWAY_WORKERS": "1"}
    gateway = start_gateway(options=("-c", str(config)), **settings)
    assert gateway.chat("mock").status == 200
    assert gateway.ask("POST", "/v1/chat/completions", stream_body("mock")).status == 200
    assert gateway.ask("GET", "/v1/models").status == 200
    assert gateway.ask("GET", "/metrics").status == 200
    assert gateway.ask("GET", "/admin/v1/keys").status == 404
    gateway.stop()
    (file,) = tmp_path.glob("*.modules")
    imported = file.read_text().splitlines()
    assert {"flask_gateway.guards.rate_limiter", "flask_gateway.auth.api_keys"} <= set(imported)
    assert [name for name in imported if name.startswith(OFF)] == []
