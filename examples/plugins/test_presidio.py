"""Tests the example of Presidio with an analyzer in its place."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from presidio import Presidio, spans_of

from flask_gateway.plugin import GatewayError
from flask_gateway.testing import InspectorConformance, call_of


def finding(begin: int, end: int, kind: str = "PERSON", score: float = 0.9) -> dict[str, Any]:
    return {"start": begin, "end": end, "entity_type": kind, "score": score}


def people(question: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
    """Find every "Ann"."""
    text = question["text"]
    return [finding(place, place + 3) for place in range(len(text)) if text.startswith("Ann", place)]


class TestPresidio(InspectorConformance):
    samples = {"Ann and Ännn met Ann.": "<PERSON> and Ännn met <PERSON>.", "nobody": "nobody"}  # noqa: RUF012

    def make(self) -> object:
        return Presidio("http://127.0.0.1:9", analyze=people)


def test_of_findings_that_overlap_the_best_stays() -> None:
    found = [finding(0, 9, "DATE_TIME", 0.6), finding(4, 12, "PHONE", 0.8), finding(20, 22)]
    assert spans_of(found, 30) == [(4, 12, "PHONE"), (20, 22, "PERSON")]


@pytest.mark.parametrize("one", [finding(3, 2), finding(-1, 2), finding(0, 99), {"start": 1}])
def test_an_answer_to_another_question_is_a_failure(one: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        spans_of([one], 10)


@pytest.fixture
def analyzer() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An analyzer on a free port, and the questions that it got. It fails at the word ``crash``."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            body = json.dumps(people(asked[-1], 0)).encode()
            self.send_response(500 if "crash" in asked[-1]["text"] else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_question_over_http(analyzer: tuple[str, list[dict[str, Any]]]) -> None:
    url, asked = analyzer
    inspection = Presidio(url, "de", ["PERSON"], 0.7).open(call_of())
    assert inspection.text("content", "Hier ist Ann.") == "Hier ist <PERSON>."
    assert asked == [
        {"language": "de", "score_threshold": 0.7, "entities": ["PERSON"], "text": "Hier ist Ann."}
    ]
    assert inspection.verdict == "masked(1)"
    with pytest.raises(OSError):
        inspection.text("content", "crash")


def test_an_analyzer_that_is_away_is_a_failure_of_the_plugin() -> None:
    inspection = Presidio("http://127.0.0.1:9").open(call_of())
    with pytest.raises(OSError) as away:
        inspection.text("content", "Ann")
    assert not isinstance(away.value, GatewayError)
