"""Tests which calls bypass the cache and which answers it refuses: each row of docs/cache.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.cache import policy
from flask_gateway.cache.policy import MOST_ASKED, MOST_KEPT, REASONS, bypass, refused, refused_body
from flask_gateway.config.cache_settings import CacheMode, ModelCache
from flask_gateway.model.cache_request import CacheRequest
from flask_gateway.model.call import AnswerPart, Call, Caller, Operation, Outcome
from flask_gateway.model.errors import UpstreamCut, Verdict

DOCUMENT = Path(__file__).parents[2] / "docs" / "cache.md"
ALL = ModelCache(mode=CacheMode.ALL)
DETERMINISTIC = ModelCache(mode=CacheMode.DETERMINISTIC)


def call(operation: Operation = Operation.CHAT, said: CacheRequest | None = None, **fields: Any) -> Call:
    made = make_call(**fields)
    return msgspec.structs.replace(made, operation=operation, cache=said or CacheRequest())


def user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


def test_an_ordinary_call_may_be_kept() -> None:
    assert bypass(call(), ALL) == ""
    tools = [{"type": "function", "function": {"name": "look"}}]
    assert bypass(call(tools=tools, store=False, n=1, background=None), ALL) == ""
    inline = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert bypass(call(messages=user(inline, {"type": "text", "text": "see http://x.test/url"})), ALL) == ""
    assert bypass(call(Operation.RESPONSE, store=False, input="Hi"), ALL) == ""
    assert bypass(call(Operation.COMPLETION, prompt="Hi"), ALL) == ""


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"store": True}, "stored state"),
        ({"previous_response_id": "resp_1"}, "stored state"),
        ({"conversation": "conv_1"}, "stored state"),
        ({"background": True}, "stored state"),
        ({"prompt": {"id": "pmpt_1"}}, "stored state"),
        ({"n": 2}, "several answers"),
        ({"n": "2"}, "several answers"),
        ({"best_of": 3}, "several answers"),
        ({"tools": [{"type": "web_search"}]}, "server tools"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "server tools"),
        ({"tools": [{"type": "code_interpreter"}]}, "server tools"),
        ({"tools": [{"type": "mcp", "server_url": "https://m.test"}]}, "server tools"),
        ({"tools": {"odd": 1}}, "server tools"),
        ({"web_search_options": {}}, "server tools"),
        ({"mcp_servers": [{"url": "https://m.test"}]}, "server tools"),
        ({"modalities": ["text", "audio"]}, "audio"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"messages": user({"type": "input_audio", "input_audio": {"data": "AA"}})}, "audio"),
        ({"messages": user({"type": "image_url", "image_url": {"url": "https://p.test/1"}})}, "references"),
        ({"messages": user({"type": "image_url", "image_url": "https://p.test/1"})}, "references"),
        ({"messages": user({"type": "file", "file": {"file_id": "file-1"}})}, "references"),
        ({"messages": user({"type": "image", "source": {"type": "url", "url": "http://p"}})}, "references"),
        ({"input": [{"type": "input_file", "file_url": "https://p.test/1"}]}, "references"),
        ({"messages": [{"role": "user", "content": "x" * MOST_ASKED}]}, "large request"),
    ],
)
def test_a_call_that_is_never_kept_bypasses_the_cache(fields: dict[str, Any], reason: str) -> None:
    assert bypass(call(**fields), ALL) == reason


def test_responses_are_stored_by_the_provider_unless_the_caller_forbids_it() -> None:
    assert bypass(call(Operation.RESPONSE, input="Hi"), ALL) == "stored state"


def test_callers_who_forbid_to_keep_texts_bypass_it() -> None:
    quiet = msgspec.structs.replace(call(), caller=Caller("quiet", 0, content=False))
    assert bypass(quiet, ALL) == "content"


@pytest.mark.parametrize("operation", [Operation.COUNT, Operation.SPEECH, Operation.IMAGE])
def test_other_operations_bypass_it(operation: Operation) -> None:
    assert bypass(call(operation), ALL) == "operation"


def test_the_words_of_the_request_come_first() -> None:
    asked = ModelCache(mode=CacheMode.ASKED)
    assert bypass(call(said=CacheRequest(no_store=True)), ALL) == "no-store"
    assert bypass(call(), asked) == "not asked"
    assert bypass(call(said=CacheRequest(max_age=60.0)), asked) == ""


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({}, False),
        ({"temperature": 0}, True),
        ({"temperature": 0.0}, True),
        ({"temperature": 0.1}, False),
        ({"temperature": False}, False),
        ({"temperature": "0"}, False),
        ({"seed": 7}, True),
        ({"seed": None}, False),
        ({"seed": True}, False),
    ],
)
def test_deterministic_means_without_chance(fields: dict[str, Any], kept: bool) -> None:
    assert (bypass(call(**fields), DETERMINISTIC) == "") is kept


@pytest.mark.parametrize("operation", [Operation.EMBEDDING, Operation.MODERATION, Operation.RERANK])
def test_nothing_is_sampled_in_embeddings_and_the_like(operation: Operation) -> None:
    assert bypass(call(operation, input="Hi"), DETERMINISTIC) == ""


GOOD = Outcome(Verdict.SUCCESS)


@pytest.mark.parametrize(
    ("outcome", "dropped", "body", "reason"),
    [
        (GOOD, 0, b"{}", ""),
        (Outcome(Verdict.IGNORED), 0, b"{}", "unfinished"),
        (Outcome.of_error(UpstreamCut("cut")), 0, b"{}", "failed"),
        (GOOD, 1, b"{}", "unfinished"),
        (Outcome(Verdict.SUCCESS, parts=(AnswerPart("a", "m", None),)), 0, b"{}", "continued"),
        (GOOD, 0, b"x" * (MOST_KEPT + 1), "large answer"),
        (GOOD, 0, b'{"choices":[{"finish_reason": "content_filter"}]}', "filtered"),
        (GOOD, 0, b'data: {"delta":{"stop_reason":"refusal"}}', "filtered"),
        (GOOD, 0, b'{"incomplete_details":{"reason":"content_filter"}}', "filtered"),
    ],
)
def test_an_answer_is_kept_only_if_it_is_whole(
    outcome: Outcome, dropped: int, body: bytes, reason: str
) -> None:
    assert refused(outcome, dropped, body) == reason


def test_an_answer_without_a_refusal_is_kept() -> None:
    assert refused_body(b'{"message":{"content":"x","refusal":null},"finish_reason":"stop"}') == ""


def test_every_reason_is_documented() -> None:
    table = DOCUMENT.read_text().split("| `reason` |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row)} == REASONS
    assert policy.MOST_ASKED == 256 * 1024
