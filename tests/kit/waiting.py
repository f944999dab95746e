"""Polls a condition until it holds or a timeout passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 20.0


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Poll ``condition`` until its value is true. Returns the last value, for the caller to assert."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.002)
    return value
