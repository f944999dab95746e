"""Keeps which plugins see one call, and what each did with it."""

from __future__ import annotations

from typing import Any

#: The most characters of what one plugin did.
MOST = 64


class PluginNotes:
    """The plugins of one call, in the order of the settings. One thread at a time uses it.

    :param seeing: the plugins that see the call (``plugins/loaded.py``).
    """

    __slots__ = ("_done", "seeing")

    def __init__(self, seeing: tuple[Any, ...]) -> None:
        self.seeing = seeing
        self._done: dict[str, str] = {}

    def note(self, plugin: str, done: str) -> None:
        """Note what a plugin did, in place of what it did before."""
        self._done[plugin] = done[:MOST]

    def noted(self, plugin: str) -> str:
        """Return the note on a plugin; empty if there is none."""
        return self._done.get(plugin, "")

    def __str__(self) -> str:
        """Return the value of ``x-gateway-plugins``, such as ``pii=masked(2), quiet=admitted``."""
        return ", ".join(f"{plugin}={done}" for plugin, done in self._done.items())
