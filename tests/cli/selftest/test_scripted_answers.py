"""Tests the answers of scripted upstreams, which `selftest`, the tests and the benchmark send."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from kit.calls import make_call

from flask_gateway.cli.selftest.scripted_answers import DONE, ScriptedAnswer, event, wants_usage
from flask_gateway.dialects.transcripts import transcript_for

ROOT = Path(__file__).parents[3]
ANSWER = ScriptedAnswer("c1", "m")
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_a_stream_is_an_answer_that_the_gateway_passes_as_it_is() -> None:
    events = ANSWER.events(["one ", "two"], USAGE)
    transcript = transcript_for(make_call(stream=True), "up")
    assert b"".join(map(transcript.feed, events)) == b"".join(events)
    assert transcript.complete
    assert transcript.usage is not None
    assert transcript.usage.completion_tokens == 2
    assert len(ANSWER.events(["one ", "two"])) == len(events) - 1


def test_a_body_is_an_answer_too() -> None:
    body = ANSWER.body("one two", USAGE)
    transcript = transcript_for(make_call(), "up")
    transcript.feed(body)
    assert transcript.end() == body
    assert json.loads(body)["usage"] == USAGE


def test_text_and_values_become_events() -> None:
    assert event("[DONE]") == DONE
    assert event({"a": 1}, "named") == b'event: named\ndata: {"a": 1}\n\n'
    assert json.loads(ANSWER.chunk({}, "stop", usage=USAGE)[6:])["usage"] == USAGE


def test_usage_is_sent_to_those_who_ask() -> None:
    assert wants_usage({"stream_options": {"include_usage": True}})
    assert not any(map(wants_usage, ({}, {"stream_options": None}, {"stream_options": {}})))


def test_the_benchmark_sends_the_same_and_names_its_runs() -> None:
    script = (
        "from bench.load.upstream import SCRIPT, stream\n"
        "from flask_gateway.cli.selftest.scripted_answers import DONE, ScriptedAnswer\n"
        "assert isinstance(SCRIPT, ScriptedAnswer) and stream(3)[-1] == DONE and len(stream(3)) == 5\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
    refused = subprocess.run(
        [sys.executable, "-m", "bench.run", "nothing"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 2
    assert "no such benchmark: nothing; there are chat" in refused.stderr
