"""Serves ``/ui``: the operator's page. Imported only where an admin's key is set."""

from __future__ import annotations

from flask import Flask

from ..hooks import PAGE
from . import login, overview, request_list, upstreams
from .access import admit, blueprint


def register(app: Flask) -> None:
    """Register the page with the application."""
    assert login  # the imports add the paths
    assert overview
    assert request_list
    assert upstreams
    app.extensions[PAGE] = admit
    app.register_blueprint(blueprint)
