"""Measures in ``make soak`` what a translated event of a stream costs over one that is passed on."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.dialects.rewritten import RewrittenStream
from flask_gateway.dialects.stream_transcript import StreamTranscript
from flask_gateway.dialects.table import dialect_of
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.dialects.translations.table import TRANSLATIONS
from flask_gateway.dialects.translations.translation import Translation
from flask_gateway.model.call import Call, Operation
from flask_gateway.model.quirks import TranslationTarget

EVENTS = 5_000
#: The most that a translated event may cost over a passed one, microseconds. It was 5 on 2026-11-27.
MOST = 40.0
CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
START = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":{}}}\n\n'
DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"word "}}\n\n'
)
BODIES = {
    Operation.MESSAGE: b'{"messages":[],"max_tokens":9,"stream":true}',
    Operation.CHAT: b'{"messages":[],"stream":true}',
    Operation.RESPONSE: b'{"input":"Hello","stream":true}',
}


def call(operation: Operation) -> Call:
    fields = msgspec.json.decode(BODIES[operation], type=dict[str, msgspec.Raw])
    return msgspec.structs.replace(make_call(stream=True), operation=operation, fields=fields)


def cost(feed: Callable[[bytes], bytes], opening: bytes, event: bytes) -> float:
    """The CPU time of an event, microseconds: the least of several runs."""
    feed(opening)
    costs = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(EVENTS):
            feed(event)
        costs.append((time.process_time() - began) / EVENTS * 1e6)
    return min(costs)


@pytest.mark.soak
@pytest.mark.parametrize("translation", TRANSLATIONS, ids=lambda one: f"{one.asked}>{one.spoken}")
def test_the_cost_of_a_translated_event(translation: Translation) -> None:
    opening, event = (START, DELTA) if translation.spoken is Operation.MESSAGE else (CHUNK, CHUNK)
    passed, inner = (transcript_for(call(translation.spoken), "up") for _ in range(2))
    assert isinstance(inner, StreamTranscript)
    asked = translation.request(call(translation.asked), TranslationTarget("up"))
    both = dialect_of(translation.spoken), dialect_of(translation.asked)
    rewritten = RewrittenStream(inner, asked.rewriter, translation.refusal, *both)
    least = cost(passed.feed, opening, event)
    assert cost(rewritten.feed, opening, event) - least < MOST
