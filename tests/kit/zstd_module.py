"""The zstd module: of the standard library since Python 3.14, else its backport."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def _module() -> Any:
    try:
        return import_module("compression.zstd")
    except ImportError:
        return import_module("backports.zstd")


zstd = _module()
