"""Checks settings before start and reload: values, bind addresses, worker count, installed packages."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..config import last_good
from ..config.errors import ConfigError, Mistakes, dotted, nearest
from ..config.load import Resolved, load, resolve
from ..config.schema import MASK, Settings
from ..config.server_checks import (
    refuse_exposed_dev_key,
    refuse_exposed_short_keys,
    refuse_split_state,
    workers_of,
)
from ..config.traces import ENDPOINT
from ..config.warnings import Origin
from ..upstreams.mock.upstream import read_options

log = logging.getLogger(__name__)


def load_checked(environ: Mapping[str, str], binds: Sequence[str], workers: int | None) -> Resolved:
    """The checked settings with their origins.

    :param binds: the addresses the server listens on; if empty, the settings' own are checked.
    :param workers: the server's number of processes; if ``None``, the settings' own is checked.
    :raises ConfigError: the gateway cannot serve with these settings.
    """
    resolved, mistakes = resolve(environ), Mistakes()
    settings, addresses = resolved.settings, binds or [str(resolved.server["bind"])]
    _check_mocks(settings, mistakes)
    if settings.ledger.data is not None:
        _check_providers(settings, mistakes)
    with mistakes:
        _check_redis(settings)
    with mistakes:
        _check_traces(settings)
    with mistakes:
        refuse_exposed_dev_key(settings, addresses)
    with mistakes:
        refuse_exposed_short_keys(settings, addresses)
    with mistakes:
        refuse_split_state(settings, workers or workers_of(resolved.server, environ))
    mistakes.raise_found()
    return resolved


def refuse_emptied(before: Settings, resolved: Resolved) -> None:
    """Raise :class:`ConfigError` if a reload would remove all keys or all upstreams, so that defaults apply.

    A truncated file may still be valid TOML. The public development key and the mock upstream are for a first
    start, and must not replace real keys and upstreams.
    """
    now = resolved.settings
    keys = [dotted("keys", key.id) for key in now.keys if key not in before.keys]
    added = [upstream for upstream in now.upstreams if upstream not in before.upstreams]
    upstreams = [dotted("upstreams", upstream.name) for upstream in added]
    for section, new in (("keys", keys), ("upstreams", upstreams)):
        if any(resolved.origins[path] is Origin.DEFAULT for path in new):
            raise ConfigError(section, None, "some, as before", "the file has none left")


def load_for_worker(environ: Mapping[str, str]) -> Settings:
    """The settings for a new worker.

    If they are invalid, the worker uses the server's last known good settings and logs that: an invalid file
    must not cost a worker.

    :raises ConfigError: they are invalid, and there are no last known good settings.
    """
    before = last_good.load()
    try:
        settings = load(environ) if before is None else _load_after(before, environ)
    except ConfigError as error:
        if before is None:
            raise
        log.error("flask-gateway: %s (refused; this worker starts with the old settings)", error)
        return before
    last_good.save(settings)
    return settings


def _load_after(before: Settings, environ: Mapping[str, str]) -> Settings:
    resolved = load_checked(environ, *last_good.server())
    refuse_emptied(before, resolved)
    return resolved.settings


def _check_mocks(settings: Settings, mistakes: Mistakes) -> None:
    """Check the options of mock upstreams, which only the mock itself would read, when a worker starts."""
    for upstream in settings.upstreams:
        if not upstream.url.startswith("mock://"):
            continue
        try:
            read_options(upstream.url)
        except ValueError as error:
            expected = "a mock URL with options that exist"
            mistakes.add(ConfigError(f"upstreams.{upstream.name}", upstream.url, expected, str(error)))


def _check_providers(settings: Settings, mistakes: Mistakes) -> None:
    """Check the providers whose prices upstreams name: the tables of prices know them."""
    from .prices import tables_in, unknown_providers

    tables = tables_in(Path(settings.ledger.data or ""))
    for upstream, provider in unknown_providers(settings, tables):
        known = sorted({name for _, table in tables for name in table.providers} | {"free"})
        expected = "a provider of the price table, or free"
        hint = nearest(provider, known) or f"known are {', '.join(known)}"
        mistakes.add(ConfigError(dotted("upstreams", upstream, "prices"), provider, expected, hint))


def _check_redis(settings: Settings) -> None:
    if settings.state.startswith("redis") and find_spec("redis") is None:
        hint = "in a clone: .venv/bin/pip install '.[redis]'"
        raise ConfigError("GATEWAY_STATE", MASK, "the redis package, which is not installed", hint)


def _check_traces(settings: Settings) -> None:
    if settings.traces is not None and find_spec("opentelemetry") is None:
        hint = "in a clone: .venv/bin/pip install '.[otel]'; or set OTEL_SDK_DISABLED=true"
        raise ConfigError(ENDPOINT, None, "the opentelemetry packages, which are not installed", hint)
