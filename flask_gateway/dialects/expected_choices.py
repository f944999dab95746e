"""Counts the choices that a call asks for."""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.call import Call, Operation

#: A longer list of prompts is not counted.
MAX_PROMPTS = 20_000
#: The longest ``n`` that is read, bytes.
MAX_NUMBER = 64

_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def choices_of(call: Call) -> int:
    """Return ``n`` times the number of prompts. A value that the upstream would refuse counts as 1."""
    each = _number(call.decoded("n", MAX_NUMBER))
    if call.operation is Operation.COMPLETION and "prompt" in call.fields:
        return each * _prompts(bytes(call.fields["prompt"]))
    return each


def _number(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 1 else 1


def _prompts(raw: bytes) -> int:
    """Count the prompts in a list of texts or of token lists. A text, or a list of tokens, is one prompt."""
    inside = raw[:64].lstrip()[1:].lstrip()[:1] if raw[:64].lstrip().startswith(b"[") else b""
    if inside not in (b'"', b"[") or raw.count(b'"') // 2 + raw.count(b"[") > MAX_PROMPTS:
        return 1
    try:
        return max(1, len(_decode_list(raw)))
    except (ValueError, RecursionError):
        return 1
