"""Tests the diagnoses of ``doctor``. ``scenarios/test_doctor.py`` tests how it collects the facts."""

from __future__ import annotations

from argparse import Namespace

import pytest
from kit.stores import free_port

from flask_gateway.cli.doctor import command
from flask_gateway.cli.doctor.command import first_key, local_url
from flask_gateway.cli.main import main
from flask_gateway.config.load import load
from flask_gateway.config.schema import Settings

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        (":8000", "http://127.0.0.1:8000"),
        ("[::]:8000", "http://[::1]:8000"),
        ("unix:/run/g.sock,127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("tcp://localhost:8000", "http://localhost:8000"),
        ("unix:/run/g.sock", None),
        ("", None),
    ],
)
def test_the_gateways_own_address(bind: str, url: str | None) -> None:
    assert local_url(bind) == url


def test_the_key_that_doctor_uses() -> None:
    default: Settings = load({})
    assert first_key({}, default) == "dev-key"
    assert first_key({"GATEWAY_API_KEYS": " a, b"}, None) == "a"
    assert first_key({}, None) == ""
    own = {"GATEWAY_API_KEYS": "own"}
    assert first_key({}, load(own)) == ""


@pytest.mark.parametrize("url", ["ftp://x", "gateway.example", "http//x"])
def test_an_invalid_url_is_refused(url: str, capsys: Capture) -> None:
    assert main(["doctor", url], {}) == 2
    assert capsys.readouterr().err.startswith("flask-gateway: expected a URL")


def test_another_machine_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.network_path, "check_all", lambda caller, model, max_body: iter(()))
    asked = Namespace(url="https://llm.example.com", model=None, key="")
    found = list(command.check_all(asked, {"GATEWAY_BIND": f"127.0.0.1:{free_port()}"}, ""))
    assert [str(one).split(":")[0] for one in found] == ["ok    settings", "warn  machine"]
