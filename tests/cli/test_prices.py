"""Tests the command prices."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import msgspec
import pytest

from flask_gateway.app.prices import TABLE
from flask_gateway.cli.command import FOUND, OK
from flask_gateway.cli.main import main
from flask_gateway.pricing.table import decode, shipped

Capture = pytest.CaptureFixture[str]


def ran(config: dict[str, str], *argv: str) -> int:
    return main(argv, config)


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


def test_a_table_as_the_package_ships_it_is_taken_over(
    config: dict[str, str], data: Path, tmp_path: Path, capsys: Capture
) -> None:
    packed = gzip.compress(msgspec.json.encode(shipped()))
    file = tmp_path / "table.json.gz"
    file.write_bytes(packed)
    assert ran(config, "prices", "update", str(file), "--yes") == OK
    assert decode((data / TABLE).read_bytes()) == shipped()
    for damaged in (packed[:-20], packed[:50] + b"\0" * 50 + packed[100:]):
        file.write_bytes(damaged)
        assert ran(config, "prices", "update", str(file), "--yes") == FOUND
        assert "is no table of prices" in capsys.readouterr().err


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
