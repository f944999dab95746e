"""Checks, once in a process, that robust mutexes do here what the shared memory needs of them."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from functools import cache
from mmap import PAGESIZE, mmap

from .contract import StoreError
from .robust_mutex import Mutexes

#: The memory stays: a thread that could not release its mutex has a list that leads through it.
_pages: list[mmap] = []
#: How long the kernel may take to notice that a thread has ended, seconds.
_NOTICED = 1.0


@cache
def check_mutexes() -> None:
    """Check that a mutex excludes, that only its owner can release it, and that an ended thread keeps none.

    It takes a page of private memory and one short thread.

    :raises StoreError: limits could not be kept exactly with these.
    """
    page = mmap(-1, PAGESIZE)
    _pages.append(page)
    mutexes = Mutexes(page, 0, 1)
    mutexes.create()
    found: list[bool] = []
    free = mutexes.freeing(0)
    mutexes.take(0)
    try:
        _in_thread(lambda: found.append(mutexes.try_once(0)))
    finally:
        (unreleased,) = free
    if any(found) or unreleased:
        raise StoreError("this platform's mutexes do not exclude other threads")
    if tuple(mutexes.freeing(0)) != (errno.EPERM,):
        raise StoreError("this platform's mutexes can be released by anybody")
    if _in_thread(lambda: mutexes.take(0)) and not _is_freed(mutexes):
        raise StoreError("this platform's mutexes stay taken when their owner has ended")


def _in_thread(work: Callable[[], object]) -> bool:
    """Whether there was a thread to be had for it."""
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
        (_,) = mutexes.freeing(0)
    return freed
