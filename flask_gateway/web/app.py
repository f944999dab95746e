"""The Flask application: what there is to ask for, and its error faces."""

from __future__ import annotations

import os

from flask import Flask

from .. import wiring
from ..config import Settings
from ..core import Store
from ..to_serve import load_to_serve
from . import breakers, chat, door, errors, health, metrics, models, openapi, routes
from .lean import App
from .paths import canonical


def make_app(settings: Settings | None = None, store: Store | None = None) -> Flask:
    """See :func:`flask_gateway.create_app`."""
    app = App("flask_gateway", static_folder=None)
    app.extensions["gateway"] = gateway = wiring.build(settings or load_to_serve(os.environ), store)
    gateway.catalog.start()
    app.canonical = canonical
    errors.register(app)
    door.register(app)
    for room in (health, chat, models, breakers, routes, openapi, metrics):
        app.register_blueprint(room.blueprint)
    return app
