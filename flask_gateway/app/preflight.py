"""Settings that are to be served: right by themselves, with this server, and on this machine.

What the start asks before it begins, and a change of the file before it is taken over.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from ..config import (
    ConfigError,
    Origin,
    Resolved,
    last_good,
    load,
    refuse_exposed_dev_key,
    refuse_exposed_short_keys,
    refuse_split_state,
    resolve,
)
from ..config.errors import Mistakes, dotted
from ..config.schema import MASK, Settings
from ..config.server_checks import workers_of
from ..upstreams.mock.upstream import read_options

log = logging.getLogger(__name__)


def load_checked(environ: Mapping[str, str], binds: Sequence[str], workers: int | None) -> Resolved:
    """The settings with their origins.

    :param binds: the addresses the server listens on; none: those that the settings name.
    :param workers: how many processes it has; ``None`` likewise.
    :raises ConfigError: they cannot be served.
    """
    resolved, mistakes = resolve(environ), Mistakes()
    settings, addresses = resolved.settings, binds or [str(resolved.server["bind"])]
    _check_mocks(settings, mistakes)
    with mistakes:
        _check_redis(settings)
    with mistakes:
        refuse_exposed_dev_key(settings, addresses)
    with mistakes:
        refuse_exposed_short_keys(settings, addresses)
    with mistakes:
        refuse_split_state(settings, workers or workers_of(resolved.server, environ))
    mistakes.raise_found()
    return resolved


def refuse_emptied(before: Settings, resolved: Resolved) -> None:
    """Raise :class:`ConfigError` when keys or upstreams are gone, so that the defaults would come in.

    A file that was cut short may well be a proper one. The published key and the mock are something to
    begin with, and nothing to put in the place of what was there.
    """
    now = resolved.settings
    keys = [dotted("keys", key.id) for key in now.keys if key not in before.keys]
    upstreams = [dotted("upstreams", one.name) for one in now.upstreams if one not in before.upstreams]
    for section, new in (("keys", keys), ("upstreams", upstreams)):
        if any(resolved.origins[path] is Origin.DEFAULT for path in new):
            raise ConfigError(section, None, "some, as there were before", "the file has none left")


def load_for_worker(environ: Mapping[str, str]) -> Settings:
    """The settings for a process that begins. If they cannot be served, and others of this server are in
    force, it is those, and the log says so: a wrong file is no reason to be one worker less.

    :raises ConfigError: they cannot be served, and there are no others.
    """
    before = last_good.load()
    try:
        settings = load(environ) if before is None else _load_after(before, environ)
    except ConfigError as error:
        if before is None:
            raise
        log.error("flask-gateway: %s (refused, this worker begins with the old settings)", error)
        return before
    last_good.save(settings)
    return settings


def _load_after(before: Settings, environ: Mapping[str, str]) -> Settings:
    resolved = load_checked(environ, *last_good.server())
    refuse_emptied(before, resolved)
    return resolved.settings


def _check_mocks(settings: Settings, mistakes: Mistakes) -> None:
    """A mock's options are its own affair, but a mistake in them must not wait for a worker to die of it."""
    for upstream in settings.upstreams:
        if not upstream.url.startswith("mock://"):
            continue
        try:
            read_options(upstream.url)
        except ValueError as error:
            expected = "a mock URL with options that exist"
            mistakes.add(ConfigError(f"upstreams.{upstream.name}", upstream.url, expected, str(error)))


def _check_redis(settings: Settings) -> None:
    if settings.state.startswith("redis") and find_spec("redis") is None:
        hint = "in a clone: .venv/bin/pip install '.[redis]'"
        raise ConfigError("GATEWAY_STATE", MASK, "the redis package, which is not installed", hint)
