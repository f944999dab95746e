"""Parses the command line and runs a command. The module of a command is imported when it is called."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from .. import __version__
from ..config.errors import ConfigError, nearest, one_line
from .command import EX_CONFIG, FOUND, OK, SETTINGS_FILE, USAGE, Command, print_json

#: The commands in the order of ``--help``: the module, below this package, and what the command does.
COMMANDS = {
    "serve": (".serve", "start the gateway"),
    "init": (".init.command", "make a settings file: find model servers and provider keys"),
    "check": (".check", "validate the settings without serving"),
    "explain": (".explain", "show which upstreams a call of a model would use, and why"),
    "doctor": (".doctor.command", "show what is wrong around a running gateway"),
    "selftest": (".selftest.command", "show what callers get when upstreams fail"),
    "try": (".try_now", "make a running gateway try an upstream again now"),
    "keys": (".keys", "make, issue, change and revoke keys of callers"),
    "teams": (".teams", "make, change and delete teams of issued keys"),
    "usage": (".usage", "show what calls used and cost"),
    "cache": (".cache", "show how full the cache is, or empty it"),
    "ledger": (".ledger", "check, back up and repair the ledger"),
    "prices": (".prices", "show the prices of models, and update the table"),
    "import": (".import_litellm.command", "make a settings file from a configuration of LiteLLM"),
    "litellm-sidecar": (".litellm_sidecar", "serve LiteLLM's SDK as an upstream of the gateway"),
    "deploy": (".deploy", "print files for nginx, systemd, Prometheus, Grafana and compose"),
    "describe": (".describe", "print the kinds of upstreams, and what each takes"),
    "completion": (".completion", "print completions for bash, zsh or fish"),
    "version": (".version", "print the versions of the gateway and of what it runs on"),
}

PROGRAM = "flask-gateway"


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit code. Wrong usage exits with 2."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _command(given, os.environ if environ is None else environ)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return status


def _command(given: list[str], environ: Mapping[str, str]) -> int:
    """Run the command with which the command line begins."""
    if not given or given[0] not in COMMANDS:
        return _no_command(given)
    try:
        command = command_of(given[0])
    except ModuleNotFoundError as error:
        return _not_installed(error)
    arguments = parser_of(given[0], command).parse_args(given[1:])
    try:
        return command.run(arguments, _with_config(arguments, environ))
    except ConfigError as error:
        return _refused(error, getattr(arguments, "json", False))


def command_of(name: str) -> Command:
    """Import the command with this name."""
    command: Command = import_module(COMMANDS[name][0], __package__).COMMAND
    return command


def parser_of(name: str, command: Command) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {name}",
        description=f"{COMMANDS[name][1][0].upper()}{COMMANDS[name][1][1:]}.",
        epilog=command.epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.arguments(parser)
    _describe_actions(parser, command)
    return parser


def _describe_actions(parser: argparse.ArgumentParser, command: Command) -> None:
    """Give the help of each action what that of its command has: a sentence, examples, exit codes."""
    for below in (one for one in parser._actions if isinstance(one, argparse._SubParsersAction)):
        meanings = {choice.dest: choice.help or "" for choice in below._choices_actions}
        for name, action in below.choices.items():
            action.description = f"{meanings[name][:1].upper()}{meanings[name][1:]}."
            action.epilog = command.epilog_of(name)
            action.formatter_class = argparse.RawDescriptionHelpFormatter


def usage() -> str:
    """The text of ``--help`` without a command."""
    lines = [
        f"usage: {PROGRAM} COMMAND [options]",
        "",
        "A gateway for large language models.",
        "",
        "commands:",
    ]
    lines += [f"  {name:<11} {summary}" for name, (_, summary) in COMMANDS.items()]
    lines += [
        "",
        "examples:",
        f"  {PROGRAM} serve",
        "      answer on http://127.0.0.1:8000, with a mock upstream",
    ]
    lines += [f"  {PROGRAM} init", f"      make {SETTINGS_FILE} from what is found on this machine"]
    lines += ["", f"{PROGRAM} COMMAND --help shows the options, examples and exit codes of one command."]
    return "\n".join(lines)


def _no_command(given: list[str]) -> int:
    """Answer a command line that begins with no command."""
    if given and given[0] in ("-h", "--help"):
        print(usage())
        return OK
    if given == ["--version"]:
        print(f"{PROGRAM} {__version__}")
        return OK
    print(usage().partition("\n")[0], file=sys.stderr)
    if given:
        hint = nearest(given[0], COMMANDS) or f"`{PROGRAM} --help` lists them"
        print(one_line(f"{PROGRAM}: {given[0]!r} is not a command; {hint}"), file=sys.stderr)
    else:
        print(f"{PROGRAM}: a command is missing; `{PROGRAM} --help` lists them", file=sys.stderr)
    raise SystemExit(USAGE)


def _not_installed(error: ModuleNotFoundError) -> int:
    """Say which package is missing, since this Python is not the one with the packages.

    :raises ModuleNotFoundError: it is a module of the gateway itself.
    """
    package = (error.name or "").partition(".")[0]
    if package in ("", __package__.partition(".")[0]):
        raise error
    print(
        f"{PROGRAM}: the package {package} is not installed for {sys.executable}. "
        "In a checkout, `make run` makes .venv: use .venv/bin/python. "
        "Elsewhere: pip install flask-llm-gateway",
        file=sys.stderr,
    )
    return FOUND


def _with_config(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with the settings file of ``--config``, or the one in this directory.

    An empty ``--config`` means the environment alone.
    """
    given = getattr(arguments, "config", "")
    if given:
        return {**environ, "GATEWAY_CONFIG": given}
    if given is None and "GATEWAY_CONFIG" not in environ and Path(SETTINGS_FILE).is_file():
        return {**environ, "GATEWAY_CONFIG": SETTINGS_FILE}
    return environ


def _refused(error: ConfigError, as_json: bool) -> int:
    if as_json:
        print_json({"errors": error.lines()})
    for line in error.lines():
        print(f"flask-gateway: {line}", file=sys.stderr)
    return EX_CONFIG
