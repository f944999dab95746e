"""Reads a settings file or a secret: only a regular file, up to a size limit.

A FIFO or a terminal would block the reading process. A device such as /dev/zero would fill its memory.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

#: Bytes; ten thousand keys take about 2 MiB.
MOST_SETTINGS = 4 << 20
MOST_SECRET = 1 << 16


def read_regular(path: Path, most: int) -> bytes:
    """Return the content of the file. Never blocks.

    :raises OSError: the file cannot be read, is not a regular file, or has more than ``most`` bytes.
    :raises ValueError: the path is not a valid path.
    """
    _refuse_others(os.stat(path).st_mode)  # opening a device can have side effects
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        _refuse_others(os.fstat(descriptor).st_mode)
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes")
    return content


def _refuse_others(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file")
