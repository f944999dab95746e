"""Tests the answers of the self-test's providers: the gateway passes them in both APIs as they are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.cli.selftest.provider_answers import TEXT, TOKENS, USAGE, answers_of
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation


def exchange(path: str, **body: Any) -> Any:
    request = SimpleNamespace(path=path, json=body)
    return SimpleNamespace(request=request, provider=SimpleNamespace(model="primary-model"), number=1)


OPERATIONS = [("/v1/chat/completions", Operation.CHAT), ("/v1/responses", Operation.RESPONSE)]


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_a_stream_is_whole_and_reports_its_usage(path: str, operation: Operation) -> None:
    asked = exchange(path, stream_options={"include_usage": True})
    answers = answers_of(asked)
    said = b"".join([*answers.beginning(asked, TOKENS), *answers.ending(asked, TOKENS)])
    call = msgspec.structs.replace(make_call(stream=True), operation=operation)
    transcript = transcript_for(call, "up")
    assert transcript.feed(said) + (b"" if transcript.finished else transcript.end()) == said
    assert transcript.complete
    assert transcript.usage is not None
    assert transcript.usage.completion_tokens == USAGE["primary-model"]["completion_tokens"]


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_a_document_is_an_answer(path: str, operation: Operation) -> None:
    asked = exchange(path)
    body = answers_of(asked).body(asked, TOKENS)
    transcript = transcript_for(msgspec.structs.replace(make_call(), operation=operation), "up")
    transcript.feed(body)
    assert transcript.end() == body
    assert TEXT.encode() in body
