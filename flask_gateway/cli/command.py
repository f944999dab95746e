"""Describes a command: its arguments, its examples and its exit codes. ``main.py`` has the table of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

#: The variable with a caller's key. Everybody on the machine can read a command line.
CALLER_KEY = "FLASK_GATEWAY_KEY"

#: Exit codes that all commands share. 78 is ``EX_CONFIG`` of sysexits.h.
OK, FOUND, USAGE, LOOK, EX_CONFIG = 0, 1, 2, 3, 78

#: The settings file that commands read when neither ``--config`` nor ``GATEWAY_CONFIG`` names one.
SETTINGS_FILE = "gateway.toml"


#: Two command lines, each with what it does.
Examples = tuple[tuple[str, str], tuple[str, str]]


class Command(NamedTuple):
    """One command of the command line.

    :param arguments: adds the arguments to the command's parser.
    :param run: runs it with the parsed arguments and the environment, and returns the exit code.
    :param examples: of the command.
    :param exits: the meaning of each exit code. Every command also has 2, for wrong usage.
    :param action_examples: of each action, by its name.
    """

    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Mapping[str, str]], int]
    examples: Examples
    exits: Mapping[int, str]
    action_examples: Mapping[str, Examples] = {}

    def epilog(self) -> str:
        """The end of ``--help``: the examples and the exit codes."""
        return "\n".join([*_shown(self.examples), "", *self._exits()])

    def epilog_of(self, action: str) -> str:
        """The end of ``--help`` of an action: its examples, and the exit codes of the command."""
        return "\n".join([*_shown(self.action_examples[action]), "", *self._exits()])

    def _exits(self) -> list[str]:
        exits = {USAGE: "wrong usage", **self.exits}
        return ["exit codes:", *(f"  {code:<3} {exits[code]}" for code in sorted(exits))]


def _shown(examples: Examples) -> list[str]:
    return [
        "examples:",
        *(line for command, meaning in examples for line in (f"  {command}", f"      {meaning}")),
    ]


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"the settings file (default: $GATEWAY_CONFIG, else {SETTINGS_FILE} if it is here)",
    )


def print_json(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False), flush=True)
