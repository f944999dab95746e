"""Serves large language models behind one OpenAI-compatible API. ``create_app`` makes the application."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flask import Flask

    from .app.extensions import Extend
    from .config.schema import Settings
    from .state.store import Store


def create_app(
    settings: Settings | None = None, store: Store | None = None, extend: Extend | None = None
) -> Flask:
    """Create the application.

    If the server forks after this, each process opens its connections and threads at its first request.

    :param settings: replace the settings of the environment.
    :param store: replaces the store that the settings name.
    :param extend: makes further guards, wrappers and observers (``app/extensions.py``).
    :raises ConfigError: one of the given ``settings`` is invalid. One line names it and the expected value.
    :raises SystemExit: a setting of the environment is invalid. One line per mistake was printed; with an
        exception the server would print a traceback.
    """
    # Imported here, so that importing one module of the package does not import all of it.
    import os
    import sys

    from .app.extensions import nothing
    from .config.errors import ConfigError
    from .web.app import make_app

    try:
        return make_app(settings, store, extend or nothing)
    except ConfigError as error:
        if settings is not None:
            raise
        for line in error.lines():
            print(f"flask-gateway: {line}", file=sys.stderr)
        # 3 is gunicorn's status for "the worker could not start". With any other it restarts it forever.
        raise SystemExit(3 if os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn") else 78) from None
