"""Checks the cache: its directory, the file system, and whether the workers share it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ...app.caching import is_shared
from ...config.cache_settings import CacheMode
from ...config.schema import Settings
from .finding import Diagnosis, fail, ok, warn
from .ledger import REMOTE, kind_of


def check_all(settings: Settings) -> Iterator[Diagnosis]:
    """Check the cache, if a model has one."""
    if all(model.cache.mode is CacheMode.OFF for model in settings.models):
        return
    cache = settings.cache
    if not is_shared(cache) or cache.path is None:
        remedy = "set path in [cache], and pip install '.[cache]'"
        yield warn("cache: each worker keeps its answers in its memory, and shares none", remedy)
        return
    directory = Path(cache.path)
    if not directory.is_dir():
        yield ok(f"cache: {directory} is made at the first start")
    elif not os.access(directory, os.W_OK):
        yield warn(f"cache: this user cannot write {directory}", "run doctor as the user of the gateway")
    elif directory.stat().st_mode & 0o077:
        yield warn(f"cache: others may read answers in {directory}", f"chmod 700 {directory}")
    else:
        yield ok(f"cache: {directory} can be written, and by nobody else")
    kind = kind_of(directory, Path("/proc/mounts").read_text())
    if kind in REMOTE:
        yield fail(f"cache: {directory} is on {kind}", "use a local disk: its locks end with their process")
