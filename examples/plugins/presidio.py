"""Masks personal data in answers with Microsoft Presidio, whose models run in a service of their own.

    [plugins.pii]
    use = "presidio:Presidio"
    options = { url = "http://127.0.0.1:5002", language = "en", entities = ["PERSON", "PHONE_NUMBER"] }

Start its analyzer: ``docker run -p 5002:3000 mcr.microsoft.com/presidio-analyzer``. A stream is held until it
is complete, because the analyzer needs whole sentences. If it does not answer, the call is refused, unless
the table says ``on_error = "pass"``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import requests

from flask_gateway.plugin import Call

#: The longest time of one question, seconds.
TIMEOUT = 2.0

Analyze = Callable[[dict[str, Any], float], list[dict[str, Any]]]


class Presidio:
    """An inspector that asks somebody, so streams do not run through it (``whole``).

    :param url: of the analyzer. :param entities: of Presidio; none: all that it knows.
    :param threshold: findings with a lower score are left as they are.
    :param analyze: replaces the HTTP request in tests.
    """

    api = 1
    whole = True

    def __init__(
        self,
        url: str,
        language: str = "en",
        entities: Sequence[str] = (),
        threshold: float = 0.5,
        analyze: Analyze | None = None,
    ) -> None:
        self._url = url.rstrip("/") + "/analyze"
        self._question: dict[str, Any] = {"language": language, "score_threshold": threshold}
        if entities:
            self._question["entities"] = list(entities)
        self._analyze = analyze or self._ask

    def open(self, call: Call) -> AnalyzedAnswer:
        """Return the inspection of one answer."""
        return AnalyzedAnswer(self._findings, call)

    def _findings(self, text: str, seconds: float) -> list[dict[str, Any]]:
        return self._analyze({**self._question, "text": text}, min(TIMEOUT, seconds))

    def _ask(self, question: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
        answer = requests.post(self._url, json=question, timeout=max(0.05, seconds), allow_redirects=False)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found


class AnalyzedAnswer:
    """The inspection of one answer: each channel comes in one piece."""

    hold = 0

    def __init__(self, findings: Callable[[str, float], list[dict[str, Any]]], call: Call) -> None:
        self._findings, self._call = findings, call
        self.masked = 0

    @property
    def verdict(self) -> str:
        return f"masked({self.masked})"

    def text(self, channel: str, delta: str) -> str:
        """Return the text with the names of entities in the place of what they stand for."""
        if not delta.strip():
            return delta
        spans = spans_of(self._findings(delta, self._call.remaining()), len(delta))
        self.masked += len(spans)
        return replaced(delta, spans)

    def end(self, channel: str) -> str:
        """Return nothing: no text is held here."""
        return ""


def spans_of(findings: list[dict[str, Any]], length: int) -> list[tuple[int, int, str]]:
    """The places to mask, in their order. Of two that overlap, the one with the higher score stays.

    :raises ValueError: a finding lies outside of the text: the answer is not to this question.
    """
    kept: list[tuple[int, int, str]] = []
    for finding in sorted(findings, key=lambda one: (-float(one["score"]), int(one["start"]))):
        begin, end, kind = int(finding["start"]), int(finding["end"]), str(finding["entity_type"])
        if not 0 <= begin < end <= length:
            raise ValueError("a finding lies outside of the text")
        if all(end <= other[0] or begin >= other[1] for other in kept):
            kept.append((begin, end, kind))
    return sorted(kept)


def replaced(text: str, spans: list[tuple[int, int, str]]) -> str:
    """The text with ``<KIND>`` in the place of each span."""
    parts: list[str] = []
    last = 0
    for begin, end, kind in spans:
        parts += (text[last:begin], f"<{kind}>")
        last = end
    return "".join([*parts, text[last:]])
