"""The settings in force, kept for the workers to come: one of them may find a file that it cannot begin with.

They are kept in a file in memory that the master has made, with no name and no other reader than its
workers, because there are secrets in it. Fields are kept by their names, so newer code understands them.
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

#: The file's first byte says which of two halves counts. A half has a length, a checksum, and the settings.
_ROOM = 1 << 30
_HALVES = (4096, 4096 + _ROOM)
_RECORD = struct.Struct("<QI")
#: How often a reader tries whom writers overtake.
_READS = 10

#: The file's descriptor; ``None`` while there is none.
_descriptor: int | None = None
#: The server they are for: its addresses, none being those that are set; and its processes likewise.
_server: tuple[Sequence[str], int | None] = ((), None)


def attach(descriptor: int, binds: Sequence[str], workers: int) -> None:
    """Have them kept in this file. To be called in the worker, before it begins."""
    global _descriptor, _server
    _descriptor, _server = descriptor, (binds, workers)


def server() -> tuple[Sequence[str], int | None]:
    """The addresses that this process's server listens on, and how many processes it has."""
    return _server


def save(settings: Settings) -> None:
    """These are in force. Another worker that is just saying so is not waited for."""
    if _descriptor is None:
        return
    data = msgspec.msgpack.encode(settings, enc_hook=_plain)
    with suppress(OSError):  # another is at it, or there is no room
        _write(_descriptor, data)


def _write(descriptor: int, data: bytes) -> None:
    """Write to the half that does not count, and make it count by its last byte. A writer who is killed
    leaves what was there before."""
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        half = 1 - _half(descriptor)
        record = _RECORD.pack(len(data), crc32(data)) + data
        os.pwrite(descriptor, record, _HALVES[half])
        os.pwrite(descriptor, bytes([half]), 0)
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)


def _half(descriptor: int) -> int:
    """Which half counts."""
    return os.pread(descriptor, 1, 0) == b"\1"


def load() -> Settings | None:
    """Those that were last in force in a worker of this server, if that is known."""
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
    """What counts; ``None`` if writers have overtaken the reader, who waits for nobody."""
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
