"""Tests ``python -m flask_gateway selftest``: its run, its clean-up, and the verdicts of its judge."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from flask import Flask
from kit.calls import make_settings

from flask_gateway import create_app
from flask_gateway.cli.main import main
from flask_gateway.cli.selftest import harness
from flask_gateway.cli.selftest.client import ClientResponse, StreamEnd
from flask_gateway.cli.selftest.command import choose, exit_status
from flask_gateway.cli.selftest.faults import PREFIX_REFUSED
from flask_gateway.cli.selftest.harness import RunOptions, rehearsed, route_of
from flask_gateway.cli.selftest.provider_answers import TOKENS, USAGE
from flask_gateway.cli.selftest.runners import allowed_at, judge_outage
from flask_gateway.cli.selftest.scenarios import SCENARIOS, Result
from flask_gateway.cli.selftest.verdicts import Asked, Expected, Finding, Judgement, judge
from flask_gateway.config.schema import (
    CandidateSettings,
    ModelSettings,
    Settings,
    Timeouts,
    UpstreamSettings,
)
from flask_gateway.routing.retry import AttemptLog

FAST = 1 / 15
LEDGER = "primary:200:0.01s"
LINE = re.compile(r"^(S\d\d)  .*  (PASS|SAFE|PARTIAL|FAIL) ", re.MULTILINE)

# ---------------------------------------------------------------- the run


def run(*argv: str) -> tuple[int, dict[str, str], str]:
    """Exit status, the verdict of each scenario, and what went to standard error."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    command = [sys.executable, "-m", "flask_gateway", "selftest", *argv]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60)
    return done.returncode, dict(LINE.findall(done.stdout)), done.stderr


@pytest.fixture(scope="module")
def runs() -> dict[str, tuple[int, dict[str, str], str]]:
    """Both runs of all scenarios, at the same time: each waits nearly all the time."""
    ways = {"streams": ["--fast"], "buffered": ["--fast", "--whole"]}
    with ThreadPoolExecutor() as pool:
        return dict(zip(ways, pool.map(lambda options: run(*options), ways.values()), strict=True))


def test_the_sixteen_scenarios(runs: dict[str, Any]) -> None:
    """Streams that break after their start end with an explicit error; all other calls are answered."""
    status, verdicts, err = runs["streams"]
    assert verdicts.keys() == {scenario.id for scenario in SCENARIOS}, err[-2000:]
    assert {one for one, verdict in verdicts.items() if verdict != "PASS"} <= {"S08", "S09", "S14"}
    assert Counter(verdicts.values())["SAFE"] == 16 - Counter(verdicts.values())["PASS"]
    assert (status, err) == (0, "")


def test_the_sixteen_scenarios_with_buffered_streams(runs: dict[str, Any]) -> None:
    status, verdicts, err = runs["buffered"]
    assert verdicts == {scenario.id: "PASS" for scenario in SCENARIOS}, err[-2000:]
    assert (status, err) == (0, "")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--only", "S99"], "S01,S02"),
        (["--only", "S08;S09"], "S01,S02"),
        (["--slow"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_exits_with_2(argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = main(["selftest", *argv], {})
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    assert expected in capsys.readouterr().err


def test_a_model_without_a_route_is_refused() -> None:
    with pytest.raises(ValueError, match="--model nothing: expected a model that has a route"):
        choose(Namespace(model="nothing", only="", fast=True, whole=False, api="responses"), make_settings())


def play(scenario: str, settings: Settings | None = None, *, whole: bool = False) -> Result:
    found = next(one for one in SCENARIOS if one.id == scenario)
    return found.play(RunOptions(settings or make_settings(), "fast", ("llama",), FAST, whole))


@pytest.mark.parametrize(
    ("enough", "right"),
    [(Judgement.PASS, {Judgement.PASS}), (Judgement.SAFE, {Judgement.PASS, Judgement.SAFE})],
)
def test_the_exit_status(enough: Judgement, right: set[Judgement]) -> None:
    passed = Result("S01", "t", Finding(Judgement.PASS), 1.0, "")
    for verdict in Judgement:
        other = Result("S02", "t", Finding(verdict), 1.0, "", enough)
        assert exit_status([passed, other]) == (verdict not in right)


def test_an_explicit_error_is_enough_for_a_stream_that_breaks_after_its_start() -> None:
    assert {scenario.id for scenario in SCENARIOS if scenario.breaks} == {"S08", "S09", "S14"}
    assert play("S08").enough is Judgement.SAFE
    assert play("S08", whole=True).enough is Judgement.PASS
    assert play("S13").enough is Judgement.PASS


def test_no_thread_and_no_socket_is_left() -> None:
    """Neither a thread of the gateway's server nor one of a provider, whatever they were doing."""
    before = {thread for thread in threading.enumerate() if thread.name != "reactor"}
    for scenario in ("S05", "S06", "S09"):
        play(scenario)
    assert {thread for thread in threading.enumerate() if thread.name != "reactor"} <= before


def test_it_uses_the_operators_settings() -> None:
    clocks = Timeouts(connect=1, first_byte=2, first_token=3, idle=4, total=60)
    upstreams = (
        UpstreamSettings(name="a", url="http://a.test/v1", clocks=clocks, max_in_flight=7),
        UpstreamSettings(name="b", url="http://b.test/v1"),
    )
    tiers = tuple((CandidateSettings(upstream=name, model="m"),) for name in ("a", "b"))
    models = (ModelSettings(name="chat", tiers=tiers, whole=True),)
    settings = make_settings(
        upstreams=upstreams, models=models, circuit_breaker_max_failures=3, rate_limit_per_minute=9
    )
    played = rehearsed(
        RunOptions(settings, "chat", route_of(settings, "chat"), 0.5),
        ("http://x.test/v1", "http://y.test/v1"),
        b"d",
    )
    primary, fallback = played.upstreams
    assert primary.clocks == Timeouts(connect=0.5, first_byte=1, first_token=1.5, idle=2, answer=60, total=30)
    assert (primary.url, primary.max_in_flight) == ("http://x.test/v1", 7)
    assert (fallback.url, fallback.clocks) == (
        "http://y.test/v1",
        Timeouts(connect=2.5, first_byte=5, first_token=7.5, idle=5, answer=60, total=300),
    )
    assert played.models[0].whole
    assert (played.circuit_breaker_max_failures, played.circuit_breaker_reset_seconds) == (3, 15)
    assert (played.rate_limit_per_minute, played.state) == (0, "memory://")
    assert [key.id for key in played.keys] == ["selftest"]
    assert all(upstream.api_key is None for upstream in played.upstreams)


# ---------------------------------------------------------------- gateways that are broken on purpose

ERROR_EVENT = re.compile(rb'data: \{"error".*\n\n')
FIRST_EVENT = re.compile(rb"\A(?=data: )")


@pytest.mark.parametrize(
    ("scenario", "pattern", "instead"),
    [
        pytest.param("S08", ERROR_EVENT, b"data: [DONE]\n\n", id="a cut that is hidden"),
        pytest.param("S08", ERROR_EVENT, b"", id="a cut without a word"),
        pytest.param("S09", ERROR_EVENT, b"data: timeout\n\n", id="a raw error"),
        pytest.param("S10", FIRST_EVENT, b'data: {"id": "c", "ch\n\n', id="a broken event"),
        pytest.param("S11", re.compile(rb"data: \[DONE\]\n\n"), b"", id="no [DONE]"),
        pytest.param("S16", re.compile(rb"fallback-model"), b"primary-model", id="the wrong name"),
        pytest.param("S13", re.compile(rb"content_policy_violation"), b"refused", id="the wrong code"),
    ],
)
def test_a_gateway_that_changes_answers_does_not_pass(
    scenario: str, pattern: re.Pattern[bytes], instead: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lying(*args: Any) -> Flask:
        app = create_app(*args)
        honest = app.wsgi_app

        def lie(environ: Any, start: Any) -> Iterator[bytes]:
            answer = honest(environ, lambda status, headers, *_: start(status, without_length(headers)))
            yield from (pattern.sub(instead, part) for part in answer)

        app.wsgi_app = lie
        return app

    monkeypatch.setattr(harness, "create_app", lying)
    expected = Judgement.SAFE if scenario == "S13" else Judgement.FAIL
    assert play(scenario).finding.verdict is expected


def without_length(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() != "content-length"]


def test_a_gateway_that_never_retries_the_primary_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AttemptLog, "pause", lambda *_: None)
    assert play("S03").finding.verdict is Judgement.FAIL


# ---------------------------------------------------------------- the judge


def event(said: object) -> bytes:
    return b"data: " + (said if isinstance(said, bytes) else json.dumps(said).encode()) + b"\n\n"


def chunk(content: str = "", finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return event({"id": "c", "model": "primary-model", "choices": [choice]} | more)


WORDS = [chunk(token) for token in TOKENS]
STOP, LAST = chunk(finish="stop"), event(b"[DONE]")
ERROR = {"message": "It broke.", "type": "server_error", "param": None, "code": "upstream_stream_cut"}


def streamed(
    *parts: bytes, end: StreamEnd = StreamEnd.WHOLE, seconds: float = 1.0, **headers: str
) -> ClientResponse:
    head = {"content-type": "text/event-stream; charset=utf-8", "x-gateway-attempts": LEDGER} | headers
    return ClientResponse(True, 200, head, b"".join(parts), end, seconds)


def whole(status: int = 200, seconds: float = 1.0, ledger: str = LEDGER, **fields: Any) -> ClientResponse:
    message = {"role": "assistant", "content": "".join(TOKENS)}
    said = {
        "model": "primary-model",
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": USAGE["primary-model"],
    } | fields
    head = {"content-type": "application/json", "x-gateway-attempts": ledger}
    return ClientResponse(False, status, head, json.dumps(said).encode(), StreamEnd.WHOLE, seconds)


def refused(status: int, code: str) -> ClientResponse:
    return whole(status, choices=None, usage=None, model=None, error={**ERROR, "code": code})


def verdict(
    answer: ClientResponse, expected: Expected | None = None, asked: Asked | None = None
) -> Judgement:
    return judge(expected or Expected(), answer, asked or Asked(primary=(1.0,))).verdict


def test_correct_answers_pass() -> None:
    assert verdict(whole()) is Judgement.PASS
    assert verdict(streamed(*WORDS, STOP, LAST)) is Judgement.PASS
    assert verdict(streamed(b": ping\n\n", *WORDS, b": ping\n\n", STOP, LAST)) is Judgement.PASS
    assert verdict(refused(400, "no"), Expected(error=(400, "no"))) is Judgement.PASS


def test_a_head_that_is_sent_early_has_no_list_of_attempts() -> None:
    bare = {"content-type": "text/event-stream"}
    early, prompt = streamed(b": ping\n\n", *WORDS, STOP, LAST), streamed(*WORDS, STOP, LAST)
    assert verdict(msgspec.structs.replace(early, headers=bare)) is Judgement.PASS
    assert verdict(msgspec.structs.replace(prompt, headers=bare)) is Judgement.PARTIAL


def test_explicit_errors_are_safe() -> None:
    assert verdict(streamed(*WORDS[:40], event({"error": ERROR}))) is Judgement.SAFE
    assert verdict(streamed(event({"error": ERROR}))) is Judgement.SAFE
    assert verdict(refused(502, "upstream_error")) is Judgement.SAFE
    assert verdict(refused(400, "another"), Expected(error=(400, "no"))) is Judgement.SAFE


def test_late_or_incomplete_answers_are_partial() -> None:
    assert verdict(whole(seconds=16.5), Expected(within=15)) is Judgement.PARTIAL
    assert verdict(whole(), Expected(slow=frozenset({"primary-model"}))) is Judgement.PARTIAL
    assert verdict(whole(ledger="")) is Judgement.PARTIAL
    assert verdict(whole(ledger="primary:200:1s, fallback:200:1s")) is Judgement.PARTIAL
    assert verdict(whole(), asked=Asked((1.0,), (2.0,))) is Judgement.PARTIAL


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(streamed(*WORDS[:40], LAST), id="cut, with [DONE]"),
        pytest.param(streamed(*WORDS[:40], STOP, LAST), id="cut, with a finish reason"),
        pytest.param(streamed(*WORDS[:40]), id="cut, without a word"),
        pytest.param(streamed(*WORDS, STOP), id="no [DONE]"),
        pytest.param(streamed(*WORDS, LAST), id="no finish reason"),
        pytest.param(streamed(*WORDS[:40], *WORDS, STOP, LAST), id="told twice"),
        pytest.param(streamed(*WORDS[:40], WORDS[39], *WORDS[40:], STOP, LAST), id="one word twice"),
        pytest.param(streamed(*WORDS[:9], *WORDS[10:], STOP, LAST), id="one word missing"),
        pytest.param(streamed(*WORDS[:40], event({"error": ERROR}), LAST), id="an error, then [DONE]"),
        pytest.param(streamed(*WORDS, STOP, event({"error": ERROR})), id="an error behind the end"),
        pytest.param(streamed(*WORDS, STOP, LAST, WORDS[0]), id="words behind the end"),
        pytest.param(streamed(*WORDS, STOP, WORDS[0], LAST), id="words behind the finish reason"),
        pytest.param(streamed(*WORDS[9:30], event({"error": ERROR})), id="an error behind wrong words"),
        pytest.param(
            streamed(*WORDS[:9], event(b'{"id": "c", "ch'), *WORDS[9:], STOP, LAST), id="broken JSON"
        ),
        pytest.param(streamed(*WORDS, STOP, LAST[:-2]), id="half an event"),
        pytest.param(streamed(WORDS[0], *WORDS[1:], chunk(finish="stop", id="d"), LAST), id="two ids"),
        pytest.param(streamed(*WORDS[:40], event({"error": "It broke."})), id="a raw error"),
        pytest.param(streamed(*WORDS, STOP, LAST, end=StreamEnd.BROKEN), id="a broken connection"),
        pytest.param(streamed(*WORDS, STOP, LAST, end=StreamEnd.NEVER), id="no end"),
        pytest.param(ClientResponse(True, 0, {}, b"", StreamEnd.BROKEN, 1.0), id="no HTTP"),
        pytest.param(
            ClientResponse(False, 500, {}, b"<h1>Internal Server Error</h1>", StreamEnd.WHOLE, 1.0), id="HTML"
        ),
        pytest.param(
            ClientResponse(False, 200, {}, whole().body[:200], StreamEnd.WHOLE, 1.0), id="truncated JSON"
        ),
        pytest.param(msgspec.structs.replace(whole(), stream=True), id="no stream"),
        pytest.param(msgspec.structs.replace(streamed(*WORDS, STOP, LAST), stream=False), id="a stream"),
        pytest.param(whole(choices=[]), id="no choice"),
        pytest.param(whole(usage=USAGE["fallback-model"]), id="another's usage"),
        pytest.param(whole(model="fallback-model"), id="another's name"),
        pytest.param(whole(model="alias"), id="nobody's name"),
        pytest.param(whole(error=ERROR), id="200 with an error"),
        pytest.param(whole(502), id="502 without an error"),
        pytest.param(refused(400, PREFIX_REFUSED), id="the refusal of another request"),
    ],
)
def test_a_wrong_answer_fails(lie: ClientResponse) -> None:
    assert verdict(lie, Expected(hidden=PREFIX_REFUSED)) is Judgement.FAIL


@pytest.mark.parametrize(
    "asked",
    [
        Asked((1.0, 2.0)),
        Asked((), (1.0, 2.0)),
        Asked((1.0,), (2.0,)),
    ],
)
def test_wrong_attempts_fail(asked: Asked) -> None:
    assert verdict(whole(), Expected(fallback=0), asked) is Judgement.FAIL


def test_four_attempts_are_too_many() -> None:
    assert verdict(whole(), Expected(primary=2, fallback=2), Asked((1.0, 2.0), (3.0, 4.0))) is Judgement.FAIL


def test_a_retry_before_retry_after_fails() -> None:
    early, kept = Asked((1.0, 2.9)), Asked((1.0, 3.1))
    ledger = whole(ledger="primary:429:0.01s, primary:200:0.01s")
    assert verdict(ledger, Expected(primary=2, pause=2), early) is Judgement.FAIL
    assert verdict(ledger, Expected(primary=2, pause=2), kept) is Judgement.PASS


@pytest.mark.parametrize(
    ("failures", "reset", "allowed"),
    [
        ([10.0], 30.0, 60.0),
        ([1.0, 2.0, 50.0], 30.0, 80.0),
        ([1.0, 2.0, 3.0, 33.0], 30.0, 105.0),
        ([1.0, 2.0, 3.0, 33.0, 50.0], 5.0, 74.0),
        ([1.0, 2.0, 3.0, 50.0], 100.0, 170.0),
        ([1.0, 2.0, 3.0], 5.0, 60.0),
    ],
)
def test_when_the_primary_may_be_tried(failures: list[float], reset: float, allowed: float) -> None:
    """Up at 60, three failures open; twice as long and jitter after each failed probe."""
    assert allowed_at([*failures, 90.0], 60.0, 3, reset) == pytest.approx(allowed)


def test_an_outage() -> None:
    good = [Finding(Judgement.PASS)] * 20
    assert judge_outage(good, 6, 0.0, 1.0).verdict is Judgement.PASS
    assert judge_outage(good, 7, 0.0, 1.0).verdict is Judgement.FAIL
    assert judge_outage(good, 6, 5.1, 1.0).verdict is Judgement.FAIL
    assert judge_outage(good, 6, None, 1.0).verdict is Judgement.FAIL
    assert judge_outage([*good, Finding(Judgement.SAFE)], 6, 0.0, 1.0).verdict is Judgement.SAFE
    assert judge_outage([*good, Finding(Judgement.FAIL)], 6, 0.0, 1.0).verdict is Judgement.FAIL
