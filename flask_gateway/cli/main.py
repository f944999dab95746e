"""Parses the command line and runs a command. Each command has one function and one parser."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

from ..app.preflight import load_checked
from ..config import ConfigError, Resolved, describe, load, resolve
from ..config.errors import one_line

#: The variable with a caller's key. Everybody on the machine can read a command line.
CALLER_KEY = "FLASK_GATEWAY_KEY"

#: sysexits.h: something is wrong in the configuration.
EX_CONFIG = 78


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit status. Wrong usage exits with 2."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments, os.environ if environ is None else environ)
    except ConfigError as error:
        for line in error.lines():
            print(f"flask-gateway: {line}", file=sys.stderr)
        return EX_CONFIG
    except BrokenPipeError:  # the reader closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def check(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Validate the settings and print the effective ones. Raises :class:`ConfigError`."""
    resolved = load_checked(environ, arguments.bind, arguments.workers)
    if not arguments.quiet:
        for line in describe(resolved):
            print(line)
    for warning in (*resolved.settings.warnings, *_machine_warnings(resolved)):
        print(one_line(f"flask-gateway: warning: {warning}"), file=sys.stderr)
    return 0


def _machine_warnings(resolved: Resolved) -> Iterator[str]:
    from .doctor.host import short_of_files

    threads = int(str(resolved.server["threads"]))
    if diagnosis := short_of_files(threads, resolved.settings.max_streams):
        yield f"{diagnosis.what}: {diagnosis.remedy}"


def explain(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the candidates of a model in order, with the state of each."""
    from .explain import NotExplained, explained_here, explained_there

    try:
        if arguments.url:
            lines = list(explained_there(arguments.url, environ.get(CALLER_KEY, ""), arguments.model))
        else:
            lines = list(explained_here(resolve(environ).settings, arguments.model))
    except NotExplained as error:
        print(one_line(f"flask-gateway: {error}"), file=sys.stderr)
        return 1
    for line in lines:
        print(one_line(line))
    return 0


def try_upstream(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Make a running gateway try an upstream with the next call, even if its breaker is open."""
    from .explain import NotExplained, tried_there

    key = environ.get("GATEWAY_METRICS_KEY") or environ.get(CALLER_KEY, "")
    try:
        for line in tried_there(arguments.url, key, arguments.upstream):
            print(one_line(line))
    except NotExplained as error:
        print(one_line(f"flask-gateway: {error}"), file=sys.stderr)
        return 1
    return 0


def selftest(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run fault scenarios between the gateway with its settings and fake upstreams."""
    from .selftest.command import choose, run

    try:
        play, scenarios = choose(arguments, load(environ))
    except ValueError as error:
        print(one_line(f"flask-gateway: {error}"), file=sys.stderr)
        return 2
    return run(play, scenarios)


def doctor(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Check the environment of a running gateway."""
    from .doctor.command import run

    if arguments.url and not arguments.url.startswith(("http://", "https://")):
        message = f"flask-gateway: expected a URL that begins with http:// or https://, not {arguments.url!r}"
        print(one_line(message), file=sys.stderr)
        return 2
    return run(arguments, environ, arguments.key or environ.get(CALLER_KEY, ""))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flask_gateway", allow_abbrev=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    checking = commands.add_parser("check", help="validate the settings without serving", allow_abbrev=False)
    checking.add_argument("--quiet", action="store_true", help="print errors and warnings only")
    checking.add_argument(
        "--bind",
        metavar="ADDR",
        nargs="+",
        action="extend",
        default=[],
        help="addresses the server will listen on: refuse dev-key on addresses that others can reach",
    )
    checking.add_argument(
        "--workers",
        metavar="N",
        type=int,
        help="number of server processes: refuse a state that they cannot share",
    )
    checking.set_defaults(run=check)
    explaining = commands.add_parser(
        "explain", help="show which upstreams a call of a model would use, and why", allow_abbrev=False
    )
    explaining.add_argument("model", metavar="MODEL")
    explaining.add_argument(
        "--url", help=f"ask the running gateway at this URL, with the caller's key in ${CALLER_KEY}"
    )
    explaining.set_defaults(run=explain)
    trying = commands.add_parser(
        "try", help="make a running gateway try an upstream again now", allow_abbrev=False
    )
    trying.add_argument("upstream", metavar="UPSTREAM")
    trying.add_argument(
        "--url",
        default="http://127.0.0.1:8000",
        help="URL of the gateway (%(default)s); the request has the key in $GATEWAY_METRICS_KEY, or else in "
        f"${CALLER_KEY}",
    )
    trying.set_defaults(run=try_upstream)
    testing = commands.add_parser(
        "selftest", help="show what callers get when upstreams fail", allow_abbrev=False
    )
    testing.add_argument("--fast", action="store_true", help="run 15 times as fast: seconds, not minutes")
    testing.add_argument(
        "--whole", action="store_true", help="ask for buffered streams; then every scenario must pass"
    )
    testing.add_argument("--only", metavar="S08,S13", default="", help="run only these scenarios")
    testing.add_argument("--model", metavar="NAME", help="test the route of this model (default: the first)")
    testing.set_defaults(run=selftest)
    looking = commands.add_parser(
        "doctor", help="show what is wrong around a running gateway", allow_abbrev=False
    )
    looking.add_argument("url", metavar="URL", nargs="?", help="the callers' URL (default: its own address)")
    looking.add_argument("--model", metavar="NAME", help="a cheap model, for one stream")
    looking.add_argument("--key", metavar="KEY", help=f"a caller's key; better in ${CALLER_KEY}")
    looking.set_defaults(run=doctor)
    return parser
