"""Serves ``/admin/v1``: the paths of the operator's programs. Imported only where an admin's key is set."""

from __future__ import annotations

from flask import Flask

from ..hooks import ADMIN
from . import adjustments, keys, ledger, upstreams, users
from .access import admit, blueprint


def register(app: Flask) -> None:
    """Register the paths with the application."""
    assert keys  # the imports add the paths
    assert adjustments
    assert ledger
    assert upstreams
    assert users
    app.extensions[ADMIN] = admit
    app.register_blueprint(blueprint)
    compat = app.extensions["gateway"].settings.compat
    if "litellm" in compat:
        from . import litellm_keys

        litellm_keys.register(app)
    if "openai" in compat:
        from . import openai_usage

        openai_usage.register(app)
