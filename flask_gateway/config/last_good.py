"""Saves the last known good settings for new workers, in case the settings file has become invalid.

The master creates an unnamed file in memory (memfd) for them. Only its workers can read it, because it
contains secrets. The encoding uses field names, so newer code can read it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from zlib import crc32

import msgspec

from .schema import Secret, Settings

#: The file's first byte selects the valid half. A half has a length, a checksum, and the settings.
_ROOM = 1 << 30
_HALVES = (4096, 4096 + _ROOM)
_RECORD = struct.Struct("<QI")
#: How often a reader retries when writers overtake it.
_READS = 10

#: The file's descriptor; ``None`` until :func:`attach`.
_descriptor: int | None = None
#: The server's addresses and worker count. Empty and ``None`` mean those in the settings.
_server: tuple[Sequence[str], int | None] = ((), None)


def attach(descriptor: int, binds: Sequence[str], workers: int) -> None:
    """Use this file. Call it in the worker before it serves."""
    global _descriptor, _server
    _descriptor, _server = descriptor, (binds, workers)


def server() -> tuple[Sequence[str], int | None]:
    """The addresses that this process's server listens on, and its number of workers."""
    return _server


def save(settings: Settings) -> None:
    """Save settings that are in force. If another worker is saving at this moment, do nothing."""
    if _descriptor is None:
        return
    data = msgspec.msgpack.encode(settings, enc_hook=_plain)
    with suppress(OSError):  # another worker holds the lock, or there is no space
        _write(_descriptor, data)


def _write(descriptor: int, data: bytes) -> None:
    """Write the invalid half, then flip the first byte of the file to make that half valid.

    A writer that is killed before the flip leaves the previous settings valid.
    """
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        half = 1 - _half(descriptor)
        record = _RECORD.pack(len(data), crc32(data)) + data
        os.pwrite(descriptor, record, _HALVES[half])
        os.pwrite(descriptor, bytes([half]), 0)
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)


def _half(descriptor: int) -> int:
    """The number of the valid half."""
    return os.pread(descriptor, 1, 0) == b"\1"


def load() -> Settings | None:
    """Load the settings that a worker of this server saved last; ``None`` if there are none."""
    if _descriptor is None:
        return None
    for _ in range(_READS):
        data = _read(_descriptor)
        if data is not None:
            break
    try:
        return msgspec.msgpack.decode(data or b"", type=Settings, dec_hook=_typed)
    except msgspec.MsgspecError:
        return None


def _read(descriptor: int) -> bytes | None:
    """Read the valid half without a lock; ``None`` if a writer overwrote it meanwhile."""
    at = _HALVES[_half(descriptor)]
    head = os.pread(descriptor, _RECORD.size, at)
    if len(head) < _RECORD.size:
        return None
    length, checksum = _RECORD.unpack(head)
    data = os.pread(descriptor, min(length, _ROOM), at + _RECORD.size)
    return data if len(data) == length and crc32(data) == checksum else None


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(type(value))


def _typed(kind: type, value: Any) -> Any:
    if kind is Secret:
        return Secret(value)
    raise NotImplementedError(kind)
