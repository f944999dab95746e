"""Builds what the tests of the cache share: entries, counts, and a service that answers by the book."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from flask_gateway.cache.entry import KeptAnswer
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Call
from flask_gateway.model.reply import Reply
from kit.calls import chunk, sse
from kit.replies import ScriptedSource

KEY, OTHER = b"k" * 32, b"o" * 32


def entry(body: bytes = b'{"answer": 1}', stored: float = 1000.0) -> KeptAnswer:
    return KeptAnswer(stored, "application/json", "one", 8, 5_000, body)


class CountedCache:
    """Counts what the cache reports (``cache.service.CacheCounts``)."""

    def __init__(self) -> None:
        self.lookups, self.refused, self.saved = Counter[str](), Counter[str](), Counter[str]()

    def cache_lookup(self, model: str, result: str) -> None:
        self.lookups[result] += 1

    def cache_refused(self, reason: str) -> None:
        self.refused[reason] += 1

    def cache_saved(self, model: str, tokens: int, nano: int) -> None:
        self.saved["tokens"] += tokens
        self.saved["nano"] += nano

    def cache_written(self, kept: bool, evicted: int) -> None:
        self.refused["full"] += not kept


def answer(text: str = "Hi", finish: str = "stop", **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": usage, **more}


class NumberedAnswers:
    """Answers every call, each time with another number in the text (a ``protocols.Service``).

    :ivar upstream: that answers. :ivar finish: the finish reason.
    """

    name = "numbered"

    def __init__(self) -> None:
        self.asked: list[Call] = []
        self.upstream, self.finish, self.padding = "one", "stop", ""

    def send(self, call: Call) -> Reply:
        self.asked.append(call)
        text = f"answer {len(self.asked)}{self.padding}"
        parts = [json.dumps(answer(text, self.finish)).encode()]
        if call.stream:
            parts = [sse(chunk(text), done=False), sse(chunk(None, self.finish))]
        transcript = transcript_for(call, self.upstream)
        return Reply(ScriptedSource(*parts), transcript, self.upstream, "m").prime()
