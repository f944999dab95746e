"""Keeps the keys of a provider in a file, for workers that start while the provider is away."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from ..config.file_access import read_regular
from .key_set import KeySet, UnusableKeySet, key_set_of
from .provider import MOST_BYTES

log = logging.getLogger(__name__)


class _Kept(msgspec.Struct):
    """:param fetched: seconds since the epoch. :param keys: public keys as RFC 7517 has them."""

    issuer: str
    source: str
    fetched: float
    keys: list[dict[str, object]]


class KeyFile:
    """The file of one issuer.

    :param folder: must exist and be writable by the gateway alone.
    :param source: the URL of the key set; empty for that of the discovery document. Keys of another one are
        not read.
    """

    def __init__(self, folder: Path, issuer: str, source: str) -> None:
        self._issuer, self._source = issuer, source
        self.path = folder / f"jwt-keys-{sha256(issuer.encode()).hexdigest()[:16]}.json"

    def read(self, allowed: frozenset[str]) -> tuple[KeySet, float] | None:
        """The kept keys, and when they were fetched; ``None``: there are none that can be used."""
        try:
            status = os.stat(self.path)
            if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                log.warning("%s is not read: others than the gateway could have written it", self.path)
                return None
            kept = msgspec.json.decode(read_regular(self.path, MOST_BYTES), type=_Kept)
            if (kept.issuer, kept.source) != (self._issuer, self._source):
                return None
            return key_set_of({"keys": kept.keys}, allowed), kept.fetched
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError, UnusableKeySet) as error:
            log.warning("%s is not read: %s", self.path, error)
            return None

    def write(self, keys: KeySet, fetched: float) -> None:
        """Keep the keys. A failure is logged: calls do not need the file."""
        content = _Kept(self._issuer, self._source, fetched, [dict(key.jwk) for key in keys.keys])
        try:
            self._replace(msgspec.json.encode(content))
        except OSError as error:
            log.warning("the keys of %s cannot be kept in %s: %s", self._issuer, self.path, error)

    def _replace(self, content: bytes) -> None:
        """Replace the file at once: a reader sees the old or the new content."""
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=self.path.parent)  # mode 0600
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
            os.replace(name, self.path)
        except OSError:
            with suppress(OSError):
                os.unlink(name)
            raise
