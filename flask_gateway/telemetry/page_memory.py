"""Holds the file in memory that keeps the rings of the operator's page, and the slot of this worker in it."""

from __future__ import annotations

#: The descriptor of the master's file, and the slot of this worker; ``None`` under another server.
attached: tuple[int, int] | None = None


def attach(descriptor: int | None, slot: int) -> None:
    """Use the file that the gunicorn master made. No other living process writes the region of the slot."""
    global attached
    attached = None if descriptor is None else (descriptor, slot)
