"""``completion``: prints a script that completes command lines in bash, zsh or fish."""

from __future__ import annotations

import argparse
import re
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from .command import OK, Command


class Word(NamedTuple):
    """A word that may follow a command. :param meaning: one line, or empty."""

    text: str
    meaning: str


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=list(SCRIPTS), help="one of: %(choices)s")


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    # Imported here: main.py imports this module when the command is called.
    from .main import COMMANDS, command_of, parser_of

    commands = {
        Word(name, summary): list(words(parser_of(name, command_of(name))))
        for name, (_, summary) in COMMANDS.items()
    }
    print(SCRIPTS[arguments.shell](commands))
    return OK


def words(parser: ArgumentParser) -> Iterator[Word]:
    """The options, actions and fixed values of a parser and of the parsers below it, each once."""
    seen: dict[str, Word] = {}
    for action in parser._actions:
        meaning = "" if action.help in (None, argparse.SUPPRESS) else str(action.help)
        for option in action.option_strings:
            if option.startswith("--"):
                seen.setdefault(option, Word(option, _short(meaning)))
        for choice in action.choices or ():
            seen.setdefault(str(choice), Word(str(choice), ""))
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                seen.update({word.text: word for word in words(below) if word.text not in seen})
    yield from seen.values()


def _short(meaning: str) -> str:
    """The beginning of a help text, up to its first details."""
    return re.split(r" ?[:;(]", meaning, maxsplit=1)[0]


Commands = Mapping[Word, Sequence[Word]]


def _texts(some: Sequence[Word]) -> str:
    return " ".join(word.text for word in some)


def bash(commands: Commands) -> str:
    cases = [
        f"        {command.text}) words={shlex.quote(_texts(some))} ;;" for command, some in commands.items()
    ]
    return "\n".join(
        [
            "# bash completion of flask-gateway: source it, or save it in /etc/bash_completion.d.",
            "_flask_gateway() {",
            "    local words=",
            '    case "${COMP_WORDS[1]}" in',
            *cases,
            "    esac",
            f'    [ "$COMP_CWORD" -eq 1 ] && words={shlex.quote(_texts([*commands]))}',
            '    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
            "}",
            "complete -o default -F _flask_gateway flask-gateway",
        ]
    )


def zsh(commands: Commands) -> str:
    cases = [f"        {command.text}) compadd -- {_texts(some)} ;;" for command, some in commands.items()]
    return "\n".join(
        [
            "#compdef flask-gateway",
            "# zsh completion of flask-gateway: save it as _flask-gateway in a directory of $fpath.",
            "if (( CURRENT == 2 )); then",
            f"    compadd -- {_texts([*commands])}",
            "else",
            "    case ${words[2]} in",
            *cases,
            "    esac",
            "    _files",
            "fi",
        ]
    )


def fish(commands: Commands) -> str:
    lines = ["# fish completion of flask-gateway: save it in ~/.config/fish/completions/flask-gateway.fish."]
    for command, some in commands.items():
        first = f"-n __fish_use_subcommand -a {command.text}"
        lines.append(f"complete -c flask-gateway {first} -d {_quoted(command.meaning)}")
        for word in some:
            given = f"-l {word.text[2:]}" if word.text.startswith("--") else f"-a {word.text}"
            condition = f"-n '__fish_seen_subcommand_from {command.text}'"
            lines.append(f"complete -c flask-gateway {condition} {given} -d {_quoted(word.meaning)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """The text in fish's single quotes, in which only a backslash and a quote are special."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SCRIPTS = {"bash": bash, "zsh": zsh, "fish": fish}

COMMAND = Command(
    _arguments,
    _run,
    (
        ("source <(flask-gateway completion bash)", "complete in this shell"),
        ("flask-gateway completion fish >~/.config/fish/completions/flask-gateway.fish", "in every fish"),
    ),
    {OK: "printed"},
)
