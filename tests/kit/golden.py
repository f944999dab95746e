"""Plays golden cases of translations: what is asked, sent, answered, and given to the caller.

A case is a JSON file in ``tests/golden/PAIR/``. ``asked`` is a body, or the name of a recording in
``tests/golden/claude-code``. ``answered`` is a document or a list of events.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from flask_gateway.dialects.translations.translation import Translation
from flask_gateway.model.call import Call
from flask_gateway.model.errors import GatewayError
from flask_gateway.model.quirks import TranslationTarget
from flask_gateway.model.reply import Reply
from flask_gateway.upstreams.translating import TranslatingUpstream
from kit.calls import make_call
from kit.translating import SpokenUpstream

GOLDEN = Path(__file__).parent.parent / "golden"

#: Translates ``asked`` of a case.
Case = dict[str, Any]


def cases(pair: str) -> dict[str, Case]:
    """The cases of a pair by their names."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((GOLDEN / pair).glob("*.json"))}


def recorded(name: str) -> bytes:
    """The body of a recorded request."""
    recording = json.loads((GOLDEN / "claude-code" / f"{name}.json").read_text())
    return json.dumps(recording["body"], ensure_ascii=False).encode()


def asked(case: Case) -> bytes:
    body = case["asked"]
    return recorded(body) if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()


def answered(case: Case) -> bytes:
    """The bytes of the upstream's answer: a document, or events as its API writes them."""
    answer = case["answered"]
    if isinstance(answer, dict):
        return json.dumps(answer).encode()
    return b"".join(map(_event, answer))


def _event(data: Any) -> bytes:
    if isinstance(data, str):
        return f"data: {data}\n\n".encode()
    name = f"event: {data['type']}\n" if "type" in data else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


def call_of(case: Case, translation: Translation) -> Call:
    fields = msgspec.json.decode(asked(case), type=dict[str, msgspec.Raw])
    call = make_call("model", stream=bytes(fields.get("stream", b"")) == b"true")
    return msgspec.structs.replace(call, operation=translation.asked, fields=fields)


def target_of(case: Case) -> TranslationTarget:
    settings = {"upstream": "up", "quirks": {}, **case.get("target", {})}
    return msgspec.convert(settings, TranslationTarget)


def replied(case: Case, translation: Translation, chunks: Iterable[bytes]) -> tuple[SpokenUpstream, Reply]:
    """Send the call of a case to an upstream that answers in these chunks."""
    upstream = SpokenUpstream(*chunks)
    with fixed_ids():
        call = call_of(case, translation)
        reply = TranslatingUpstream(upstream, translation, target_of(case), None).send(call)
    return upstream, reply


def given(reply: Reply) -> bytes:
    """All that the caller gets, or the error before it as JSON."""
    with fixed_ids():
        try:
            return b"".join(reply.prime())
        except GatewayError as error:
            return b"%b: %b" % (str(error.code).encode(), error.message.encode())


def fixed_ids() -> Any:
    """Let generated ids count nothing: ``000…``."""
    return mock.patch("secrets.token_hex", lambda size: "0" * (2 * size))


def pieces(data: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    """The data cut at these places."""
    at = 0
    for cut in [*sorted({one % (len(data) + 1) for one in cuts}), len(data)]:
        if cut > at:
            yield data[at:cut]
        at = cut
