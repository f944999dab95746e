"""Makes each plugin once, and tells what it does."""

from __future__ import annotations

from collections.abc import Iterator

from ...config.errors import ConfigError
from ...config.schema import Settings
from .finding import Diagnosis, fail, ok


def check_all(settings: Settings) -> Iterator[Diagnosis]:
    """Check the plugins, if the settings name some. Otherwise nothing of them is imported."""
    if not settings.plugins:
        return
    from ...app.plugins import tried

    for found in tried(settings):
        if isinstance(found, ConfigError):
            yield fail(
                f"plugins: {found}", "run doctor with the variables of the service, PYTHONPATH included"
            )
        else:
            yield ok(f"plugins: {found}")
