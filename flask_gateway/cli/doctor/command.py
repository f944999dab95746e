"""Runs all checks, prints a line for each as soon as it ends, and returns the exit status."""

from __future__ import annotations

import http.client
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping

from ...config.errors import ConfigError, one_line
from ...config.load import resolve
from ...config.options import API_KEYS
from ...config.schema import Settings, Timeouts
from ...config.secrets import DEV_KEY, DEV_KEY_DIGEST
from ...config.server_checks import workers_of
from ..addresses import local_url
from ..command import CALLER_KEY, FOUND, OK, USAGE, Command, add_config, add_json, print_json
from ..terminal import ProgressLine, coloured, paint
from . import cache, host, keys, ledger, network_path, plugins, traces, upstreams
from .finding import Diagnosis, Level, fail, ok, warn
from .probe_client import ProbeClient

#: The assumed body limit of a gateway whose settings cannot be read here.
DEFAULT_MAX_BODY = Settings(keys=(), upstreams=()).max_body_bytes


#: The colour of each level on a terminal.
_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", nargs="?", help="the callers' URL (default: its own address)")
    parser.add_argument("--model", metavar="NAME", help="a cheap model, for one stream")
    parser.add_argument("--key", metavar="KEY", help=f"a caller's key; better in ${CALLER_KEY}")
    add_config(parser)
    add_json(parser)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    if arguments.url and not arguments.url.startswith(("http://", "https://")):
        message = f"flask-gateway: expected a URL that begins with http:// or https://, not {arguments.url!r}"
        print(one_line(message), file=sys.stderr)
        return USAGE
    return run(arguments, environ, arguments.key or environ.get(CALLER_KEY, ""))


def run(arguments: Namespace, environ: Mapping[str, str], key: str) -> int:
    """Run all checks. Returns 1 when one has failed, else 0.

    :param key: a caller's key; empty for the first key of the settings.
    """
    use = coloured(sys.stdout, environ)
    found = []
    with ProgressLine("checks") as progress:
        for diagnosis in check_all(arguments, environ, key):
            found.append(diagnosis)
            progress.step()
            if not arguments.json:
                level, rest = str(diagnosis)[:4], str(diagnosis)[4:]
                print(f"{paint(level, _COLOURS[diagnosis.level], use)}{rest}", flush=True)
    if arguments.json:
        print_json(
            {"checks": [{"level": one.level.value, "what": one.what, "remedy": one.remedy} for one in found]}
        )
    return FOUND if any(one.level is Level.FAIL for one in found) else OK


def check_all(arguments: Namespace, environ: Mapping[str, str], key: str) -> Iterator[Diagnosis]:
    settings: Settings | None = None
    server: Mapping[str, object] = {}
    try:
        resolved = resolve(environ)
        settings, server = resolved.settings, resolved.server
        yield ok("settings: those of this shell are valid (the running gateway may have others)")
    except ConfigError as error:
        for line in error.lines():
            yield fail(f"settings: {line}", "give this command the variables that the service has")
    own_url = local_url(str(server.get("bind", "")))
    caller = ProbeClient(
        arguments.url or own_url or "http://127.0.0.1:8000", key or first_key(environ, settings)
    )
    max_body = settings.max_body_bytes if settings else DEFAULT_MAX_BODY
    yield from network_path.check_all(caller, arguments.model, max_body)
    direct = list(_direct(ProbeClient(own_url))) if own_url else []
    yield from direct
    if arguments.url and not direct and not caller.local:
        what = f"machine: not checked, since no gateway answers at {own_url or server.get('bind')}"
        yield warn(what, "run this on the gateway's own machine, with its variables")
    elif settings:
        threads = int(str(server["threads"]))
        yield from host.check_all(workers_of(server, environ), threads, settings.state, settings.max_streams)
        yield from ledger.check_all(settings.ledger)
        yield from keys.check_all(settings, time.time())
        yield from traces.check_all(settings.traces)
        yield from cache.check_all(settings)
        yield from plugins.check_all(settings)
        yield from upstreams.check_all(settings.upstreams, Timeouts.within(settings.request_timeout_seconds))


def _direct(gateway: ProbeClient) -> Iterator[Diagnosis]:
    """Check the gateway at its own address. Yields nothing when none answers there."""
    try:
        yield network_path.behind(gateway.get("/health", key="").headers.get("connection"))
    except (OSError, http.client.HTTPException):
        return


def first_key(environ: Mapping[str, str], settings: Settings | None) -> str:
    """The first key of the environment, or ``dev-key`` if no other key is set."""
    if API_KEYS.variable in environ:
        return environ[API_KEYS.variable].split(",")[0].strip()
    published = settings and any(key.digest == DEV_KEY_DIGEST for key in settings.keys)
    return DEV_KEY if published else ""


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway doctor", "check the gateway on this machine, at the address in the settings"),
        (
            f"{CALLER_KEY}=… flask-gateway doctor https://gateway.example.org --model mock",
            "check it as callers reach it, and whether streams flow",
        ),
    ),
    {OK: "no check has failed; there may be warnings", FOUND: "a check has failed"},
)
