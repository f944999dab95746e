"""Answers that pass unread: what becomes of their type, their size and a cut."""

from __future__ import annotations

import pytest

from flask_gateway.dialects import passed_transcript
from flask_gateway.dialects.passed_transcript import PassedTranscript, passed_type
from flask_gateway.dialects.redaction import Redaction
from flask_gateway.model.errors import UpstreamCut, UpstreamMalformed


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ("application/json; charset=utf-8", "application/json"),
        ("text/event-stream", "text/event-stream; charset=utf-8"),
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        (None, "application/octet-stream"),
    ],
)
def test_a_type_that_a_browser_would_show_does_not_pass(given: str | None, passed: str) -> None:
    assert passed_type(given) == passed


def test_bytes_pass_without_the_key() -> None:
    transcript = PassedTranscript("up", "application/json", Redaction.of("secret-key-1"))
    assert transcript.feed(b'{"a":1}') == b'{"a":1}'
    assert transcript.feed(b"secret-key-1") == b"[redacted]"
    assert transcript.end() == b""
    assert transcript.cut(UpstreamCut("It broke off.")) == b""


def test_an_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passed_transcript, "MAX_PASSED", 10)
    transcript = PassedTranscript("up", "application/json", None)
    transcript.feed(bytes(10))
    with pytest.raises(UpstreamMalformed):
        transcript.feed(b"x")
