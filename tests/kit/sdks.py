"""The official SDKs, each imported when a test first uses it.

Each process of xdist collects every file of tests, so it imports what they import. An SDK takes up to two
seconds, and most processes run no test of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Sdk:
    """A module that its first attribute imports."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # pytest asks each name of a file for those while it collects
            raise AttributeError(name)
        return getattr(import_module(self._name), name)


anthropic, httpx2, openai = Sdk("anthropic"), Sdk("httpx2"), Sdk("openai")
genai = Sdk("google.genai")
