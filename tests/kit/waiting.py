"""Polls a condition until it holds or a timeout passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 20.0


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Poll ``condition`` until its value is true. Returns the last value, for the caller to assert.

    The pauses grow from 2 to 20 ms, so that a costly condition does not keep a core busy.
    """
    deadline, pause = time.monotonic() + seconds, 0.002
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(pause * 1.2, 0.02)
    return value
