"""Tests streams of Anthropic's events: what passes unchanged, what is added, and how they end.

Each stream comes whole, byte by byte and at random splits. The result must be the same.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.dialects.message_transcript import MessageTranscript
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Call, Operation, Usage
from flask_gateway.model.errors import GatewayError, UpstreamCut, UpstreamOverloaded

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
THINKING = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"thinking","thinking":"","signature":""}}\n\n'
)


def event(kind: str, **fields: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, **fields}))


def start(**usage: object) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "usage": usage}
    return event("message_start", message=message)


def text(words: str, index: int = 0) -> bytes:
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": words})


BLOCK = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
END = event("content_block_stop", index=0)


def stopped(reason: str | None = "end_turn", **usage: object) -> bytes:
    return event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage)


ANSWER = start(input_tokens=10, output_tokens=1) + BLOCK + text("Hello") + END + stopped(output_tokens=7)


def message_call() -> Call:
    return msgspec.structs.replace(make_call(stream=True), operation=Operation.MESSAGE)


def splits(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    chance = random.Random(19)
    for _ in range(40):
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 12)))
        yield [data[at:to] for at, to in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def read(pieces: list[bytes]) -> tuple[bytes, MessageTranscript, GatewayError | None]:
    """Return the bytes for the caller, the transcript, and the error that ended the stream."""
    transcript = transcript_for(message_call(), "claude")
    assert isinstance(transcript, MessageTranscript)
    given = b""
    try:
        for piece in pieces:
            given += transcript.feed(piece)
        given += transcript.end()
    except GatewayError as error:
        return given + transcript.cut(error), transcript, error
    return given, transcript, None


def given(data: bytes) -> tuple[bytes, MessageTranscript]:
    """Return the bytes for the caller of a stream that ends well, however it is split."""
    results = [read(pieces) for pieces in splits(data)]
    assert all(error is None for _, _, error in results)
    assert len({(seen, one.usage and one.usage.units) for seen, one, _ in results}) == 1
    return results[0][:2]


@pytest.mark.parametrize(
    "between",
    [
        b"",
        PING,
        event("conversation_note", words="of the future"),
        event("content_block_delta", index=0, delta={"type": "odd_delta", "odd": [1, {"a": None}]}),
        event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "c2ln/+=="}),
        event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"a": 1'}),
        b": a comment\n\n",
    ],
)
def test_unknown_events_pass_byte_for_byte(between: bytes) -> None:
    data = ANSWER.replace(END, between + END) + STOP
    seen, transcript = given(data)
    assert seen == data
    assert transcript.finished
    assert transcript.dropped == 0


def test_a_server_that_ends_with_done_has_ended_before() -> None:
    assert given(ANSWER + STOP + b"data: [DONE]\n\n")[0] == ANSWER + STOP


def test_an_error_behind_pings_can_still_be_retried() -> None:
    failed = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    for pieces in splits(start(input_tokens=1) + 3 * PING + failed):
        _, transcript, error = read(pieces)
        assert isinstance(error, UpstreamOverloaded)
        assert not transcript.ready


def test_hidden_thinking_commits_the_answer() -> None:
    transcript = MessageTranscript(message_call(), "claude")
    transcript.feed(start(input_tokens=1) + PING)
    assert not transcript.ready
    transcript.feed(THINKING)
    assert transcript.ready
    assert transcript.feed(PING) == PING
    seen, _ = given(start() + THINKING + 60 * PING + END + BLOCK + text("Yes") + stopped() + STOP)
    assert seen.count(PING) == 60


def test_an_answer_without_a_stop_reason_is_cut() -> None:
    begun = start(input_tokens=3) + BLOCK + text("Hello")
    for pieces in splits(begun):
        seen, transcript, error = read(pieces)
        assert isinstance(error, UpstreamCut)
        assert seen.startswith(begun)
        assert seen.removeprefix(begun).startswith(b'event: error\ndata: {"type":"error","error":{')
        assert b"message_stop" not in seen
        assert not transcript.finished


def test_an_error_event_in_the_middle_reaches_the_caller() -> None:
    begun = start() + BLOCK + text("Hello")
    failed = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    for pieces in splits(failed + STOP):
        seen, _, error = read([begun, *pieces])
        assert isinstance(error, UpstreamOverloaded)
        assert seen.startswith(begun)
        assert b'"type":"overloaded_error"' in seen.removeprefix(begun)


def test_only_the_last_event_is_missing() -> None:
    seen, transcript = given(ANSWER)
    assert seen == ANSWER + STOP
    assert transcript.finished


def test_a_stop_without_a_reason_ends_an_answer_that_has_content() -> None:
    assert given(start() + BLOCK + text("Hello") + STOP)[0].endswith(STOP)
    assert isinstance(read([start() + STOP])[2], UpstreamCut)


def test_events_without_names_get_them() -> None:
    bare = b"".join(line + b"\n" for line in (ANSWER + STOP).split(b"\n") if not line.startswith(b"event:"))
    assert given(bare.rstrip(b"\n") + b"\n\n")[0] == ANSWER + STOP


def test_usage_is_cumulative_and_has_all_input() -> None:
    first = start(
        input_tokens=10, cache_creation_input_tokens=5, cache_read_input_tokens=100, output_tokens=1
    )
    last = stopped(
        output_tokens=7,
        cache_read_input_tokens=120,
        cache_creation_input_tokens=None,
        output_tokens_details={"thinking_tokens": 4},
        server_tool_use={"web_search_requests": 2},
    )
    _, transcript = given(first + BLOCK + text("Hello") + END + last + STOP)
    usage = transcript.usage
    assert isinstance(usage, Usage)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (135, 7, 120)
    assert (usage.units.write, usage.units.reasoning, usage.units.searches) == (5, 4, 2)
    assert usage.source == "reported"


def test_missing_usage_is_estimated() -> None:
    _, transcript = given(
        event("message_start", message={}) + BLOCK + text("Hello, world") + stopped() + STOP
    )
    assert transcript.usage is not None
    assert transcript.usage.source == "estimated"
    assert transcript.usage.completion_tokens == 3


@pytest.mark.parametrize(
    "data", [b"[]", b'"text"', b"5", b'{"type": 5}', b'{"no": "type"}', b'{"delta": []}']
)
def test_odd_events_break_nothing(data: bytes) -> None:
    odd = b"data: " + data + b"\n\n"
    seen, _ = given(start() + BLOCK + text("Hello") + odd + END + stopped() + STOP)
    assert seen.startswith(start() + BLOCK + text("Hello"))
    assert seen.endswith(END + stopped() + STOP)
