"""Takes the lock of a file: one process at a time does what belongs to it, and its end frees the lock."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def lock_file(path: Path) -> int:
    """Make the file if it is not there, and take its lock without waiting.

    :returns: the descriptor that holds the lock until it is closed.
    :raises BlockingIOError: another process has the lock. :raises OSError: the disk refuses.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
