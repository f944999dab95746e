"""Tries random streams of chat: callers of Anthropic's API get whole blocks, one at a time."""

from __future__ import annotations

import json
import random
from typing import Any

from kit.examples import examples

from flask_gateway.cli.selftest.client import Api, ClientResponse, StreamEnd
from flask_gateway.cli.selftest.response_parser import hear
from flask_gateway.dialects.translations.chat_answers_as_messages import MessageRewriter
from flask_gateway.model.call import Usage

#: The random streams of a run.
STREAMS = examples(200, 10_000)
WORDS = ("a", "Hello ", 'say "hi"', "é", "\\", "{", "]}", "\n", "日本")


def arguments(chance: random.Random) -> str:
    """The arguments of a call, with all that JSON may have in a text."""
    inputs: dict[str, Any] = {
        word: chance.choice([1, [word], {word: None}]) for word in chance.sample(WORDS, 2)
    }
    return json.dumps(inputs, ensure_ascii=chance.random() < 0.5)


def fragments(chance: random.Random, text: str) -> list[str]:
    cuts = sorted(chance.randrange(len(text) + 1) for _ in range(chance.randrange(4)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def deltas(chance: random.Random, calls: dict[str, str]) -> list[dict[str, Any]]:
    """The deltas of an answer: the fragments of each call in their order, and text anywhere between."""
    lines: list[list[dict[str, Any]]] = []
    for index, (identifier, text) in enumerate(calls.items()):
        first, *rest = fragments(chance, text)
        function = {"name": f"f{index}", "arguments": first}
        lines.append([{"tool_calls": [{"index": index, "id": identifier, "function": function}]}])
        for part in rest:
            lines[-1].append({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    for field in ("content", "reasoning_content"):
        lines.append([{field: chance.choice(WORDS)} for _ in range(chance.randrange(4))])
    mixed = []
    while any(lines):
        mixed.append(chance.choice([line for line in lines if line]).pop(0))
    return mixed


def test_random_streams_become_whole_blocks() -> None:
    chance = random.Random(4)
    for number in range(STREAMS):
        calls = {f"call_{number}_{at}": arguments(chance) for at in range(chance.randrange(4))}
        said, rewriter = deltas(chance, calls), MessageRewriter("m")
        chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in said]
        out = b"".join(rewriter.event(json.dumps(chunk).encode()) for chunk in chunks)
        out += rewriter.end(Usage(1, 1))
        head = {"content-type": "text/event-stream"}
        heard = hear(ClientResponse(True, 200, head, out, StreamEnd.WHOLE, 0.0, Api.MESSAGES))
        assert heard.flaws == [], said
        texts, inputs = read(out)
        for field, kind in (("content", "text"), ("reasoning_content", "thinking")):
            assert texts[kind] == "".join(delta.get(field, "") for delta in said), said
        assert inputs == calls, said


def read(out: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """The text by the kind of block, and the arguments of each call, as they came."""
    texts, inputs, block = {"text": "", "thinking": ""}, {}, ""
    for event in out.split(b"\n\n")[:-1]:
        data = json.loads(event.partition(b"data: ")[2])
        if data["type"] == "content_block_start":
            block = data["content_block"].get("id", "")
            inputs |= {block: ""} if block else {}
        elif data["type"] == "content_block_delta":
            delta = data["delta"]
            for kind in texts:
                texts[kind] += delta.get(kind, "")
            if block:
                inputs[block] += delta["partial_json"]
    return texts, inputs
