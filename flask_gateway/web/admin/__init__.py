"""Serves ``/admin/v1``: the paths of the operator's programs. Imported only where an admin's key is set."""

from __future__ import annotations

from flask import Flask

from ..hooks import ADMIN
from . import adjustments, keys, ledger
from .access import admit, blueprint


def register(app: Flask) -> None:
    """Register the paths with the application."""
    assert keys  # the imports add the paths
    assert adjustments
    assert ledger
    app.extensions[ADMIN] = admit
    app.register_blueprint(blueprint)
