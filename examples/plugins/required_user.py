"""Refuses calls that do not say for which end user they are.

    [plugins.user]
    use = "required_user:RequiredUser"
    keys = ["chat-app"]

A key with ``require_user = true`` does the same without a plugin, and counts limits by user
(docs/configuration.md).
"""

from __future__ import annotations

import json

from flask_gateway.plugin import NO_PERMIT, Call, Permit, UserRequired

#: The longest value that is read, bytes.
_MOST = 4096


class RequiredUser:
    """A guard. It reads ``safety_identifier``, ``user``, and ``metadata.user_id`` of Anthropic's API."""

    api = 1

    def admit(self, call: Call) -> Permit:
        """Return a permit that settles nothing.

        :raises UserRequired: the body names no end user.
        """
        if not any(map(_is_name, _candidates(call))):
            raise UserRequired("Name the end user of this call in the field 'user'.", param="user")
        return NO_PERMIT


def _candidates(call: Call) -> list[object]:
    metadata = _value(call, "metadata")
    inner = metadata.get("user_id") if isinstance(metadata, dict) else None
    return [_value(call, "safety_identifier"), _value(call, "user"), inner]


def _value(call: Call, name: str) -> object:
    raw = bytes(call.fields.get(name, b""))
    return json.loads(raw) if 0 < len(raw) <= _MOST else None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
