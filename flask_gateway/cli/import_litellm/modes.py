"""Reads the mode of a model: the operation that it is for, and whether its upstream takes that here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...config.kinds import DEFAULT, KINDS
from ...model.call import Operation

#: The operations by LiteLLM's modes.
_OPERATIONS: Mapping[str, Operation] = {
    "chat": Operation.CHAT,
    "completion": Operation.COMPLETION,
    "responses": Operation.RESPONSE,
    "embedding": Operation.EMBEDDING,
    "moderation": Operation.MODERATION,
    "rerank": Operation.RERANK,
    "audio_transcription": Operation.TRANSCRIPTION,
    "audio_speech": Operation.SPEECH,
    "image_generation": Operation.IMAGE,
    "image_edit": Operation.IMAGE_EDIT,
    "realtime": Operation.REALTIME,
}
#: Operations of text, which are translated for upstreams that do not take them.
_TEXT = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE})
_WORD = re.compile(r"[a-z_]{1,40}")


def lacking(mode: str, kind: str) -> str | None:
    """The reason why a model of this mode cannot be called here; ``None``: it can.

    :param kind: of its upstream; empty: any server with an OpenAI API.
    """
    operation = _OPERATIONS.get(mode)
    if operation is None:
        return f"{mode}: this operation is not offered" if _WORD.fullmatch(mode) else "an unknown operation"
    if operation in _TEXT or operation in KINDS[kind or DEFAULT].speaks:
        return None
    whose = f"of kind {kind} " if kind else ""
    return f"{mode}: an upstream {whose}takes {operation} only if speaks of its table names it"
