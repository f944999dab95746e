"""The run: a line for each thing as soon as it has been looked at, and the exit status."""

from __future__ import annotations

import http.client
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping

from ...config import ConfigError, resolve
from ...config.options import API_KEYS
from ...config.schema import Settings, Timeouts
from ...config.secrets import DEV_KEY, DEV_KEY_DIGEST
from ...config.server_checks import workers_of
from . import host, network_path, upstreams
from .finding import Diagnosis, Level, fail, ok, warn
from .probe_client import ProbeClient

#: What a gateway accepts whose settings cannot be read here.
DEFAULT_MAX_BODY = Settings(keys=(), upstreams=()).max_body_bytes


def run(arguments: Namespace, environ: Mapping[str, str], key: str) -> int:
    """Look at everything. 1 when something has to be done, else 0.

    :param key: a caller's, for what needs one; empty for the first of the settings.
    """
    worst = False
    for finding in look(arguments, environ, key):
        print(finding, flush=True)
        worst = worst or finding.level is Level.FAIL
    return int(worst)


def look(arguments: Namespace, environ: Mapping[str, str], key: str) -> Iterator[Diagnosis]:
    settings: Settings | None = None
    server: Mapping[str, object] = {}
    try:
        resolved = resolve(environ)
        settings, server = resolved.settings, resolved.server
        yield ok("settings: those of this shell can be used (a gateway that runs may have others)")
    except ConfigError as error:
        for line in error.lines():
            yield fail(f"settings: {line}", "give this command the variables that the service has")
    here = local_url(str(server.get("bind", "")))
    caller = ProbeClient(
        arguments.url or here or "http://127.0.0.1:8000", key or first_key(environ, settings)
    )
    max_body = settings.max_body_bytes if settings else DEFAULT_MAX_BODY
    yield from network_path.look(caller, arguments.model, max_body)
    found = list(_behind(ProbeClient(here))) if here else []
    yield from found
    if arguments.url and not found and not caller.local:
        what = f"machine: not looked at, since no gateway answers at {here or server.get('bind')}"
        yield warn(what, "run this on the gateway's own machine, with its variables")
    elif settings:
        threads = int(str(server["threads"]))
        yield from host.look(workers_of(server, environ), threads, settings.state, settings.max_streams)
        yield from upstreams.look(settings.upstreams, Timeouts.within(settings.request_timeout_seconds))


def _behind(gateway: ProbeClient) -> Iterator[Diagnosis]:
    """Nothing, when it listens elsewhere."""
    try:
        yield network_path.behind(gateway.get("/health", key="").headers.get("connection"))
    except (OSError, http.client.HTTPException):
        return


def local_url(bind: str) -> str | None:
    """The first address of a ``GATEWAY_BIND`` that is one of TCP, as this machine reaches it."""
    for address in bind.split(","):
        found = re.fullmatch(r"(?:tcp://)?(\[[^\]]*\]|[^:/]*):(\d+)", address.strip())
        if found:
            host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(found[1], found[1])  # noqa: S104
            return f"http://{host}:{found[2]}"
    return None


def first_key(environ: Mapping[str, str], settings: Settings | None) -> str:
    """The first key of the environment, or the published one where nothing else is set."""
    if API_KEYS.variable in environ:
        return environ[API_KEYS.variable].split(",")[0].strip()
    published = settings and any(one.digest == DEV_KEY_DIGEST for one in settings.keys)
    return DEV_KEY if published else ""
