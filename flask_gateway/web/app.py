"""Assembles the Flask application: gateway, hooks, error handlers and blueprints."""

from __future__ import annotations

import logging
import os
from functools import partial

from flask import Flask

from ..app import build
from ..app.extensions import Extend, nothing
from ..app.preflight import load_for_worker
from ..config.schema import Settings
from ..state import split_state
from ..state.store import Store
from . import (
    circuit_breakers,
    error_handlers,
    gemini,
    health,
    hooks,
    inference,
    media,
    metrics,
    models,
    openapi,
    own_key,
    raw,
    route_status,
    stored,
    websocket,
)
from .fast_flask import FastFlask
from .paths import canonical

log = logging.getLogger(__name__)


def make_app(settings: Settings | None = None, store: Store | None = None, extend: Extend = nothing) -> Flask:
    """See :func:`flask_gateway.create_app`."""
    app = FastFlask("flask_gateway", static_folder=None)
    app.extensions["gateway"] = gateway = build.build(settings or load_for_worker(os.environ), store, extend)
    _start(gateway)
    app.canonical = canonical
    app.begin = partial(_begin, app, store, os.getpid())
    error_handlers.register(app)
    hooks.register(app)
    of_calls = (inference, media, stored, raw, gemini, models, circuit_breakers, route_status, websocket)
    for module in (health, *of_calls, openapi, own_key, metrics):
        app.register_blueprint(module.blueprint)
    if gateway.settings.admins:
        from . import admin, page  # an extra that is off is not imported

        admin.register(app)
        page.register(app)
    return app


def _start(gateway: build.Gateway) -> None:
    """Start the threads that need no request to begin."""
    gateway.catalog.start()
    gateway.renewed_keys.start()
    if gateway.accounting is not None:
        gateway.accounting.books.start()
    if gateway.issued is not None:
        gateway.issued.start()


def _begin(app: FastFlask, store: Store | None, made_in: int, multiprocess: bool) -> None:
    """Build the gateway again if the server forked after the application was made.

    A fork has none of the parent's threads. Connections and the owner's name of leases are the parent's. The
    store's state stays.
    """
    settings = app.extensions["gateway"].settings
    if os.getpid() != made_in:
        app.extensions["gateway"] = gateway = build.build(settings, store, app.extensions["gateway"].extend)
        _start(gateway)
    if reason := split_state(settings, multiprocess):
        log.warning("flask-gateway: warning: limits and breakers are not shared: %s", reason)
