"""``keys import``: rows that become no key; then case 51 of keys.md, three old keys that work unchanged."""

from __future__ import annotations

import csv
import io
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from kit.admins import AdminClient

from flask_gateway.cli.admin_client import Refused
from flask_gateway.cli.key_import import Unusable, body_of_row, report_of
from flask_gateway.cli.main import main
from flask_gateway.state.memory import MemoryStore

Capture = pytest.CaptureFixture[str]
SECRETS = (
    "planted-other-key-of-litellm-1",
    "planted-other-key-of-litellm-2",
    "planted-other-key-of-litellm-3",
)
TOKENS = [sha256(secret.encode()).hexdigest() for secret in SECRETS]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"token": ""}, "no token"),
        ({"models": "{no-default-models}"}, "say which"),
        ({"expires": "soon"}, "expiry"),
        ({"rpm_limit": "-1"}, "rpm_limit"),
        ({"max_budget": "0"}, "above 0"),
        ({"max_budget": "many"}, "max_budget: it is not an amount"),
    ],
)
def test_a_row_that_cannot_be_kept_says_why(cells: dict[str, str], reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        body_of_row({"token": TOKENS[0], **cells}, [])


def test_the_columns_become_fields() -> None:
    notes: list[str] = []
    row = {
        "token": TOKENS[0].upper(),
        "key_alias": "web app",
        "key_name": "sk-...abcd",
        "team_id": "search",
        "models": "{gpt-4o,fast}",
        "rpm_limit": "60",
        "tpm_limit": "1000",
        "max_parallel_requests": "",
        "max_budget": "12.5",
        "budget_duration": "30d",
        "expires": "2030-01-01 00:00:00+00",
        "spend": "3.2",
    }
    assert body_of_row(row, notes) == {
        "sha256": TOKENS[0],
        "hint": "sk-...abcd",
        "name": "web-app",
        "team": "search",
        "models": ["gpt-4o", "fast"],
        "expires_at": 1893456000,
        "limits": {"requests": 60, "tokens": 1000, "budgets": [{"amount": "12.5", "window": "month"}]},
    }
    windows = "calendar windows (timezone of [ledger]), where LiteLLM counts 30d from a reset"
    assert notes == [f"its budget of a month: {windows}"]


class Asked:
    """An ``AdminApi`` that makes keys, and keeps what it was asked."""

    def __init__(self, *, adjusts: bool) -> None:
        self.adjusts = adjusts
        self.bodies: list[tuple[str, Any]] = []

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        self.bodies.append((path, body))
        if path == "/adjustments" and not self.adjusts:
            raise Refused("there is nothing at POST /adjustments")
        return {"id": "key_aaaaaaaaaaaa", "data": []}


@pytest.mark.parametrize(
    ("spend", "amount"),
    [("", None), ("0.0", None), ("0", None), ("3.2", "3.200000000"), ("1e-12", "0.000000001")],
)
def test_earlier_spend_is_an_adjustment_of_the_key(spend: str, amount: str | None) -> None:
    api = Asked(adjusts=True)
    assert report_of(api, {"token": TOKENS[0], "spend": spend}, set())["notes"] == []
    charges = [body for path, body in api.bodies if path == "/adjustments"]
    expected = {"subject": "key:key_aaaaaaaaaaaa", "amount": amount, "note": "spend at LiteLLM"}
    assert charges == ([expected] if amount else [])


@pytest.mark.parametrize("spend", ["3.2", "much", "NaN"])
def test_spend_that_cannot_be_counted_is_told(spend: str) -> None:
    report = report_of(Asked(adjusts=False), {"token": TOKENS[0], "spend": spend}, set())
    assert report["notes"] == [f"its spend of {spend} is left out: with --url it counts"]


@pytest.mark.parametrize(
    ("duration", "window"),
    [
        ("24h", "day"),
        ("1w", "week"),
        ("720h", "month"),
        ("monthly", "month"),
        ("90d", "total"),
        ("", "total"),
    ],
)
def test_a_duration_becomes_the_window_that_import_litellm_makes_of_it(duration: str, window: str) -> None:
    row, notes = {"token": TOKENS[0], "max_budget": "5", "budget_duration": duration}, list[str]()
    assert body_of_row(row, notes)["limits"] == {"budgets": [{"amount": "5", "window": window}]}
    assert bool(notes) == bool(duration)


def table(rows: list[dict[str, Any]], form: str) -> str:
    if form == "json":
        return json.dumps(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize("form", ["csv", "json"])
def test_three_old_keys_work_unchanged(
    tmp_path: Path, form: str, capsys: Capture, store: MemoryStore
) -> None:
    rows = [
        {"token": token, "key_alias": f"k{place}", "blocked": "t" if place == 2 else ""}
        for place, token in enumerate(TOKENS)
    ]
    (tmp_path / "table").write_text(table(rows, form))
    (tmp_path / "gateway.toml").write_text(
        f'[ledger]\ndata = "{tmp_path}/data"\n[upstreams.mock]\nurl = "mock://local"\n'
    )
    environ = {"GATEWAY_CONFIG": str(tmp_path / "gateway.toml"), "GATEWAY_API_KEYS": "planted-file-key-here"}
    assert main(["keys", "import", str(tmp_path / "table"), "--json"], environ) == 3
    reports = json.loads(capsys.readouterr().out)["rows"]
    assert [report["notes"] for report in reports] == [[], [], ["it is blocked, so it is disabled"]]
    admins = AdminClient(tmp_path / "data", store)
    assert [admins.status(secret) for secret in SECRETS] == [200, 200, "key_disabled"]
    assert main(["keys", "import", str(tmp_path / "table")], environ) == 1  # they are there already


def test_a_file_that_is_no_table_is_refused(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "table").write_text("a,b\n1,2\n")
    environ = {"GATEWAY_CONFIG": str(tmp_path / "gateway.toml")}
    (tmp_path / "gateway.toml").write_text(
        f'[ledger]\ndata = "{tmp_path}/data"\n[upstreams.mock]\nurl = "mock://local"\n'
    )
    assert main(["keys", "import", str(tmp_path / "table")], environ) == 1
    assert "token among them" in capsys.readouterr().err


def test_teams_of_the_settings_file_are_taken_and_others_are_made(tmp_path: Path, capsys: Capture) -> None:
    rows = [
        {"token": token, "team_id": team} for token, team in zip(TOKENS, ("set", "new", "new"), strict=True)
    ]
    (tmp_path / "table").write_text(table(rows, "csv"))
    (tmp_path / "gateway.toml").write_text(
        f'[ledger]\ndata = "{tmp_path}/data"\n[upstreams.mock]\nurl = "mock://local"\n[teams.set]\n'
    )
    environ = {"GATEWAY_CONFIG": str(tmp_path / "gateway.toml"), "GATEWAY_API_KEYS": "planted-file-key-here"}
    assert main(["keys", "import", str(tmp_path / "table"), "--json"], environ) == 3
    notes = [report["notes"] for report in json.loads(capsys.readouterr().out)["rows"]]
    assert notes == [[], ["its team new was made, without limits"], []]
