"""The help of every command and action: a sentence, two examples that can be parsed, the exit codes."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator

import pytest

from flask_gateway.cli.command import USAGE
from flask_gateway.cli.main import COMMANDS, command_of, parser_of

#: They print a file or a script for other programs, and so have no ``--json``.
FILES = {("deploy", "print"), ("completion",), ("litellm-sidecar",)}


def walk(parser: argparse.ArgumentParser, *words: str) -> Iterator[tuple[str, ...]]:
    """The command and the actions below it, each as the words of a command line."""
    yield words
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from walk(below, *words, name)


def actions_of(parser: argparse.ArgumentParser) -> list[str]:
    groups = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return [name for group in groups for name in group.choices]


EVERY = [words for name in COMMANDS for words in walk(parser_of(name, command_of(name)), name)]
ACTIONS = [words for words in EVERY if len(words) > 1]


def shown_help(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        parser_of(words[0], command_of(words[0])).parse_args([*words[1:], "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_help_fits_a_screen_and_ends_with_the_exit_codes(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown_help(words, monkeypatch, capsys).splitlines()
    assert len(lines) < 40
    assert lines[0].startswith(f"usage: flask-gateway {' '.join(words)}")
    assert any(line.endswith(".") and line[0].isupper() for line in lines[1:10] if line)
    codes = [int(line.split()[0]) for line in lines[lines.index("exit codes:") + 1 :]]
    assert codes == sorted({*command_of(words[0]).exits, USAGE})
    if not actions_of(parser_of(words[0], command_of(words[0]))) or len(words) > 1:
        assert any("--json" in line for line in lines) is (words not in FILES)


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_the_two_examples_are_of_this_command_and_can_be_parsed(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown_help(words, monkeypatch, capsys)
    examples = re.findall(r"^  (?! )(.*flask-gateway .*)\n      \S", text, re.MULTILINE)
    assert len(set(examples)) == 2
    for example in examples:
        (given,) = re.findall(r"flask-gateway ([^<>)]*)", example)
        argv = shlex.split(given)
        assert argv[: len(words)] == list(words)
        assert parser_of(argv[0], command_of(argv[0])).parse_args(argv[1:])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_action_has_examples_and_no_other_word_has(name: str) -> None:
    command = command_of(name)
    assert set(command.action_examples) == set(actions_of(parser_of(name, command)))


def test_the_walk_finds_the_actions() -> None:
    assert {("keys", "create"), ("ledger", "prune"), ("import", "litellm")} <= set(ACTIONS)
