"""Has the C library give memory back to the system once large bodies are gone."""

from __future__ import annotations

import ctypes
from contextlib import suppress

#: glibc's ``mallopt`` parameters, and what they are set to, bytes. Blocks from the first size on are mapped
#: one by one, and unmapped when they are freed. Left alone, glibc raises that size to the largest block that
#: was freed. The next ones then lie in arenas, where one small block behind them keeps all of them.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
LARGE_BLOCK, KEPT_FREE = 256 * 1024, 1024 * 1024


def give_back_large_blocks() -> bool:
    """To be called once, early in a process. Whether the C library can do so: glibc's, not musl's."""
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_MMAP_THRESHOLD, LARGE_BLOCK) and mallopt(_TRIM_THRESHOLD, KEPT_FREE))
    return False
