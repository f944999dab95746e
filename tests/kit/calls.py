"""Builds settings, calls, request bodies and stream events for tests."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from flask_gateway.config.schema import (
    CandidateSettings,
    KeySettings,
    ModelSettings,
    Secret,
    Settings,
    UpstreamSettings,
)
from flask_gateway.model.call import Call, Caller, Ids, Operation
from kit.planted import KEY, UPSTREAM_KEY

AUTH = {"Authorization": f"Bearer {KEY}"}


def make_settings(**changes: Any) -> Settings:
    """Settings with two HTTP upstreams, a mock, two API keys and one renamed model."""
    settings = Settings(
        keys=(
            KeySettings(id="team-a", digest=sha256(KEY.encode()).digest()),
            KeySettings(id="team-b", digest=sha256(b"other-key").digest(), models=frozenset({"mock"})),
        ),
        upstreams=(
            UpstreamSettings(name="llama", url="http://llama.test/v1", api_key=Secret(UPSTREAM_KEY)),
            UpstreamSettings(name="bare", url="http://bare.test/v1"),
            UpstreamSettings(name="mock", url="mock://local"),
        ),
        models=(
            ModelSettings(
                name="fast", tiers=((CandidateSettings(upstream="llama", model="llama-3-8b-instruct"),),)
            ),
        ),
    )
    return msgspec.structs.replace(settings, **changes)


def single_candidate(upstream: str, model: str = "m") -> tuple[CandidateSettings, ...]:
    """A tier with one candidate."""
    return (CandidateSettings(upstream=upstream, model=model),)


def chat(model: str = "llama", **fields: Any) -> dict[str, Any]:
    """The body of a small chat request."""
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}


def make_call(model: str = "m", *, caller: Caller | None = None, stream: bool = False, **fields: Any) -> Call:
    """A call as the web layer builds it from a request."""
    body = msgspec.json.encode(chat(model, **fields))
    return Call(
        ids=Ids("req-1", "trace-1", "00-" + "1" * 32 + "-" + "2" * 16 + "-00"),
        caller=caller or Caller("team-a", 0),
        operation=Operation.CHAT,
        model=model,
        fields=msgspec.json.decode(body, type=dict[str, msgspec.Raw]),
        stream=stream,
        started=0.0,
    )


def sse(*events: Any, done: bool = True) -> bytes:
    """Chat events as an upstream streams them."""
    lines = [b"data: " + (e if isinstance(e, bytes) else msgspec.json.encode(e)) + b"\n\n" for e in events]
    return b"".join(lines) + (b"data: [DONE]\n\n" if done else b"")


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One event of a chat stream."""
    delta = {} if content is None else {"content": content}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "llama",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


ROLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
}
