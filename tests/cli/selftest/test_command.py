"""Tests ``python -m flask_gateway selftest``: its run, its clean-up, and the verdicts of its judge."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kit.calls import make_settings

from flask_gateway.cli.main import main
from flask_gateway.cli.selftest.client import ClientResponse
from flask_gateway.cli.selftest.command import choose, exit_status
from flask_gateway.cli.selftest.scenarios import SCENARIOS, Result
from flask_gateway.cli.selftest.verdicts import Asked, Expected, Finding, Judgement, judge

LINE = re.compile(r"^(S\d\d)  .*  (PASS|SAFE|PARTIAL|FAIL) ", re.MULTILINE)

# ---------------------------------------------------------------- the run


def run(*argv: str) -> tuple[int, dict[str, str], str]:
    """Exit status, the verdict of each scenario, and what went to standard error."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    command = [sys.executable, "-m", "flask_gateway", "selftest", *argv]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60)
    return done.returncode, dict(LINE.findall(done.stdout)), done.stderr


@pytest.fixture(scope="module")
def runs() -> dict[str, tuple[int, dict[str, str], str]]:
    """Both runs of all scenarios, at the same time: each waits nearly all the time."""
    ways = {"streams": ["--fast"], "buffered": ["--fast", "--whole"]}
    with ThreadPoolExecutor() as pool:
        return dict(zip(ways, pool.map(lambda options: run(*options), ways.values()), strict=True))


def test_the_sixteen_scenarios(runs: dict[str, Any]) -> None:
    """Streams that break after their start end with an explicit error; all other calls are answered."""
    status, verdicts, err = runs["streams"]
    assert verdicts.keys() == {scenario.id for scenario in SCENARIOS}, err[-2000:]
    assert {one for one, verdict in verdicts.items() if verdict != "PASS"} <= {"S08", "S09", "S14"}
    assert Counter(verdicts.values())["SAFE"] == 16 - Counter(verdicts.values())["PASS"]
    assert (status, err) == (0, "")


def test_the_sixteen_scenarios_with_buffered_streams(runs: dict[str, Any]) -> None:
    status, verdicts, err = runs["buffered"]
    assert verdicts == {scenario.id: "PASS" for scenario in SCENARIOS}, err[-2000:]
    assert (status, err) == (0, "")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--only", "S99"], "S01,S02"),
        (["--only", "S08;S09"], "S01,S02"),
        (["--slow"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_exits_with_2(argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = main(["selftest", *argv], {})
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    assert expected in capsys.readouterr().err


def test_a_model_without_a_route_is_refused() -> None:
    with pytest.raises(ValueError, match="--model nothing: expected a model that has a route"):
        choose(Namespace(model="nothing", only="", fast=True, whole=False, api="responses"), make_settings())


@pytest.mark.parametrize(
    ("enough", "right"),
    [(Judgement.PASS, {Judgement.PASS}), (Judgement.SAFE, {Judgement.PASS, Judgement.SAFE})],
)
def test_the_exit_status(enough: Judgement, right: set[Judgement]) -> None:
    passed = Result("S01", "t", Finding(Judgement.PASS), 1.0, "")
    for verdict in Judgement:
        other = Result("S02", "t", Finding(verdict), 1.0, "", enough)
        assert exit_status([passed, other]) == (verdict not in right)


def verdict(
    answer: ClientResponse, expected: Expected | None = None, asked: Asked | None = None
) -> Judgement:
    return judge(expected or Expected(), answer, asked or Asked(primary=(1.0,))).verdict
