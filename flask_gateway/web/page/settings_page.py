"""Serves ``/ui/settings``: the settings in force, with where each value is from. It changes none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import islice

from flask import Response

from ...config.describe import changed, rows
from ...config.errors import ConfigError
from ...config.load import Resolved, resolve
from ...config.schema import Settings
from ...config.warnings import Origin
from ..request_state import gateway
from .rendering import as_json, html_length, page, render, within

#: The packages that the gateway runs on.
_PACKAGES = (
    "flask",
    "werkzeug",
    "jinja2",
    "gunicorn",
    "requests",
    "urllib3",
    "msgspec",
    "cachetools",
    "redis",
)
#: A setting: its name, its value and where it is from.
Row = tuple[str, str, str]
#: The most rows of the page.
_MOST = 400
#: The most bytes of all rows.
_MOST_HTML = 48_000


class _Origins(dict[str, Origin]):
    """The origins that are known. The others are from the file, which has changed since."""

    def __missing__(self, path: str) -> Origin:
        return Origin.FILE


def in_force(settings: Settings, environ: Mapping[str, str]) -> tuple[list[Row], str, list[str]]:
    """The settings in force, as name, value and origin; the text of a refusal, and the names that differ.

    :param environ: names the file, which is read again: it may be refused, or not yet in force.
    """
    try:
        read = resolve(environ)
    except (ConfigError, ValueError) as error:
        return _rows(Resolved(settings, _Origins(), {})), str(error), []
    known = Resolved(settings, _Origins(read.origins), read.server)
    return _rows(known), "", list(changed(settings, read.settings))


def _rows(resolved: Resolved) -> list[Row]:
    return [(name, value, str(origin)) for name, value, origin in rows(resolved)]


@cache
def packages() -> dict[str, str]:
    """The installed packages that the gateway runs on, with their versions. Reading them takes 3 ms."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _weight(row: Row) -> int:
    """About how many bytes of HTML a row takes."""
    return 70 + sum(html_length(text) for text in row)


@page("settings")
def show_settings() -> Response:
    here = gateway()
    found, refusal, differing = in_force(here.settings, os.environ)
    return render(
        "settings.html",
        title="Settings in force",
        formats={"JSON": "settings.json"},
        rows=list(within(islice(found, _MOST), _weight, _MOST_HTML)),
        count=len(found),
        refusal=refusal,
        differing=differing if here.settings.config else [],
        config=here.settings.config,
        built=here.built,
        reloaded=here.metrics.last_reload_successful,
        packages=packages(),
        warnings=here.settings.warnings,
    )


@page("settings.json")
def settings_json() -> Response:
    found, refusal, _ = in_force(gateway().settings, os.environ)
    data = [{"name": name, "value": value, "origin": origin} for name, value, origin in found]
    return as_json(data, refused=refusal or None)
