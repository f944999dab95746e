"""Defines the admins of ``/admin/v1``, and finds the one of a key."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256

import msgspec

#: The name of the admin whose key is in the environment.
OF_ENVIRONMENT = "admin"


class Role(StrEnum):
    """The rights of an admin."""

    #: Reads and changes everything.
    ADMIN = "admin"
    #: Reads everything.
    VIEWER = "viewer"


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An admin, whose key is kept only as its SHA-256 digest. An admin is never a caller.

    :param name: as the audit shows it.
    :param secret: signs the sessions of the admin. It is derived from the key, and empty if only the digest
        is known: the reader of a digest must not be able to sign.
    """

    name: str
    digest: bytes
    role: Role = Role.ADMIN
    secret: bytes = b""


def session_secret(key: str) -> bytes:
    """Derive what signs the sessions of the admin with this key."""
    return hmac.digest(key.encode(), b"flask-gateway: sessions of an admin", sha256)


def admin_of(admins: Iterable[AdminSettings], digest: bytes) -> AdminSettings | None:
    """Return the admin whose key has this SHA-256 digest, by comparisons that take the same time."""
    found = None
    for one in admins:
        if hmac.compare_digest(one.digest, digest):
            found = one
    return found
