"""Shows keys and teams to admins, and words the refusals of their requests. Nothing here shows a secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ..model.errors import CallerError
from .key_tables import KeyRow, SecretRow


def key_object(row: KeyRow, secrets: Iterable[SecretRow], now: int) -> dict[str, Any]:
    """A key as ``/admin/v1`` shows it. Moments are epoch seconds.

    :param secrets: those that have ended by ``now`` are left out.
    """
    return {
        "object": "key",
        "id": row.id,
        "name": row.name,
        "owner": row.owner,
        "team": row.team or None,
        "tags": msgspec.json.decode(row.tags),
        "note": row.note,
        "models": msgspec.json.decode(row.models),
        "limits": msgspec.json.decode(row.limits),
        "state": row.state,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "version": row.version,
        "secrets": [
            {"hint": one.hint, "created_at": one.created_at, "ends_at": one.ends_at}
            for one in secrets
            if one.ends_at is None or one.ends_at > now
        ],
    }


def team_object(columns: Mapping[str, Any]) -> dict[str, Any]:
    """A team as ``/admin/v1`` shows it."""
    limits = msgspec.json.decode(columns["limits"])
    return {"object": "team", **columns, "limits": limits}


def audit_object(columns: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the audit."""
    states = {name: msgspec.json.decode(columns[name]) for name in ("before", "after")}
    return {"object": "audit", **columns, **states}


def conflict(message: str, code: str) -> CallerError:
    """A refusal with 409: the request does not fit what is there."""
    return _refusal(409, message, code)


def missing(message: str, code: str) -> CallerError:
    """A refusal with 404."""
    return _refusal(404, message, code)


def version_mismatch(version: int) -> CallerError:
    """A refusal with 412 (RFC 9110, 13.1.1): another change came first."""
    return _refusal(412, f"The key has version {version} now. Read it again.", "version_mismatch")


def _refusal(status: int, message: str, code: str) -> CallerError:
    error = CallerError(message)
    error.status, error.code = status, code
    return error
