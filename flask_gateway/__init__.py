"""A synchronous WSGI gateway for large language models."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flask import Flask

    from .config import Settings
    from .core import Store


def create_app(settings: Settings | None = None, store: Store | None = None) -> Flask:
    """The application. Call it in the process that serves, not before it is forked.

    :param settings: instead of those in the environment.
    :param store: instead of the one that the settings name.
    :raises ConfigError: a setting is wrong; one line says which and what was expected.
    """
    # Imported here, so that a part of the package can be had without all of it.
    from .web.app import make_app

    return make_app(settings, store)
