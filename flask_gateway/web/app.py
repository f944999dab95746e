"""The Flask application: what there is to ask for, and its error faces."""

from __future__ import annotations

import logging
import os
from functools import partial

from flask import Flask

from .. import wiring
from ..config import Settings
from ..core import Store
from ..stores import split_state
from ..to_serve import load_to_serve
from . import breakers, chat, door, errors, health, metrics, models, openapi, routes
from .lean import App
from .paths import canonical

log = logging.getLogger(__name__)


def make_app(settings: Settings | None = None, store: Store | None = None) -> Flask:
    """See :func:`flask_gateway.create_app`."""
    app = App("flask_gateway", static_folder=None)
    app.extensions["gateway"] = gateway = wiring.build(settings or load_to_serve(os.environ), store)
    gateway.catalog.start()
    app.canonical = canonical
    app.begin = partial(_begin, app, store, os.getpid())
    errors.register(app)
    door.register(app)
    for room in (health, chat, models, breakers, routes, openapi, metrics):
        app.register_blueprint(room.blueprint)
    return app


def _begin(app: App, store: Store | None, made_in: int, multiprocess: bool) -> None:
    """In a process that was forked after the application was made, make the gateway again: its threads are
    not here, its connections and the name it holds slots under are the other process's. The state stays."""
    settings = app.extensions["gateway"].settings
    if os.getpid() != made_in:
        app.extensions["gateway"] = wiring.build(settings, store)
    if reason := split_state(settings, multiprocess):
        log.warning("flask-gateway: warning: limits and breakers are not shared: %s", reason)
