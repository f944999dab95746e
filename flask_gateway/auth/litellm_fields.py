"""Reads and words keys and teams as LiteLLM Proxy does: those of its fields that mean the same here.

The names are those of ``/key/generate`` and ``/team/new`` of LiteLLM 1.80.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec

from ..model.errors import InvalidField

#: Windows by ``budget_duration``. Here they are of the calendar.
_WINDOWS: Mapping[str | None, str] = {
    "1d": "day",
    "24h": "day",
    "1w": "week",
    "7d": "week",
    "1mo": "month",
    "30d": "month",
    None: "total",
}
_DURATIONS = {"day": "1d", "week": "7d", "month": "30d", "total": None}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "mo": 30 * 86_400}
_DURATION = re.compile(r"(\d{1,6})(s|m|h|d|w|mo)", re.ASCII)
#: The shortest key of somebody's own choice, characters.
_SHORTEST = 24
#: Our limits by LiteLLM's names of them.
_LIMITS = {"rpm_limit": "requests", "tpm_limit": "tokens", "max_parallel_requests": "concurrent"}
_EMPTY: tuple[object, ...] = (None, "", [], {}, 0, False)


class LimitFields(msgspec.Struct, kw_only=True):
    """The limits of a key or a team."""

    max_budget: Decimal | None = None
    budget_duration: str | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    max_parallel_requests: int | None = None


class LiteLLMKey(LimitFields, kw_only=True):
    """A key to make or to change.

    :param key: to make: a key of the sender's choice; to change: which one, by itself or by its digest.
    """

    key: str | None = None
    key_alias: str | None = None
    duration: str | None = None
    models: list[str] | None = None
    team_id: str | None = None
    user_id: str | None = None
    metadata: dict[str, Any] | None = None
    blocked: bool | None = None


class LiteLLMTeam(LimitFields, kw_only=True):
    """A team to make."""

    team_id: str | None = None
    team_alias: str | None = None


def read(body: bytes, kind: type[msgspec.Struct]) -> tuple[Any, set[str]]:
    """Decode a body. Return it, and the names of the fields that were sent.

    :raises InvalidField: it is none, or has a field that means nothing here and is not empty.
    """
    try:
        sent = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        fields = msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidField(f"The body does not fit: {str(error)[:200]}.") from None
    for name, value in sent.items():
        if name not in kind.__struct_fields__ and value not in _EMPTY:
            raise InvalidField(
                f"The field '{name[:100]}' of LiteLLM has no counterpart here. Leave it out.",
                param=name[:100],
            )
    return fields, set(sent)


def key_fields(fields: LiteLLMKey, sent: set[str], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``/admin/v1/keys`` for those that were sent.

    :param before: the limits that the key has.
    """
    found: dict[str, Any] = {}
    named = {"key_alias": "name", "team_id": "team", "user_id": "owner"}
    found |= {ours: getattr(fields, name) for name, ours in named.items() if name in sent}
    if "owner" in found:
        found["owner"] = found["owner"] or ""
    if "models" in sent:
        allowed = fields.models or []
        found["models"] = None if not allowed or "all-proxy-models" in allowed else allowed
    if "duration" in sent:
        found["expires_at"] = (
            None if fields.duration is None else int(time.time()) + _seconds(fields.duration)
        )
    if "metadata" in sent:
        found["tags"] = _tags(fields.metadata or {})
    if sent & set(LimitFields.__struct_fields__):
        found["limits"] = limits_of(fields, sent, before)
    return found


def own_secret(key: str | None) -> dict[str, str]:
    """Return the digest of a key of the sender's choice; nothing if there is none."""
    if not key:
        return {}
    if len(key) < _SHORTEST:
        raise InvalidField(f"key: expected at least {_SHORTEST} characters", param="key")
    return {
        "sha256": sha256(key.encode("utf-8", "surrogatepass")).hexdigest(),
        "hint": f"{key[:3]}…{key[-4:]}",
    }


def digest_of(key: str) -> bytes:
    """The digest of a key that is given by itself or by its SHA-256 digest in hex (``token``)."""
    if re.fullmatch(r"[0-9a-f]{64}", key):
        return bytes.fromhex(key)
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def limits_of(fields: LimitFields, sent: set[str], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return limits as ``[keys.NAME]`` has them. A limit of ``null`` is taken away."""
    limits = dict(before)
    for name, ours in _LIMITS.items():
        if name in sent:
            limits[ours] = getattr(fields, name)
    if {"max_budget", "budget_duration"} & sent:
        limits["budgets"] = _budgets(fields, before)
    return {name: value for name, value in limits.items() if value not in (None, [])}


def _budgets(fields: LimitFields, before: Mapping[str, Any]) -> list[dict[str, str]]:
    if fields.budget_duration not in _WINDOWS:
        known = ", ".join(filter(None, _WINDOWS))
        raise InvalidField(f"budget_duration: expected {known}, or none", param="budget_duration")
    if fields.max_budget is None:
        return []
    return [{"amount": f"{fields.max_budget:f}", "window": _WINDOWS[fields.budget_duration]}]


def _seconds(text: str) -> int:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InvalidField(
            "duration: expected a number and s, m, h, d, w or mo, such as 30d", param="duration"
        )
    return int(match[1]) * _SECONDS[match[2]]


def _tags(metadata: Mapping[str, Any]) -> dict[str, str]:
    others = sorted(name for name, value in metadata.items() if name != "tags" and value not in _EMPTY)
    if others:
        raise InvalidField(
            f"metadata: only tags are kept here. Leave {others[0][:100]!r} out.", param="metadata"
        )
    tags = metadata.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise InvalidField("metadata: expected tags as a list of text", param="metadata")
    pairs = (re.split("[=:]", tag, maxsplit=1) for tag in tags)
    return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs}


def key_shown(key: Mapping[str, Any], token: str | None, spend: str | None) -> dict[str, Any]:
    """Word a key of ``/admin/v1/keys``.

    :param token: the digest of its newest secret, hex. :param spend: in total, US dollars.
    """
    secrets, ends = key["secrets"], key["expires_at"]
    return {
        "token": token,
        "key_name": secrets[-1]["hint"] if secrets else None,
        "key_alias": key["name"],
        "team_id": key["team"],
        "user_id": key["owner"] or None,
        "models": key["models"] or [],
        "expires": datetime.fromtimestamp(ends, UTC).isoformat() if ends else None,
        "blocked": key["state"] != "active",
        "metadata": {"tags": [f"{name}={value}" if value else name for name, value in key["tags"].items()]},
        "created_at": datetime.fromtimestamp(key["created_at"], UTC).isoformat(),
        "spend": None if spend is None else float(spend),
        **limits_shown(key["limits"]),
    }


def limits_shown(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Word limits. Of several budgets, the first is shown."""
    budget = next(iter(limits.get("budgets", ())), None)
    return {
        "max_budget": float(budget["amount"]) if budget else None,
        "budget_duration": _DURATIONS[budget["window"]] if budget else None,
        **{name: limits.get(ours) for name, ours in _LIMITS.items()},
    }
