"""Carries opaque state of a provider through callers of Anthropic's API, as ``redacted_thinking``.

Gemini signs tool calls and refuses the next turn without the signature. Callers send such blocks back
unchanged. The mark tells the gateway's own blocks from Anthropic's, so no provider sees another's state.
"""

from __future__ import annotations

from base64 import b64decode, b64encode

import msgspec

#: The beginning of all data of the gateway's own blocks.
MARK = "gw1."
_GEMINI = f"{MARK}gemini."
#: Google's word for a signature that is lost: the call was made by another model.
LOST = msgspec.Raw(b'{"google":{"thought_signature":"skip_thought_signature_validator"}}')


def carried(extra_content: bytes) -> str:
    """The data for the field of Gemini's tool calls that holds the signature."""
    return _GEMINI + b64encode(extra_content).decode()


def opened(data: str) -> msgspec.Raw | None:
    """The field in such data; ``None`` if the data is another's."""
    if not data.startswith(_GEMINI):
        return None
    try:
        raw = b64decode(data[len(_GEMINI) :], validate=True)
        msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except ValueError:
        return None
    return msgspec.Raw(raw)
