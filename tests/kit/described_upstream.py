"""Answers each operation that the mock does not take, for the description: media, responses, Google's."""

from __future__ import annotations

import json

from flask_gateway.cli.selftest.scripted_provider import EVENTS, Exchange
from kit.media_provider import SOUND, Received, play, transcript
from kit.media_provider import events as named_events
from kit.response_provider import StoringAnswers

_GENERATED = {"candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}]}
_GOOGLE = {
    "generateContent": _GENERATED,
    "countTokens": {"totalTokens": 7},
    "embedContent": {"embedding": {"values": [0.5]}},
    "batchEmbedContents": {"embeddings": [{"values": [0.5]}]},
}
_PICTURE = {"created": 1, "data": [{"b64_json": "AAAA"}]}


class DescribedAnswers:
    """Answers for :class:`kit.media_provider.MediaProvider`."""

    def __init__(self) -> None:
        self._stored = StoringAnswers("a")

    def __call__(self, exchange: Exchange, got: Received) -> None:
        path, _, query = got.path.partition("?")
        if ":" in path.rpartition("/")[2]:
            _google(exchange, path.rpartition(":")[2], query)
        elif path.endswith("/realtime"):
            exchange.answer(429, b'{"error":{"message":"No sessions here.","type":"requests","code":null}}')
        elif path.endswith("/audio/speech"):
            exchange.answer(200, SOUND, "audio/mpeg")
        elif "/audio/" in path:
            transcript(exchange, got, got.model)
        elif "/images/" in path:
            _picture(exchange, got)
        else:
            self._stored(exchange, got)


def _google(exchange: Exchange, method: str, query: str) -> None:
    if "alt=sse" in query:
        exchange.answer(200, b"data: %b\n\n" % json.dumps(_GENERATED).encode(), EVENTS)
    elif method.startswith("stream"):
        exchange.answer(200, json.dumps([_GENERATED]).encode())
    else:
        exchange.answer(200, json.dumps(_GOOGLE[method]).encode())


def _picture(exchange: Exchange, got: Received) -> None:
    fields = {part.name: part.value for part in got.parts} | got.json
    if fields.get("stream") in (True, "true"):
        kind = "image_generation" if got.path.endswith("/generations") else "image_edit"
        play(exchange, named_events({"type": f"{kind}.completed", "b64_json": "AAAA"}))
    else:
        exchange.answer(200, json.dumps(_PICTURE).encode())
