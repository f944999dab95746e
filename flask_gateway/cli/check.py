"""``check``: validates the settings and prints the effective ones."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping

from ..app.preflight import load_checked
from ..config.describe import describe, rows
from ..config.errors import Mistakes, one_line
from ..config.load import Resolved
from .command import EX_CONFIG, OK, Command, add_config, add_json, print_json
from .terminal import ProgressLine


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="print errors and warnings only")
    parser.add_argument(
        "--bind",
        metavar="ADDR",
        nargs="+",
        action="extend",
        default=[],
        help="addresses the server will listen on: refuse dev-key on addresses that others can reach",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=int,
        help="number of server processes: refuse a state that they cannot share",
    )
    add_config(parser)
    add_json(parser)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    """Raises :class:`ConfigError`."""
    with ProgressLine():
        resolved = load_checked(environ, arguments.bind, arguments.workers)
        plugins = list(_plugins(resolved))
    warnings = [*resolved.settings.warnings, *_machine_warnings(resolved)]
    if arguments.json:
        settings = [
            {"name": name, "value": value, "from": str(origin)} for name, value, origin in rows(resolved)
        ]
        print_json({"settings": settings, "warnings": warnings, "plugins": plugins})
    elif not arguments.quiet:
        for line in describe(resolved):
            print(line)
        for line in plugins:
            print(one_line(f"plugin {line}"))
    for warning in warnings:
        print(one_line(f"flask-gateway: warning: {warning}"), file=sys.stderr)
    return OK


def _plugins(resolved: Resolved) -> Iterator[str]:
    """Make the plugins. Yield a line about each.

    :raises ConfigError: some cannot be made; the error holds all of them.
    """
    if not resolved.settings.plugins:
        return
    from ..app.plugins import tried

    mistakes = Mistakes()
    for found in tried(resolved.settings):
        if isinstance(found, str):
            yield found
        else:
            mistakes.add(found)
    mistakes.raise_found()


def _machine_warnings(resolved: Resolved) -> Iterator[str]:
    from .doctor.host import short_of_files

    threads = int(str(resolved.server["threads"]))
    if diagnosis := short_of_files(threads, resolved.settings.max_streams):
        yield f"{diagnosis.what}: {diagnosis.remedy}"


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway check", "validate the settings of this shell, and show each with its origin"),
        (
            "flask-gateway check --config new.toml --quiet",
            "validate a file before it takes the old one's place",
        ),
    ),
    {OK: "the settings are valid; there may be warnings", EX_CONFIG: "a setting is invalid"},
)
