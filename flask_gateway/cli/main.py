"""The command line: ``python -m flask_gateway check``. One function and one parser per command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

from ..app.preflight import load_checked
from ..config import ConfigError, Resolved, describe, load, resolve
from ..config.errors import one_line

#: Where a command finds the key of a caller. A command line can be read by everybody on the machine.
CALLER_KEY = "FLASK_GATEWAY_KEY"

#: sysexits.h: something is wrong in the configuration.
EX_CONFIG = 78


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit status; wrong usage exits with 2."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments, os.environ if environ is None else environ)
    except ConfigError as error:
        for line in error.lines():
            print(f"flask-gateway: {line}", file=sys.stderr)
        return EX_CONFIG
    except BrokenPipeError:  # whoever reads us has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def check(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Validate the settings and show the effective ones. Raises :class:`ConfigError`."""
    resolved = load_checked(environ, arguments.bind, arguments.workers)
    if not arguments.quiet:
        for line in describe(resolved):
            print(line)
    for warning in (*resolved.settings.warnings, *_of_machine(resolved)):
        print(one_line(f"flask-gateway: warning: {warning}"), file=sys.stderr)
    return 0


def _of_machine(resolved: Resolved) -> Iterator[str]:
    from .doctor.host import short_of_files

    threads = int(str(resolved.server["threads"]))
    if found := short_of_files(threads, resolved.settings.max_streams):
        yield f"{found.what}: {found.remedy}"


def explain(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Show the candidates of a model, in order, with the reason for each."""
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
    """Have a gateway that runs ask an upstream again, whatever is held against it."""
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
    """Play faults between the gateway, as it is set, and upstreams that are not its own."""
    from .selftest.command import choose, run

    try:
        play, scenarios = choose(arguments, load(environ))
    except ValueError as error:
        print(one_line(f"flask-gateway: {error}"), file=sys.stderr)
        return 2
    return run(play, scenarios)


def doctor(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Look at what is around a gateway that runs."""
    from .doctor.command import run

    if arguments.url and not arguments.url.startswith(("http://", "https://")):
        said = f"flask-gateway: expected a URL that begins with http:// or https://, not {arguments.url!r}"
        print(one_line(said), file=sys.stderr)
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
        help="addresses the server will listen on: refuse the published key on those others can reach",
    )
    checking.add_argument(
        "--workers",
        metavar="N",
        type=int,
        help="how many processes the server will have: refuse state that they could not share",
    )
    checking.set_defaults(run=check)
    explaining = commands.add_parser(
        "explain", help="show where a call of a model would go, and why", allow_abbrev=False
    )
    explaining.add_argument("model", metavar="MODEL")
    explaining.add_argument(
        "--url", help=f"ask the gateway that runs there, as the caller whose key is in ${CALLER_KEY}"
    )
    explaining.set_defaults(run=explain)
    trying = commands.add_parser(
        "try", help="have a gateway that runs ask an upstream again now", allow_abbrev=False
    )
    trying.add_argument("upstream", metavar="UPSTREAM")
    trying.add_argument(
        "--url",
        default="http://127.0.0.1:8000",
        help="where the gateway runs (%(default)s); it is shown the key in $GATEWAY_METRICS_KEY, or else in "
        f"${CALLER_KEY}",
    )
    trying.set_defaults(run=try_upstream)
    testing = commands.add_parser(
        "selftest", help="show what callers meet when upstreams fail", allow_abbrev=False
    )
    testing.add_argument(
        "--fast", action="store_true", help="in a fifteenth of the time: seconds, not minutes"
    )
    testing.add_argument(
        "--whole", action="store_true", help="ask for streams in one piece; all must pass then"
    )
    testing.add_argument("--only", metavar="S08,S13", default="", help="these scenarios and no other")
    testing.add_argument("--model", metavar="NAME", help="the route to play; the first one unless given")
    testing.set_defaults(run=selftest)
    looking = commands.add_parser(
        "doctor", help="show what is wrong around a gateway that runs", allow_abbrev=False
    )
    looking.add_argument("url", metavar="URL", nargs="?", help="where callers reach it; else its own address")
    looking.add_argument("--model", metavar="NAME", help="a cheap one, to be asked for one stream")
    looking.add_argument("--key", metavar="KEY", help=f"a caller's; better in ${CALLER_KEY}")
    looking.set_defaults(run=doctor)
    return parser
