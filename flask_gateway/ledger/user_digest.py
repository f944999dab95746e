"""Replaces the names of end users by keyed digests, for ledgers that shall hold no personal data.

The key is in the data directory. Without it nobody can compute the digest of a name that they guess.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

log = logging.getLogger(__name__)

#: The file of the key. All workers have the same; a copy of the directory needs it.
NAME = "users.key"
#: Bytes of a digest, twice as many hex digits; the number of names whose digests are remembered.
_DIGEST, _REMEMBERED = 8, 4096


def user_digest(data: Path) -> Callable[[str], str]:
    """Return a function from the name of an end user to 16 hex digits."""
    try:
        key = _key(data)
    except OSError as error:
        log.error("the key for end users cannot be kept in %s, so each worker has its own: %s", data, error)
        key = secrets.token_bytes(32)

    @lru_cache(maxsize=_REMEMBERED)
    def digest(name: str) -> str:
        return blake2b(name.encode("utf-8", "surrogatepass"), key=key, digest_size=_DIGEST).hexdigest()

    return digest


def _key(data: Path) -> bytes:
    """Read the key, or make it. Of several processes, one makes it."""
    path = data / NAME
    if not path.exists():
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = data / f"{NAME}.{os.getpid()}"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(32))
        finally:
            os.close(descriptor)
        try:
            os.link(new, path)
        except FileExistsError:
            pass
        finally:
            new.unlink()
    return path.read_bytes()
