"""Tests events and bodies of very many values: they pass unchanged, and only a few values are decoded."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from kit.calls import chunk, make_call, sse
from kit.stream_events import read, stream

from flask_gateway.dialects import stream_transcript
from flask_gateway.dialects.bulky import LARGE, MAX_PARTS, is_bulky, shortened
from flask_gateway.dialects.redaction import Redaction
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation
from flask_gateway.model.errors import UpstreamError, UpstreamMalformed
from flask_gateway.model.large_json import SLICE
from flask_gateway.model.source import Postponed

MANY = 2 * MAX_PARTS


def listed(item: bytes, count: int = MANY) -> bytes:
    return b"[" + item * count + b"1]"


def names(count: int = MANY) -> bytes:
    return b"{" + b"".join(b'"%d":1,' % number for number in range(count)) + b'"z":1}'


def chat(delta: bytes, rest: bytes = b"") -> bytes:
    return b'{"choices":[{"index":0,"delta":' + delta + b"}]" + rest + b"}"


#: Events that an ordinary decoder turns into very many objects.
EVENTS: dict[str, tuple[Operation, bytes]] = {
    "numbers": (Operation.CHAT, chat(b'{"content":' + listed(b"1,") + b"}")),
    "empty parts": (Operation.CHAT, chat(b'{"content":' + listed(b"{},") + b"}")),
    "empty texts": (Operation.CHAT, chat(b'{"content":' + listed(b'"",') + b"}")),
    "names": (Operation.CHAT, chat(names())),
    "choices": (Operation.CHAT, b'{"choices":[' + b'{"delta":{"content":"a"}},' * MANY + b"{}]}"),
    "usage": (Operation.CHAT, chat(b'{"content":"a"}', b',"usage":' + names())),
    "timings": (Operation.CHAT, chat(b'{"content":"a"}', b',"timings":' + listed(b"1,"))),
    "logprobs": (Operation.CHAT, chat(b'{"content":"a"},"logprobs":' + listed(b'{"a":1},'))),
    "an unknown field": (Operation.CHAT, b'{"odd":' + listed(b"1,") + b"}"),
    "top-level names": (Operation.CHAT, names()),
    "a delta": (Operation.RESPONSE, b'{"type":"a.delta","delta":' + listed(b"1,") + b"}"),
    "an item": (
        Operation.RESPONSE,
        b'{"type":"response.output_item.added","item":{"a":' + listed(b"1,") + b"}}",
    ),
    "a type": (Operation.RESPONSE, b'{"type":' + listed(b"1,") + b"}"),
}


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("kind", EVENTS)
def test_a_bulky_event_passes_unchanged_and_a_short_one_is_decoded(
    kind: str, end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation, data = EVENTS[kind]
    transcript: Any = stream(operation)
    first = b'{"type":"a.delta","delta":"a"}' if operation is Operation.RESPONSE else chat(b'{"content":"a"}')
    transcript.feed(b"data: " + first + b"\n\n")
    decoded: list[int] = []
    read = type(transcript._reader).read
    monkeypatch.setattr(
        type(transcript._reader), "read", lambda self, seen: (decoded.append(len(seen)), read(self, seen))[1]
    )
    assert transcript.feed(b"data: " + data + end + end) == b"data: " + data + b"\n\n"
    assert max(decoded) <= LARGE < len(data)


def test_a_bulky_last_event_still_ends_the_answer_and_tells_the_usage() -> None:
    transcript = stream(Operation.RESPONSE)
    output = listed(b'{"token":"a","logprob":-1.5},')
    last = b'{"type":"response.completed","response":{"status":"completed","output":' + output
    said = b"data: " + last + b',"usage":{"input_tokens":3,"output_tokens":4}}}\n\n'
    assert transcript.feed(said) == said
    assert transcript.finished
    assert transcript.usage is not None
    assert (transcript.usage.prompt_tokens, transcript.usage.completion_tokens) == (3, 4)


def test_a_bulky_choice_still_has_its_finish_reason() -> None:
    transcript = stream()
    transcript.feed(sse(chunk("a"), done=False))
    transcript.feed(
        b"data: " + chat(b'{"content":"b"},"finish_reason":"stop","logprobs":' + listed(b"1,")) + b"\n\n"
    )
    assert transcript.complete


@pytest.mark.parametrize("where", ['{"error":%s}', '{"choices":[{"index":0,"error":%s}]}'])
def test_a_bulky_error_is_an_error(where: str) -> None:
    with pytest.raises(UpstreamError):
        stream().feed(b"data: " + where.encode() % listed(b"1,") + b"\n\n")


def test_a_bulky_event_that_is_no_json_loses_a_part_of_the_answer() -> None:
    transcript = stream()
    transcript.feed(sse(chunk("a"), done=False))
    transcript.feed(b'data: {"choices":' + listed(b"1,") + b"\n\n")
    with pytest.raises(UpstreamMalformed, match="lost"):
        transcript.feed(sse(chunk("b"), done=False))


LOGPROBS = listed(b'{"token":"a b","top_logprobs":[]},')


@pytest.mark.parametrize("end", [b"", b"\n\n"])
@pytest.mark.parametrize("space", [b"", b"\r\n  "])
def test_a_bulky_document_instead_of_events_becomes_events(end: bytes, space: bytes) -> None:
    """A server that does not stream answers with long logprobs: the caller gets them all, in one event."""
    logprobs = LOGPROBS.replace(b",", b"," + space)
    document = (
        b'{"object":"chat.completion","choices":[{"index":0,"finish_reason":"stop","message":'
        b'{"role":"assistant","content":"hi"},"logprobs":{"content":'
        + logprobs
        + b'}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    )
    transcript = stream()
    out = read(transcript, document + end)
    events = [json.loads(line[6:]) for line in out.splitlines() if line.startswith(b"data: {")]
    assert len(out.split(b"\n\n")) == len(events) + 2  # [DONE], and nothing behind its blank line
    choice = events[0]["choices"][0]
    assert (choice["delta"]["content"], choice["finish_reason"]) == ("hi", "stop")
    assert choice["logprobs"]["content"] == json.loads(LOGPROBS)
    assert transcript.usage is not None
    assert transcript.usage.completion_tokens == 4


def test_a_bulky_response_instead_of_events_becomes_events() -> None:
    document = (
        b'{"object":"response","status":"completed","output":[{"type":"message","id":"m","content":[{"type":'
        b'"output_text","text":"hi","logprobs":' + LOGPROBS + b"}]}]}"
    )
    out = read(stream(Operation.RESPONSE), document)
    events = [json.loads(line[6:]) for line in out.splitlines() if line.startswith(b"data: {")]
    assert [event["type"] for event in events][1:] == ["response.output_text.delta", "response.completed"]
    assert events[1]["delta"] == "hi"
    assert events[2]["response"]["output"][0]["content"][0]["logprobs"] == json.loads(LOGPROBS)


@pytest.mark.parametrize(
    "document", [names(), listed(b"1,"), b'{"choices":' + listed(b"1,"), b'{"a":"\xff"' + names()[:-1]]
)
def test_a_bulky_document_without_an_answer_is_refused(document: bytes) -> None:
    with pytest.raises(UpstreamError):
        read(stream(), document)


@pytest.mark.parametrize("count", [1, 3])
def test_a_bulky_body_passes_unchanged(count: int) -> None:
    choice = b'{"index":0,"finish_reason":"stop","message":{"content":"a"},"logprobs":' + listed(b"1,") + b"}"
    body = (
        b'{"choices":['
        + b",".join([choice] * count)
        + b'],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    )
    transcript = transcript_for(make_call(n=count), "llama")
    transcript.feed(body)
    assert transcript.end() == body
    assert transcript.usage is not None
    assert transcript.usage.completion_tokens == 4


def test_a_bulky_body_without_an_answer_is_refused() -> None:
    transcript = transcript_for(make_call(), "llama")
    transcript.feed(names())
    with pytest.raises(UpstreamMalformed):
        transcript.end()


def test_an_embedding_of_many_numbers_passes_unchanged() -> None:
    body = b'{"data":[{"embedding":' + listed(b"0.25,", 400_000) + b'}],"usage":{"prompt_tokens":3}}'
    call = msgspec.structs.replace(make_call(), operation=Operation.EMBEDDING)
    transcript = transcript_for(call, "llama")
    transcript.feed(body)
    assert transcript.end() == body


@pytest.mark.parametrize(
    ("item", "bulky"), [(b"1,", True), (b'"a,[{",', True), (b'"' + b"," * 99 + b'",', False)]
)
def test_commas_in_texts_do_not_count(item: bytes, bulky: bool) -> None:
    count = MANY if bulky else MAX_PARTS // 10
    assert is_bulky(listed(item, count)) is bulky


def test_a_text_is_kept_at_any_length() -> None:
    text = "é" * (2 * LARGE)
    data = json.dumps({"error": text, "usage": {"a": 1}, "odd": [1] * MANY}, ensure_ascii=False).encode()
    short, left_out = shortened(data, 1)
    assert json.loads(short) == {"error": text, "usage": {"a": 1}}
    assert left_out == 0


# ------------------------------------------------------------------ postponed


def test_a_large_event_is_postponed_with_those_behind_it() -> None:
    at_once, later = stream(), stream()
    later.postpones = True
    said = sse(chunk("a"), chunk("b" * LARGE), chunk("c", finish="stop"))
    expected = at_once.feed(said[:LARGE]) + at_once.feed(said[LARGE:])
    out = later.feed(said[:LARGE])
    with pytest.raises(Postponed):
        later.feed(said[LARGE:])
    assert out + later.catch_up() == expected
    assert later.finished


def test_a_large_event_at_the_end_of_the_bytes_is_postponed(monkeypatch: pytest.MonkeyPatch) -> None:
    transcript = stream()
    transcript.postpones = True
    transcript.feed(sse(chunk("a"), done=False))
    transcript.feed(b"data: " + chat(b'{"content":"' + b"b" * LARGE + b'"},"finish_reason":"stop"'))
    with monkeypatch.context() as patch:
        patch.setattr(stream_transcript, "is_bulky", None)  # nothing of it is read here
        with pytest.raises(Postponed):
            transcript.end()
    assert transcript.catch_up().endswith(b"data: [DONE]\n\n")
    assert transcript.finished


@pytest.mark.parametrize("before", range(0, 60, 7))
def test_a_key_is_removed_from_long_data_wherever_it_is_sliced(before: int) -> None:
    key = "sk-very/secret-0123456789"
    written = (key, key.replace("/", "\\/"), key.replace("/", "\\u002f"))
    redaction = Redaction(key)
    for text in written:
        filling = b"x" * (SLICE - before)
        data = filling + text.encode() + filling + text.encode() * 3 + filling
        assert redaction.redact(data) == redaction._pattern.sub(b"[redacted]", data)
        assert b"0123456789" not in redaction.redact(data)
