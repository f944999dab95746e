"""Provides calls of the mock, and its answers."""

from __future__ import annotations

import json
import time

import msgspec

from flask_gateway.model.call import Call, Caller, Ids, Operation
from flask_gateway.upstreams.mock.upstream import MockUpstream

HELLO = [{"role": "user", "content": "Hello there"}]


def call(operation=Operation.CHAT, stream=False, **body):
    body.setdefault("model", "mock-1")
    return Call(
        ids=Ids(request="r", trace="t", traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01"),
        caller=Caller(id="c", rate_limit=0),
        operation=operation,
        model=body["model"],
        fields={name: msgspec.Raw(json.dumps(value).encode()) for name, value in body.items()},
        stream=stream,
        started=time.monotonic(),
    )


def answer(operation=Operation.CHAT, url="mock://local", **body):
    """The whole answer as JSON, and the usage that the transcript read from it."""
    reply = MockUpstream("mock", url).send(call(operation, **body)).prime()
    return json.loads(b"".join(reply)), reply.usage


def events(operation=Operation.CHAT, url="mock://local", **body):
    """The data of every event of a stream, and the usage that the transcript read from it."""
    reply = MockUpstream("mock", url).send(call(operation, stream=True, **body)).prime()
    text = b"".join(reply).decode()
    blocks = [block for block in text.split("\n\n") if block]
    data = [block.partition("data: ")[2] for block in blocks]
    return [json.loads(item) if item != "[DONE]" else item for item in data], reply.usage
