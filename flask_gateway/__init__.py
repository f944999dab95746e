"""A synchronous WSGI gateway for large language models."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flask import Flask

    from .config.schema import Settings
    from .state.store import Store


def create_app(settings: Settings | None = None, store: Store | None = None) -> Flask:
    """The application. Where it is made before the server forks, each process begins with its first request.

    :param settings: instead of those in the environment.
    :param store: instead of the one that the settings name.
    :raises ConfigError: a setting is wrong; one line says which and what was expected.
    :raises SystemExit: it is one of the environment, after such a line was printed for each mistake. A server
        would show a traceback.
    """
    # Imported here, so that a part of the package can be had without all of it.
    import os
    import sys

    from .config import ConfigError
    from .web.app import make_app

    try:
        return make_app(settings, store)
    except ConfigError as error:
        if settings is not None:
            raise
        for line in error.lines():
            print(f"flask-gateway: {line}", file=sys.stderr)
        # gunicorn's own "the worker could not start": of another status it would start one again and again.
        raise SystemExit(3 if os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn") else 78) from None
