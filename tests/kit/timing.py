"""Measures how long calls of a store take, and checks that they fail."""

from __future__ import annotations

import time

import pytest

from flask_gateway.state import StoreError


def milliseconds(call) -> float:
    begun = time.monotonic()
    call()
    return (time.monotonic() - begun) * 1000


def mostly(call, bound: float) -> float:
    """The milliseconds it takes. Once more, and once more, if that is too long: others may have had the
    processors."""
    taken = milliseconds(call)
    for _ in range(2):
        if taken >= bound:
            taken = milliseconds(call)
    return taken


def fails(call) -> float:
    def failing() -> None:
        with pytest.raises(StoreError):
            call()

    return mostly(failing, 100)
