"""Provides what the tests of dialects share: a transcript of a stream, and events for it."""

from __future__ import annotations

from typing import Any

import msgspec

from flask_gateway.dialects.stream_transcript import StreamTranscript
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation
from kit.calls import make_call

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


# ------------------------------------------------------------------ labels: JSON where events were asked for

ANSWER = {
    "id": "c2",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
