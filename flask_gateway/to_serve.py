"""Settings that are to be served: right by themselves, with this server, and on this machine.

What the start asks before it begins, and a change of the file before it is taken over.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from .config import MASK, Settings
from .settings import ConfigError, Resolved, refuse_exposed_dev_key, refuse_split_state, resolve
from .upstreams.mock import read_options


def resolve_to_serve(environ: Mapping[str, str], binds: Sequence[str], workers: int | None) -> Resolved:
    """The settings with their origins.

    :param binds: the addresses the server listens on; none: those that the settings name.
    :param workers: how many processes it has; ``None`` likewise.
    :raises ConfigError: they cannot be served.
    """
    resolved = resolve(environ)
    _check_mocks(resolved.settings)
    _check_redis(resolved.settings)
    refuse_exposed_dev_key(resolved.settings, binds or [str(resolved.server["bind"])])
    workers = workers or int(str(resolved.server["workers"] or os.cpu_count() or 1))
    refuse_split_state(resolved.settings, workers)
    return resolved


def _check_mocks(settings: Settings) -> None:
    """A mock's options are its own affair, but a mistake in them must not wait for a worker to die of it."""
    for upstream in settings.upstreams:
        if not upstream.url.startswith("mock://"):
            continue
        try:
            read_options(upstream.url)
        except ValueError as error:
            expected = "a mock URL with options that exist"
            raise ConfigError(f"upstreams.{upstream.name}", upstream.url, expected, str(error)) from None


def _check_redis(settings: Settings) -> None:
    if settings.state.startswith("redis") and find_spec("redis") is None:
        hint = "in a clone: .venv/bin/pip install '.[redis]'"
        raise ConfigError("GATEWAY_STATE", MASK, "the redis package, which is not installed", hint)
