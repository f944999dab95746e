"""Makes the C library return the memory of large bodies to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress

#: glibc's ``mallopt`` parameters (https://man7.org/linux/man-pages/man3/mallopt.3.html).
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8
#: glibc maps each block of at least so many bytes by itself and unmaps it when freed. By default glibc raises
#: that threshold to the largest freed block. Later blocks then lie in arenas, where one small block behind
#: them keeps all of them in use. A new mapping costs a page fault for every 4 KiB: a copy of 1 MB takes
#: 0.5 ms there, and 0.025 ms in an arena. So blocks of usual prompts lie in arenas.
LARGE_BLOCK = 2 * 1024 * 1024
#: How much free memory at its end an arena keeps, bytes, and how many arenas there are. Threads allocate
#: while they hold the GIL, so more arenas would only keep more.
KEPT_FREE, ARENAS = 4 * 1024 * 1024, 2
_WANTED = ((_MMAP_THRESHOLD, LARGE_BLOCK), (_TRIM_THRESHOLD, KEPT_FREE), (_ARENA_MAX, ARENAS))


def give_back_large_blocks() -> bool:
    """Set the thresholds, once, early in a process. Returns whether the C library can (musl cannot)."""
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        return all(mallopt(parameter, value) for parameter, value in _WANTED)
    return False


def give_back_free_memory() -> None:
    """Return what is free now to the system: imports leave holes."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
