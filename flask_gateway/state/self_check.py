"""Checks once in each process that this platform's robust mutexes work as the shared memory needs."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from functools import cache
from mmap import PAGESIZE, mmap

from .contract import StoreError
from .robust_mutex import Mutexes

#: Never unmapped: the kernel's robust list of a thread that still holds a mutex points into these pages.
_pages: list[mmap] = []
#: How long the kernel may take to notice that a thread has ended, seconds.
_NOTICED = 1.0


@cache
def check_mutexes() -> None:
    """Check mutual exclusion, release by the owner only, and release when the owner's thread has ended.

    The check uses a page of private memory and one short thread.

    :raises StoreError: the mutexes fail a check, so limits would not be exact.
    """
    page = mmap(-1, PAGESIZE)
    _pages.append(page)
    mutexes = Mutexes(page, 0, 1)
    mutexes.create()
    taken: list[bool] = []
    free = mutexes.unlocker(0)
    mutexes.take(0)
    try:
        _in_thread(lambda: taken.append(mutexes.try_once(0)))
    finally:
        (unreleased,) = free
    if any(taken) or unreleased:
        raise StoreError("this platform's mutexes do not exclude other threads")
    if tuple(mutexes.unlocker(0)) != (errno.EPERM,):
        raise StoreError("this platform's mutexes can be released by anybody")
    if _in_thread(lambda: mutexes.take(0)) and not _is_freed(mutexes):
        raise StoreError("this platform's mutexes stay taken when their owner has ended")


def _in_thread(work: Callable[[], object]) -> bool:
    """Run the work in a thread. Returns whether the thread could start."""
    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return False
    thread.join()
    return True


def _is_freed(mutexes: Mutexes) -> bool:
    deadline = time.monotonic() + _NOTICED
    while not (freed := mutexes.try_once(0)) and time.monotonic() < deadline:
        time.sleep(0.0001)
    if freed:
        (_,) = mutexes.unlocker(0)
    return freed
