"""Makes the C library return the memory of large bodies to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress

#: glibc's ``mallopt`` parameters and our values for them, bytes. glibc maps each block of at least
#: ``LARGE_BLOCK`` by itself and unmaps it when freed. By default glibc raises that threshold to the largest
#: freed block. Later blocks then lie in arenas, where one small block behind them keeps all of them in use.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
LARGE_BLOCK, KEPT_FREE = 256 * 1024, 1024 * 1024


def give_back_large_blocks() -> bool:
    """Set both thresholds, once, early in a process. Returns whether the C library can (musl cannot)."""
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_MMAP_THRESHOLD, LARGE_BLOCK) and mallopt(_TRIM_THRESHOLD, KEPT_FREE))
    return False
