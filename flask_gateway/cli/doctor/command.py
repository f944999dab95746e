"""Runs all checks, prints a line for each as soon as it ends, and returns the exit status."""

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

#: The assumed body limit of a gateway whose settings cannot be read here.
DEFAULT_MAX_BODY = Settings(keys=(), upstreams=()).max_body_bytes


def run(arguments: Namespace, environ: Mapping[str, str], key: str) -> int:
    """Run all checks. Returns 1 when one has failed, else 0.

    :param key: a caller's key; empty for the first key of the settings.
    """
    failed = False
    for diagnosis in check_all(arguments, environ, key):
        print(diagnosis, flush=True)
        failed = failed or diagnosis.level is Level.FAIL
    return int(failed)


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
        yield from upstreams.check_all(settings.upstreams, Timeouts.within(settings.request_timeout_seconds))


def _direct(gateway: ProbeClient) -> Iterator[Diagnosis]:
    """Check the gateway at its own address. Yields nothing when none answers there."""
    try:
        yield network_path.behind(gateway.get("/health", key="").headers.get("connection"))
    except (OSError, http.client.HTTPException):
        return


def local_url(bind: str) -> str | None:
    """The URL on this machine of the first TCP address in a ``GATEWAY_BIND``."""
    for address in bind.split(","):
        match = re.fullmatch(r"(?:tcp://)?(\[[^\]]*\]|[^:/]*):(\d+)", address.strip())
        if match:
            host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(match[1], match[1])  # noqa: S104
            return f"http://{host}:{match[2]}"
    return None


def first_key(environ: Mapping[str, str], settings: Settings | None) -> str:
    """The first key of the environment, or ``dev-key`` if no other key is set."""
    if API_KEYS.variable in environ:
        return environ[API_KEYS.variable].split(",")[0].strip()
    published = settings and any(key.digest == DEV_KEY_DIGEST for key in settings.keys)
    return DEV_KEY if published else ""
