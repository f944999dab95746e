"""One reading of what upstreams say, by kind. The inputs are those of servers in use, and variations."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from kit.calls import ROLE, chunk, make_call, sse
from kit.replies import ScriptedSource

from flask_gateway.dialects.buffered_transcript import MAX_WHOLE
from flask_gateway.dialects.chunks import MAX_PARTS
from flask_gateway.dialects.expected_choices import choices_of
from flask_gateway.dialects.sse import MAX_EVENT
from flask_gateway.dialects.stream_transcript import DONE, StreamTranscript
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation, Outcome
from flask_gateway.model.errors import UpstreamCut, UpstreamError, UpstreamMalformed
from flask_gateway.model.reply import Reply

CREATED = {"type": "response.created", "response": {"id": "r1"}}


def stream(operation: Operation = Operation.CHAT, *, hides: bool = False, **fields: Any) -> StreamTranscript:
    call = msgspec.structs.replace(make_call(stream=True, **fields), operation=operation)
    transcript = transcript_for(call, "up", hides_usage=hides)
    assert isinstance(transcript, StreamTranscript)
    return transcript


def read(transcript: StreamTranscript, *pieces: bytes) -> bytes:
    out = b"".join(transcript.feed(piece) for piece in pieces)
    return out + (b"" if transcript.finished else transcript.end())


def choice(index: Any = 0, content: str | None = None, finish: Any = None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish, **more}]}


# ------------------------------------------------------------------ when a choice has ended

NO_REASONS = [
    "",
    " ",
    "null",
    "NULL",
    "None",
    None,
    False,
    0,
    {},
    [],
    {"type": None},
    "FINISH_REASON_UNSPECIFIED",
]


@pytest.mark.parametrize("reason", NO_REASONS)
def test_such_a_finish_reason_ends_nothing(reason: Any) -> None:
    transcript = stream()
    transcript.feed(
        sse(choice(content="Hello", finish=reason), choice(content=" th", finish=reason), done=False)
    )
    assert not transcript.complete
    with pytest.raises(UpstreamCut):
        transcript.end()


@pytest.mark.parametrize("reason", NO_REASONS)
def test_a_server_without_finish_reasons_ends_with_done(reason: Any) -> None:
    said = sse(choice(content="Hello", finish=reason))
    assert read(stream(), said) == said


@pytest.mark.parametrize(
    "reason",
    ["stop", "length", "tool_calls", "content_filter", "eos", "STOP", "sensitive", {"type": "stop"}, 1],
)
def test_such_a_finish_reason_ends_a_choice(reason: Any) -> None:
    said = sse(choice(content="all"), choice(finish=reason), done=False)
    assert read(stream(), said) == said + DONE


@pytest.mark.parametrize(
    "reason", ["error", "ERROR", "abort", "network_error", "insufficient_system_resource", "cancelled"]
)
@pytest.mark.parametrize("begun", [True, False])
def test_a_choice_that_was_given_up_is_an_error(reason: str, begun: bool) -> None:
    transcript = stream()
    if begun:
        transcript.feed(sse(chunk("half"), done=False))
    with pytest.raises(UpstreamError):
        transcript.feed(sse(choice(content="", finish=reason)))


@pytest.mark.parametrize(
    ("operation", "fields", "number"),
    [
        (Operation.CHAT, {}, 1),
        (Operation.CHAT, {"n": 2}, 2),
        (Operation.CHAT, {"n": 2.0}, 2),
        (Operation.CHAT, {"n": None}, 1),
        (Operation.CHAT, {"n": "2"}, 1),
        (Operation.CHAT, {"n": 0}, 1),
        (Operation.CHAT, {"n": True}, 1),
        (Operation.CHAT, {"n": 2, "prompt": ["a", "b"]}, 2),
        (Operation.COMPLETION, {"prompt": "a"}, 1),
        (Operation.COMPLETION, {"prompt": ["a", "b"]}, 2),
        (Operation.COMPLETION, {"prompt": ["a", "b"], "n": 3}, 6),
        (Operation.COMPLETION, {"prompt": ["a"], "n": 2, "best_of": 4}, 2),
        (Operation.COMPLETION, {"prompt": [1, 2, 3]}, 1),
        (Operation.COMPLETION, {"prompt": [[1, 2], [3]]}, 2),
        (Operation.COMPLETION, {"prompt": []}, 1),
        (Operation.COMPLETION, {"prompt": 7}, 1),
        (Operation.COMPLETION, {"prompt": [""] * 30_000}, 1),
        (Operation.COMPLETION, {}, 1),
    ],
)
def test_as_many_choices_are_expected_as_were_asked_for(
    operation: Operation, fields: dict[str, Any], number: int
) -> None:
    assert choices_of(msgspec.structs.replace(make_call(**fields), operation=operation)) == number


@pytest.mark.parametrize(
    "said",
    [
        [choice(0, "one"), choice(0, finish="stop")],
        [choice(1, "two"), choice(1, finish="stop")],
        [choice(0, "one", "stop"), choice(1, "tw")],
        [choice(0, "one"), choice(1, "two"), choice(1, finish="stop")],
        [choice(0, "one", "stop"), choice(1, "two", "")],
        [choice(0, "one", "stop"), choice(0, finish="stop")],
    ],
)
def test_a_choice_that_is_missing_is_a_cut(said: list[Any]) -> None:
    transcript = stream(n=2)
    transcript.feed(sse(*said, done=False))
    assert not transcript.complete
    with pytest.raises(UpstreamCut):
        transcript.end()


def test_a_choice_that_goes_on_at_done_is_a_cut() -> None:
    with pytest.raises(UpstreamCut):
        stream(n=2).feed(sse(choice(0, "one", "stop"), choice(1, "tw")))


def test_a_server_that_gives_one_choice_for_two_ends_with_done() -> None:
    said = sse(choice(0, "one", "stop"))
    assert read(stream(n=2), said) == said


def test_two_prompts_are_two_choices() -> None:
    one = {"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}
    two = {"choices": [{"index": 1, "text": "b", "finish_reason": "stop"}]}
    transcript = stream(Operation.COMPLETION, prompt=["x", "y"])
    transcript.feed(sse(one, done=False))
    assert not transcript.complete
    transcript.feed(sse(two, done=False))
    assert transcript.complete


def test_done_ends_no_response() -> None:
    transcript = stream(Operation.RESPONSE)
    transcript.feed(sse(CREATED, {"type": "response.output_text.delta", "delta": "half"}, done=False))
    with pytest.raises(UpstreamCut):
        transcript.feed(sse())


# ------------------------------------------------------------------ errors, wherever they stand

ERRORS: list[bytes] = [
    b'event: error\ndata: {"code":500,"message":"Internal"}\n\n',
    b'event: error\n\ndata: {"code":500,"message":"Internal"}\n\n',
    b'data: {"code":500,"message":"Internal"}\nevent: error\n\n',
    b"event: error\r\ndata: Internal Server Error\r\n\r\n",
    b'event:error\nid: 7\ndata: "overloaded"\n\n',
    b'error: {"code":500,"message":"llama.cpp"}\n\n',
    b'data: {"error":{"message":"x"}}\n\n',
    b'data: {"error":"x"}\n\n',
    b'data: [{"error":{"code":503,"message":"Gemini"}}]\n\n',
    b'data: {"object":"error","message":"vLLM","type":"BadRequestError","code":400}\n\n',
    b'data: {"code":500,"message":"Internal"}\n\n',
    b'data: {"code":"Throttling","message":"DashScope","request_id":"1"}\n\n',
    b'data: {"detail":"FastAPI"}\n\n',
    b'data: {"detail":[{"loc":["body"],"msg":"FastAPI"}]}\n\n',
    b'data: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n',
    b'data: {"id":"1","choices":[],"error":{"code":502,"message":"x"}}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"error":{"code":502,"message":"x"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"error","error":null}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop","error":{"code":502}}]}\n\n',
    b'{"error":{"message":"bare"}}\n\n',
    b'[{"error":{"message":"bare"}}]\n\n',
    b'{"detail":"bare"}',
]


@pytest.mark.parametrize("said", ERRORS)
@pytest.mark.parametrize("begun", [True, False])
def test_an_error_in_a_stream_is_found(said: bytes, begun: bool) -> None:
    transcript = stream()
    if begun:
        transcript.feed(sse(chunk("half"), done=False))
    with pytest.raises(UpstreamError) as caught:
        read(transcript, said, DONE if said.endswith(b"\n\n") else b"")
    assert not isinstance(caught.value, UpstreamCut | UpstreamMalformed)
    assert transcript.dropped == 0


@pytest.mark.parametrize(
    "said",
    [
        {"type": "error", "code": "server_error", "message": "boom"},
        {"type": "error", "error": {"code": "x", "message": "boom"}},
        {"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error"}}},
        {"type": "response.failed", "response": {"status": "failed", "error": None}},
        {"type": "response.failed"},
        {"type": "response.completed", "response": {"status": "failed", "error": {"message": "x"}}},
        {"code": 500, "message": "Internal"},
        {"error": {"message": "x"}},
    ],
)
@pytest.mark.parametrize("begun", [True, False])
def test_an_error_in_a_response_is_found(said: dict[str, Any], begun: bool) -> None:
    transcript = stream(Operation.RESPONSE)
    transcript.feed(sse(CREATED, done=False))
    if begun:
        transcript.feed(sse({"type": "response.output_text.delta", "delta": "x"}, done=False))
    assert transcript.ready is begun
    with pytest.raises(UpstreamError) as caught:
        transcript.feed(sse(said))
    assert not isinstance(caught.value, UpstreamCut | UpstreamMalformed)


@pytest.mark.parametrize(
    "said",
    [
        {"error": None},
        {"error": {}},
        {"error": ""},
        {"error": {"code": 0, "message": ""}},
        {"type": "ping", "message": "still here"},
        {"object": "queue.status", "message": "third in line"},
        {"status": 200, "message": "working"},
    ],
)
def test_a_value_that_is_no_error_is_not_reported(said: dict[str, Any]) -> None:
    events = sse(chunk("a"), {**said}, {**chunk("b"), **said}, chunk(finish="stop"))
    assert read(stream(), events) == events


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": "x"}},
        {"error": "x", "choices": []},
        [{"error": {"message": "x"}}],
        {"object": "error", "message": "x", "code": 400},
        {"detail": "x"},
        {"choices": [{"index": 0, "finish_reason": "error", "message": {"content": "half"}}]},
        {"choices": [{"index": 0, "error": {"code": 502}, "message": {"content": "half"}}]},
    ],
)
def test_an_error_in_a_body_is_found(said: Any) -> None:
    transcript = transcript_for(make_call(), "up")
    transcript.feed(json.dumps(said).encode())
    with pytest.raises(UpstreamError) as caught:
        transcript.end()
    assert not isinstance(caught.value, UpstreamMalformed)


def test_a_response_that_failed_is_an_error() -> None:
    call = msgspec.structs.replace(make_call(), operation=Operation.RESPONSE)
    for said in (
        {"status": "failed", "error": {"code": "x"}, "output": []},
        {"status": "failed", "output": []},
    ):
        transcript = transcript_for(call, "up")
        transcript.feed(json.dumps(said).encode())
        with pytest.raises(UpstreamError):
            transcript.end()


# ------------------------------------------------------------------ what follows a complete answer

FOLLOWS: list[Any] = [
    {},
    {"choices": []},
    {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    {"choices": [{"index": 0, "delta": {}}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
    {"choices": [{"index": 1, "delta": {}, "finish_reason": None}]},
    {
        "choices": [
            {"index": 0, "finish_reason": None, "content_filter_results": {}, "content_filter_offsets": {}}
        ]
    },
    {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
    {"type": "ping"},
    {"choices": [], "x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}},
]


@pytest.mark.parametrize("said", FOLLOWS)
def test_a_complete_answer_stays_so(said: Any) -> None:
    transcript = stream()
    transcript.feed(sse(chunk("all"), chunk(finish="stop"), done=False))
    assert transcript.complete
    transcript.feed(sse(said, done=False) + b": ping\n\n")
    assert transcript.complete
    assert transcript.end() == DONE


def test_a_complete_answer_tells_once_that_it_is_so() -> None:
    told: list[bool | None] = []
    transcript = transcript_for(make_call(stream=True), "up", completed=told.append)
    transcript.feed(sse(chunk("all"), done=False))
    assert told == []
    transcript.feed(sse(chunk(finish="stop"), *FOLLOWS, chunk(finish="stop"), chunk("", "stop"), done=False))
    assert told == [False]


def test_more_may_follow_a_finish_reason_that_comes_with_content() -> None:
    told: list[bool | None] = []
    transcript = transcript_for(make_call(stream=True), "up", completed=told.append)
    transcript.feed(sse(chunk("a", finish="stop"), chunk("b", finish="stop"), done=False))
    assert told == [True, True]
    transcript.feed(sse(choice(1, "another"), done=False))
    assert told == [True, True, None]


def test_more_may_follow_where_more_has_followed() -> None:
    told: list[bool | None] = []
    transcript = transcript_for(make_call(stream=True), "up", completed=told.append)
    transcript.feed(sse(chunk("a"), chunk(finish="stop"), chunk("b"), *FOLLOWS, done=False))
    assert told == [False, True]
    assert transcript.complete


@pytest.mark.parametrize("said", [*ERRORS, b"data: {broken\n\n"])
def test_an_error_behind_a_complete_answer_takes_nothing_from_it(said: bytes) -> None:
    begin = sse(chunk("all"), chunk(finish="stop"), done=False)
    assert read(stream(), begin, said) == begin + DONE


def test_groqs_error_next_to_its_usage_is_read() -> None:
    transcript = stream()
    with pytest.raises(UpstreamError):
        transcript.feed(sse(chunk("half"), {"choices": [], "x_groq": {"error": "over capacity"}}, done=False))


@pytest.mark.parametrize("index", [None, "0", [], {}, 1.5, True])
def test_a_choice_of_an_odd_index_is_the_first(index: Any) -> None:
    said = sse(choice(index, "all"), choice(index, finish="stop"), done=False)
    assert read(stream(), said) == said + DONE


def test_lists_in_lists_are_no_error_of_ours() -> None:
    for depth in (10, 300, 900):
        transcript = stream()
        assert read(transcript, sse(chunk("a"), b"[" * depth + b"]" * depth, chunk(finish="stop"))).endswith(
            DONE
        )
        transcript = stream()
        with pytest.raises(UpstreamError):
            read(transcript, b"[" * depth + b"]" * depth)


# ------------------------------------------------------------------ what commits to nothing

SILENT: list[Any] = [
    ROLE,
    {},
    {"choices": []},
    {"type": "keepalive"},
    choice(0, ""),
    choice(0, None, ""),
    {"choices": [{"index": 0, "delta": None}]},
    {
        "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": None, "tool_calls": [], "refusal": ""}}
        ]
    },
    {"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": ""}]}}]},
    {"choices": [{"index": 0, "delta": {"reasoning_content": "", "reasoning_details": []}}]},
    {"choices": [{"index": 0, "text": ""}]},
    {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]},
    {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0}},
]


@pytest.mark.parametrize("said", SILENT)
def test_empty_content_does_not_commit(said: Any) -> None:
    transcript = stream()
    for _ in range(100):
        transcript.feed(sse(said, done=False) + b": ping\n\n")
    assert not transcript.ready
    with pytest.raises(UpstreamError):
        transcript.feed(sse({"error": {"message": "boom"}}))


@pytest.mark.parametrize(
    "said",
    [
        CREATED,
        {"type": "response.queued", "response": {}},
        {"type": "response.in_progress", "response": {}},
        {"type": "keepalive", "sequence_number": 2},
        {"type": "response.heartbeat"},
        {"type": "ping"},
        {"type": "codex.rate_limits", "primary": {}},
        {},
        {"type": "response.output_text.delta", "delta": ""},
        {"type": "response.output_item.added", "item": {"type": "message", "id": "m", "content": []}},
        {"type": "response.output_item.added", "item": {"type": "reasoning", "id": "r", "summary": []}},
        {
            "type": "response.content_part.added",
            "part": {"type": "output_text", "text": "", "annotations": []},
        },
    ],
)
def test_empty_response_events_do_not_commit(said: Any) -> None:
    transcript = stream(Operation.RESPONSE)
    for _ in range(100):
        transcript.feed(b"event: x\n" + sse(said, done=False))
    assert not transcript.ready


@pytest.mark.parametrize(
    "said",
    [
        {"type": "response.output_text.delta", "delta": "x"},
        {"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}},
        {"type": "response.refusal.delta", "delta": "no"},
        {"type": "response.web_search_call.searching", "item_id": "w"},
        {"type": "response.incomplete", "response": {"status": "incomplete"}},
    ],
)
def test_whatever_a_response_says_is_content(said: Any) -> None:
    transcript = stream(Operation.RESPONSE)
    transcript.feed(sse(CREATED, said, done=False))
    assert transcript.ready


# ------------------------------------------------------------------ large events

PICTURE = {
    "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (15 << 20)}}]
}


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_picture_comes_in_one_event(end: bytes) -> None:
    said = sse(chunk("here: "), {"choices": [{"index": 0, "delta": PICTURE}]}, chunk(finish="stop"))
    said = said.replace(b"\n", end)
    transcript = stream()
    pieces = [said[at : at + 16384] for at in range(0, len(said), 16384)]
    assert len(read(transcript, *pieces)) > 15 << 20
    assert transcript.dropped == 0


def test_a_response_may_have_twice_as_large_ones() -> None:
    call = {"type": "image_generation_call", "result": "A" * (31 << 20)}
    last = {"type": "response.completed", "response": {"output": [call], "usage": {"input_tokens": 3}}}
    said = b"event: response.completed\n" + sse(last, done=False)
    for transcript in (stream(Operation.RESPONSE), whole(Operation.RESPONSE)):
        out = b"".join(transcript.feed(said[at : at + 65536]) for at in range(0, len(said), 65536))
        assert transcript.finished
        assert out == said
        assert transcript.usage is not None
        assert transcript.usage.prompt_tokens == 3
    assert MAX_WHOLE > 2 * MAX_EVENT


def whole(operation: Operation) -> Any:
    call = msgspec.structs.replace(make_call(stream=True), operation=operation, whole=True)
    return transcript_for(call, "up")


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.RESPONSE])
def test_larger_ones_break_the_stream(operation: Operation) -> None:
    most = MAX_EVENT * (2 if operation is Operation.RESPONSE else 1)
    with pytest.raises(UpstreamMalformed):
        stream(operation).feed(b"data: " + b"x" * most)


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.RESPONSE])
def test_bytes_with_an_unknown_beginning_are_not_collected(operation: Operation) -> None:
    with pytest.raises(UpstreamMalformed):
        stream(operation).feed(bytes(65 * 1024))
    with pytest.raises(UpstreamMalformed):
        transcript_for(make_call(), "up").feed(bytes(9))


def test_an_event_of_very_many_lines_breaks_the_stream() -> None:
    with pytest.raises(UpstreamMalformed, match="lines"):
        stream().feed(b"data: x\n" * 200_000 + b"\n")


def test_no_more_parts_of_a_delta_are_counted_than_there_may_be() -> None:
    transcript = stream()
    parts = [{"type": "text", "text": "four"}] * (2 * MAX_PARTS)
    transcript.feed(sse({"choices": [{"index": 0, "delta": {"content": parts}}]}, done=False))
    assert transcript.usage is not None
    assert transcript.usage.completion_tokens == MAX_PARTS


def test_an_opening_that_repeats_a_long_request_is_held_back() -> None:
    created = {"type": "response.created", "response": {"instructions": "x" * (1 << 20)}}
    transcript = stream(Operation.RESPONSE)
    held = transcript.feed(sse(created, done=False))
    assert not transcript.ready
    assert held == sse(created, done=False)


# ------------------------------------------------------------------ labels: JSON where events were asked for

ANSWER = {
    "id": "c2",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


@pytest.mark.parametrize("text", [json.dumps(ANSWER), json.dumps(ANSWER, indent=1) + "\n"])
@pytest.mark.parametrize("hides", [True, False])
def test_an_answer_in_one_piece_becomes_the_stream_that_was_asked_for(text: str, hides: bool) -> None:
    transcript = stream(hides=hides)
    out = read(transcript, text[:9].encode(), text[9:].encode())
    events = [event.removeprefix(b"data: ") for event in out.split(b"\n\n")[:-1]]
    assert events[-1] == b"[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert chunks[0]["choices"][0]["delta"]["content"] == "fine"
    assert chunks[0]["choices"][0]["finish_reason"] == "stop"
    assert [one.get("usage") for one in chunks[1:]] == ([] if hides else [ANSWER["usage"]])
    assert transcript.usage is not None
    assert (transcript.usage.prompt_tokens, transcript.usage.source) == (3, "reported")


def test_a_call_of_tools_in_one_piece_becomes_deltas() -> None:
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in (0, 1)
    ]
    said = {
        "choices": [{"index": 0, "message": {"content": None, "tool_calls": calls}, "finish_reason": "x"}]
    }
    out = read(stream(), json.dumps(said).encode())
    delta = json.loads(out.split(b"\n\n")[0].removeprefix(b"data: "))["choices"][0]["delta"]
    assert delta == {"tool_calls": [{"index": 0, **calls[0]}, {"index": 1, **calls[1]}]}


def test_a_response_in_one_piece_becomes_events() -> None:
    output = [{"type": "message", "id": "m1", "content": [{"type": "output_text", "text": "fine"}]}]
    said = {
        "id": "r1",
        "status": "completed",
        "output": output,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    transcript = stream(Operation.RESPONSE)
    out = read(transcript, json.dumps(said).encode())
    kinds = [json.loads(event.split(b"data: ")[1])["type"] for event in out.split(b"\n\n")[:-1]]
    assert kinds == ["response.created", "response.output_text.delta", "response.completed"]
    assert transcript.usage is not None
    assert transcript.usage.completion_tokens == 2


@pytest.mark.parametrize(
    "said", [b"<b>\n\n</b>", b"hello", b'{"ok": true}', b'"text"', b"[1]", b'{"choices": []}']
)
def test_bytes_that_are_neither_events_nor_json_are_malformed_or_cut(said: bytes) -> None:
    with pytest.raises((UpstreamMalformed, UpstreamCut)):
        read(stream(), said)


@pytest.mark.parametrize("said", [b'data: {"a":1}\n\n', b": ping\n\n", b"event: x\ndata: {}\n\n"])
def test_events_where_none_were_asked_for_are_refused_at_once(said: bytes) -> None:
    with pytest.raises(UpstreamMalformed, match="event stream"):
        transcript_for(make_call(), "up").feed(said)


def test_a_byte_order_mark_before_a_body_is_no_part_of_it() -> None:
    transcript = transcript_for(make_call(), "up")
    transcript.feed(b"\xef\xbb\xbf" + json.dumps(ANSWER).encode())
    assert transcript.end() == json.dumps(ANSWER).encode()


# ------------------------------------------------------------------ usage

#: Usage as servers report it, and the numbers that are read from it: prompt, completion, cached.
USAGES: list[tuple[Any, tuple[int, int, int]]] = [
    ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, (3, 4, 0)),
    ({"input_tokens": 3, "output_tokens": 4}, (3, 4, 0)),
    ({"prompt_tokens": 12, "completion_tokens": None, "total_tokens": 12}, (12, 0, 0)),
    ({"prompt_tokens": 12, "completion_tokens": None, "total_tokens": 20}, (12, 8, 0)),
    ({"prompt_tokens": None, "completion_tokens": 8, "total_tokens": 20}, (12, 8, 0)),
    ({"prompt_tokens": 12, "completion_tokens": "8"}, (12, 8, 0)),
    ({"prompt_tokens": 12.0, "completion_tokens": 8.0}, (12, 8, 0)),
    ({"prompt_tokens": 12, "completion_tokens": [], "total_tokens": None}, (12, 1, 0)),
    ({"prompt_tokens": 12, "completion_tokens": -1}, (12, 1, 0)),
    ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": None}, (12, 3, 0)),
    ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": []}, (12, 3, 0)),
    (
        {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": None}},
        (12, 3, 0),
    ),
    (
        {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}},
        (12, 3, 5),
    ),
    ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_cache_hit_tokens": 5}, (12, 3, 5)),
    ({"prompt_tokens": 12, "completion_tokens": 3, "cached_tokens": 5}, (12, 3, 5)),
    ({"total_tokens": 9}, (8, 1, 0)),
    ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 9}, (8, 1, 0)),
]


@pytest.mark.parametrize(("said", "understood"), USAGES)
def test_usage_is_read_part_by_part(said: Any, understood: tuple[int, int, int]) -> None:
    in_the_choice = {**choice(finish="stop")}
    in_the_choice["choices"][0]["usage"] = said
    for events in (
        [chunk("fine"), chunk(finish="stop"), {"choices": [], "usage": said}],
        [chunk("fine"), chunk(finish="stop", usage=said)],
        [chunk("fine"), in_the_choice],
        [chunk("fine"), chunk(finish="stop"), {"choices": [], "x_groq": {"usage": said}}],
        [chunk("fine", usage=said), chunk(finish="stop", usage={"prompt_tokens": None})],
    ):
        transcript = stream()
        read(transcript, sse(*events))
        assert transcript.usage is not None
        usage = transcript.usage
        assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == understood
        assert usage.source == "reported"
    answer = {"choices": [{"message": {"content": "fine"}}]}
    for body in (
        {**answer, "usage": said},
        {"choices": [{"message": {"content": "fine"}, "usage": said}]},
        {**answer, "x_groq": {"usage": said}},
    ):
        usage = usage_of(Operation.CHAT, body)
        assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == understood


def usage_of(operation: Operation, body: Any) -> Any:
    transcript = transcript_for(msgspec.structs.replace(make_call(), operation=operation), "up")
    transcript.feed(json.dumps(body).encode())
    transcript.end()
    assert transcript.usage is not None
    assert transcript.usage.source == "reported"
    return transcript.usage


@pytest.mark.parametrize(
    ("operation", "body", "prompt", "completion"),
    [
        (Operation.RERANK, {"usage": {"total_tokens": 62}, "results": []}, 62, 0),
        (Operation.RERANK, {"meta": {"billed_units": {"input_tokens": 7}}, "results": []}, 7, 0),
        (
            Operation.RERANK,
            {"meta": {"tokens": {"input_tokens": 7, "output_tokens": 1}}, "results": []},
            7,
            1,
        ),
        (Operation.RERANK, {"usage": {"prompt_tokens": 5, "total_tokens": 5}, "data": []}, 5, 0),
        (Operation.EMBEDDING, {"data": [], "usage": {"total_tokens": 9}}, 9, 0),
        (Operation.EMBEDDING, {"data": [], "usage": {"prompt_tokens": 9}}, 9, 0),
        (Operation.EMBEDDING, {"data": [], "usage": {"prompt_tokens": None, "total_tokens": 9}}, 9, 0),
        (Operation.CHAT, {"choices": [], "timings": {"prompt_n": 3, "cache_n": 2, "predicted_n": 4}}, 5, 4),
        (Operation.CHAT, {"choices": [], "prompt_eval_count": 3, "eval_count": 4}, 3, 4),
        (
            Operation.CHAT,
            {"choices": [], "usage": {"billed_units": {"input_tokens": 3, "output_tokens": 4}}},
            3,
            4,
        ),
        (
            Operation.CHAT,
            {"choices": [], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}},
            3,
            4,
        ),
        (Operation.RESPONSE, {"output": [], "usage": {"input_tokens": 3, "output_tokens": None}}, 3, 0),
    ],
)
def test_usage_is_read_from_wherever_it_stands(
    operation: Operation, body: Any, prompt: int, completion: int
) -> None:
    usage = usage_of(operation, body)
    assert (usage.prompt_tokens, usage.completion_tokens) == (prompt, completion)


def test_an_empty_choice_next_to_the_usage_is_hidden_with_it() -> None:
    said = sse(chunk("hi"), chunk(finish="stop"), {**choice(), "usage": {"completion_tokens": 251}})
    assert read(stream(hides=True), said) == sse(chunk("hi"), chunk(finish="stop"))


# ------------------------------------------------------------------ events that cannot be read

MENDED: list[tuple[bytes, Any]] = [
    (b'{"choices":[{"index":0,"delta":{"content":"B"},"logprobs":[-Infinity]}]}', -9999.0),
    (b'{"choices":[{"index":0,"delta":{"content":"B"},"logprobs":[NaN]}]}', None),
    (b'{"choices":[{"index":0,"delta":{"content":"B"},"logprobs":[Infinity]}]}', None),
    (b'{"choices":[{"index":0,"delta":{"content":"B"},"logprobs":["\\ud83d"]}]}', "\ud83d"),
    (b'{"choices":[{"index":0,"delta":{"content":"B"},"logprobs":["\xff"]}]}', "\ufffd"),
    (b'{"choices":[{"index":0,"delta":{"content":"B"},"logprobs":["a\tb"]}]}', "a\tb"),
]


@pytest.mark.parametrize(("said", "value"), MENDED)
def test_text_next_to_an_odd_value_is_not_lost(said: bytes, value: Any) -> None:
    transcript = stream()
    out = read(transcript, sse(chunk("A"), said, chunk("C"), chunk(finish="stop")))
    second = json.loads(out.split(b"\n\n")[1].removeprefix(b"data: "))
    assert second["choices"][0] == {"index": 0, "delta": {"content": "B"}, "logprobs": [value]}
    assert transcript.dropped == 0
    assert msgspec.json.decode(out.split(b"\n\n")[2].removeprefix(b"data: "))


def test_half_an_emoji_passes_as_it_is() -> None:
    halves = [
        b'{"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"\\ude00"}}]}',
    ]
    transcript = stream()
    assert read(transcript, sse(*halves, chunk(finish="stop"))).startswith(sse(*halves, done=False))
    assert transcript.dropped == 0


def test_a_body_with_an_odd_value_is_mended() -> None:
    said = (
        json.dumps(ANSWER)
        .encode()
        .replace(b'"finish_reason"', b'"logprobs": [-Infinity, NaN], "finish_reason"')
    )
    transcript = transcript_for(make_call(), "up")
    transcript.feed(said)
    assert msgspec.json.decode(transcript.end())["choices"][0]["logprobs"] == [-9999.0, None]


@pytest.mark.parametrize("said", [b"broken", b"keep-alive", b"[1]", b"7", b"<br>"])
def test_unreadable_events_are_dropped_and_counted(said: bytes) -> None:
    reply = Reply(
        ScriptedSource(sse(chunk("a"), said, done=False), sse(said, chunk(finish="stop"))),
        transcript_for(make_call(stream=True), "up"),
        "up",
    )
    told: list[Outcome] = []
    reply.on_close(told.append)
    assert b"".join(reply.prime()) == sse(chunk("a"), chunk(finish="stop"))
    assert [outcome.dropped for outcome in told] == [2]


# ------------------------------------------------------------------ events without data


@pytest.mark.parametrize(
    ("event", "left"),
    [
        (b"event: response.created\n\n", b""),
        (b"event: x\r\n\r\n", b""),
        (b"id: 7\n\n", b""),
        (b"retry: 3000\n\n", b""),
        (b"data\n\n", b""),
        (b"data:\n\n", b""),
        (b"data: \n\n", b""),
        (b"event: ping\ndata:\n\n", b""),
        (b"hello\n\n", b""),
        (b": ping\n\n", b": ping\n\n"),
        (b"event: ping\n: still here\n\n", b": still here\n\n"),
        (b'id: 7\ndata: {"choices":[]}\n\n', b'data: {"choices":[]}\n\n'),
        (b'event: x\nid: 7\nretry: 1\ndata: {"choices":[]}\n\n', b'event: x\ndata: {"choices":[]}\n\n'),
    ],
)
def test_an_event_without_data_reaches_nobody(event: bytes, left: bytes) -> None:
    begin, end = sse(chunk("a"), done=False), sse(chunk(finish="stop"))
    for pieces in (
        [begin, event, end],
        [begin + event + end],
        [begin, *(bytes([byte]) for byte in event), end],
    ):
        transcript = stream()
        assert read(transcript, *pieces) == begin + left + end
        assert transcript.dropped == 0


def test_names_without_their_data_are_left_out() -> None:
    said = (
        b'event: response.created\n\ndata: {"type":"response.created","response":{"id":"r1"}}\n\n'
        b'event: response.output_text.delta\n\ndata: {"type":"response.output_text.delta","delta":"B"}\n\n'
        b'event: response.completed\n\ndata: {"type":"response.completed","response":{"output":[]}}\n\n'
    )
    out = read(stream(Operation.RESPONSE), said)
    assert out == b"".join(part + b"\n\n" for part in said.split(b"\n\n") if part.startswith(b"data"))
