"""Tests the answers of the self-test's providers in Anthropic's API: the gateway passes them as they are."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import msgspec
from kit.calls import make_call

from flask_gateway.cli.selftest.message_answers import STOP, MessageAnswers
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation

ANSWERS = MessageAnswers({"m": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}})
EXCHANGE: Any = SimpleNamespace(provider=SimpleNamespace(model="m"), number=1)


def test_a_stream_is_whole_and_reports_its_usage() -> None:
    said = b"".join(
        [*ANSWERS.beginning(EXCHANGE, ["one ", "two"]), *ANSWERS.ending(EXCHANGE, ["one ", "two"])]
    )
    assert said.endswith(STOP)
    call = msgspec.structs.replace(make_call(stream=True), operation=Operation.MESSAGE)
    transcript = transcript_for(call, "up")
    assert transcript.feed(said) == said
    assert transcript.complete
    assert transcript.usage is not None
    assert (transcript.usage.prompt_tokens, transcript.usage.completion_tokens) == (9, 2)


def test_a_document_is_a_message() -> None:
    message = json.loads(ANSWERS.body(EXCHANGE, ["one ", "two"]))
    assert (message["type"], message["stop_reason"]) == ("message", "end_turn")
    assert message["content"] == [{"type": "text", "text": "one two"}]
    assert message["usage"] == {"input_tokens": 9, "output_tokens": 2}
