"""Tests what every command shares: the end of its help, and JSON for programs."""

from __future__ import annotations

import argparse
import json

import pytest

from flask_gateway.cli.command import FOUND, OK, Command, add_config, add_json, print_json


def test_the_help_ends_with_the_examples_and_all_exit_codes() -> None:
    examples = (("flask-gateway a", "do a"), ("flask-gateway b", "do b"))
    command = Command(add_json, lambda arguments, environ: OK, examples, {FOUND: "found", OK: "done"})
    assert command.epilog().splitlines() == [
        "examples:",
        "  flask-gateway a",
        "      do a",
        "  flask-gateway b",
        "      do b",
        "",
        "exit codes:",
        "  0   done",
        "  1   found",
        "  2   wrong usage",
    ]


def test_the_help_of_an_action_ends_with_examples_of_its_own() -> None:
    examples = (("flask-gateway a x", "do x"), ("flask-gateway a x --json", "do x for programs"))
    command = Command(add_json, lambda arguments, environ: OK, (("", ""), ("", "")), {}, {"x": examples})
    lines = command.epilog_of("x").splitlines()
    assert [line for line in lines if "flask-gateway" in line] == [f"  {line}" for line, _ in examples]
    assert lines[-1] == "  2   wrong usage"


def test_shared_options() -> None:
    parser = argparse.ArgumentParser()
    add_json(parser)
    add_config(parser)
    assert vars(parser.parse_args([])) == {"json": False, "config": None}
    assert parser.parse_args(["--json", "--config", "x"]).config == "x"


def test_json_keeps_letters(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "Büro"})
    out = capsys.readouterr().out
    assert "Büro" in out
    assert json.loads(out) == {"name": "Büro"}
