"""The settings in force, kept for the workers to come: one of them may find a file that it cannot begin with.

They are kept in a file in memory that the master has made, with no name and no other reader than its
workers, because there are secrets in it. Fields are kept by their names, so newer code understands them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from typing import Any

import msgspec

from ..config import Secret, Settings

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


def keep(settings: Settings) -> None:
    """These are in force. Another worker that is just saying so is not waited for."""
    if _descriptor is None:
        return
    data = msgspec.msgpack.encode(settings, enc_hook=_plain)
    try:
        fcntl.lockf(_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    try:
        os.ftruncate(_descriptor, 0)  # lest a writer who is killed leaves a mixture
        os.pwrite(_descriptor, data, 0)
    finally:
        fcntl.lockf(_descriptor, fcntl.LOCK_UN)


def recall() -> Settings | None:
    """Those that were last in force in a worker of this server, if that is known."""
    if _descriptor is None:
        return None
    data = os.pread(_descriptor, os.fstat(_descriptor).st_size, 0)
    try:
        return msgspec.msgpack.decode(data, type=Settings, dec_hook=_typed)
    except msgspec.MsgspecError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(type(value))


def _typed(kind: type, value: Any) -> Any:
    if kind is Secret:
        return Secret(value)
    raise NotImplementedError(kind)
