"""Tests the lines of requests: short, and safe to show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flask_gateway.model.call import Ids
from flask_gateway.telemetry.access_log import log_to
from flask_gateway.telemetry.log_output import LONGEST
from flask_gateway.telemetry.request_record import RequestRecord

# ---------------------------------------------------------------- the line of a request


def record(**more: object) -> RequestRecord:
    given = {"key": None, "method": "POST", "path": "/", "route": None, "status": 200, "seconds": 1.0, **more}
    return RequestRecord(ids=Ids("r", "t", "p"), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("sign", ["x", "\x00", "\x85", "é", "😀", '"'])
def test_a_line_is_short_enough_for_an_atomic_write_to_a_pipe(form: str, sign: str, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as out:
        observe = log_to(form, out)
        observe(record(prompt=sign * 4096))
        observe(record(path="/" + sign * 4096, model=sign * 4096))
    lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    assert len(lines) == 2
    assert all(3000 < len(line) <= LONGEST for line in lines)
    if form == "json":
        prompt = json.loads(lines[0])["prompt"]
        assert prompt.strip(sign) == "..."


@pytest.mark.parametrize(
    "sign", ["\x7f", "\x80", "\x9b", "\u202e", "\u2066", "\u200b", "\u2028", "\U000e0041"]
)
def test_terminal_control_characters_are_escaped(sign: str, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as out:
        log_to("json", out)(record(model=f"é{sign}b"))
    line = (tmp_path / "log").read_text()
    assert sign not in line
    assert "é" in line
    assert json.loads(line)["model"] == f"é{sign}b"
