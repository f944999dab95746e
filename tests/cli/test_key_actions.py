"""``keys`` and ``teams`` on the files, and over HTTP where a URL is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flask_gateway.cli.key_actions import csv_lines
from flask_gateway.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "gateway.toml"
    file.write_text(f'[ledger]\ndata = "{tmp_path}/data"\n[upstreams.mock]\nurl = "mock://local"\n')
    return {"GATEWAY_CONFIG": str(file), "GATEWAY_API_KEYS": "planted-file-key-of-a-caller"}


def shown(capsys: Capture) -> dict[str, object]:
    out: dict[str, object] = json.loads(capsys.readouterr().out)
    return out


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["show", "nothing"], "There is no key with the name 'nothing'"),
        (["create", "--team", "nowhere"], "There is no team 'nowhere'"),
        (["create", "--budget", "5/year"], "limits"),
        (["list", "--url", "http://127.0.0.1:9"], "GATEWAY_ADMIN_KEY"),
    ],
)
def test_a_refusal_is_one_line_that_says_why(
    environ: dict[str, str], argv: list[str], part: str, capsys: Capture
) -> None:
    assert main(["keys", *argv], environ) == 1
    assert part in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--expires=soon", "--tokens=many", "--budget=5", "--tag=x"])
def test_a_value_of_another_form_is_wrong_usage(option: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["keys", "create", option], {})
    assert "expected" in capsys.readouterr().err


def test_a_key_lives_on_the_files(environ: dict[str, str], capsys: Capture) -> None:
    assert main(["teams", "put", "search", "--limits", '{"tokens": 400000}', "--json"], environ) == 0
    capsys.readouterr()
    fields = ["--name", "web", "--team", "search", "--models", "gpt-4o*,mock", "--tokens", "100k"]
    assert main(["keys", "create", *fields, "--tag", "env=prod", "--expires", "90d", "--json"], environ) == 0
    made = shown(capsys)
    assert str(made["secret"]).startswith("sk-fgw-")
    assert (made["models"], made["limits"]) == (["gpt-4o*", "mock"], {"tokens": 100_000})
    assert main(["keys", "edit", "web", "--requests", "5", "--expires", "never", "--json"], environ) == 0
    edited = shown(capsys)
    assert (edited["limits"], edited["expires_at"]) == ({"tokens": 100_000, "requests": 5}, None)
    assert main(["keys", "show", "web"], environ) == 0
    assert shown(capsys)["held"] is None  # there is no ledger yet
    for action, state in (("disable", "disabled"), ("enable", "active"), ("revoke", "revoked")):
        assert main(["keys", action, str(made["id"]), "--json"], environ) == 0
        assert shown(capsys)["state"] == state
    assert main(["keys", "list", "--state", "active", "--json"], environ) == 0
    assert shown(capsys) == {"keys": []}


def test_the_secret_is_shown_on_standard_error_alone(environ: dict[str, str], capsys: Capture) -> None:
    assert main(["keys", "create", "--name", "web"], environ) == 0
    out, err = capsys.readouterr()
    assert "sk-fgw-" in err
    assert len(err.split()[-1]) == 56
    assert err.split()[-1] not in out


def test_no_cell_of_csv_is_a_formula() -> None:
    key = dict.fromkeys(("id", "name", "state", "team", "owner", "created_at", "expires_at"))
    notes = ('=cmd|"x"', "+1", "-1", "@x", "a,b", "plain")
    cells = [line.lstrip(",") for line in csv_lines([{**key, "note": note} for note in notes])[1:]]
    assert cells == ['"\'=cmd|""x"""', "'+1", "'-1", "'@x", '"a,b"', "plain"]
