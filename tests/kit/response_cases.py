"""Reads the golden cases of Responses calls to chat upstreams, and plays them.

A case is a folder: ``asked.json``, the caller's body; ``sent.json``, the body for the upstream;
``answered.sse`` or ``.json``, its answer; ``given.sse`` or ``.json``, the caller's; ``note.md``, why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from flask_gateway.dialects.translations.responses_to_chat.translation import RESPONSES_TO_CHAT
from flask_gateway.dialects.translations.translation import Translated
from flask_gateway.model.call import Call, Ids, Operation
from flask_gateway.model.quirks import Quirks, TranslationTarget
from kit.calls import make_call

GOLDEN = Path(__file__).parents[1] / "golden"
IDS = Ids("req-1", "a" * 16, "00-" + "1" * 32 + "-" + "0" * 15 + "2-00")


class ResponseCase(NamedTuple):
    name: str
    asked: dict[str, Any]
    sent: dict[str, Any]
    answered: bytes
    given: bytes

    @property
    def stream(self) -> bool:
        return bool(self.asked.get("stream"))


def cases() -> list[ResponseCase]:
    return [_case(folder) for folder in sorted((GOLDEN / "responses-to-chat").iterdir())]


def _case(folder: Path) -> ResponseCase:
    def read(name: str) -> bytes:
        found = list(folder.glob(f"{name}.*"))
        return found[0].read_bytes() if found else b""

    asked, sent = json.loads(read("asked")), json.loads(read("sent"))
    return ResponseCase(folder.name, asked, sent, read("answered"), read("given"))


def response_call(asked: dict[str, Any], **more: Any) -> Call:
    """A Responses call, as the gateway sends it to an upstream."""
    fields = asked | more
    raw = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in fields.items()}
    call = make_call("llama-3", stream=bool(fields.get("stream")))
    return msgspec.structs.replace(
        call, operation=Operation.RESPONSE, fields=raw, ids=IDS, started_ns=1_000_000_000
    )


def translate(call: Call, **quirks: Any) -> Translated:
    return RESPONSES_TO_CHAT.request(call, TranslationTarget(upstream="llama", quirks=Quirks(**quirks)))


def sent(call: Call, translated: Translated) -> dict[str, Any]:
    """The body for the upstream."""
    return json.loads(spoken(call, translated).payload())


def spoken(call: Call, translated: Translated) -> Call:
    return msgspec.structs.replace(call, operation=Operation.CHAT, fields=translated.fields)


def events_of(given: bytes) -> Iterable[dict[str, Any]]:
    """The data of the events that a caller gets."""
    for event in given.split(b"\n\n"):
        if event:
            yield json.loads(event.partition(b"\ndata: ")[2])
