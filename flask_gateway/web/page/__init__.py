"""Serves ``/ui``: the operator's page. Imported only where there is an admin."""

from __future__ import annotations

from flask import Flask

from ..hooks import PAGE
from . import (
    doctor,
    health,
    keys,
    live,
    login,
    models,
    overview,
    request_list,
    settings_page,
    spend,
    try_page,
    upstreams,
)
from .access import admit, blueprint

#: The modules whose import adds the paths.
_PAGES = (
    *(doctor, health, keys, live, login, models, overview, request_list),
    *(settings_page, spend, try_page, upstreams),
)


def register(app: Flask) -> None:
    """Register the page with the application."""
    assert _PAGES
    app.extensions[PAGE] = admit
    live.add_feeds(app)
    app.register_blueprint(blueprint)
