"""Tests the command usage."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from flask_gateway.cli.command import OK, USAGE
from flask_gateway.cli.main import main

Capture = pytest.CaptureFixture[str]
NOVEMBER = ["--since", "2026-11-01", "--until", "2026-12-01"]


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
