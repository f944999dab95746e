"""Tests the faults on gateways that handle them in other ways."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from kit.calls import make_settings

from flask_gateway import create_app
from flask_gateway.cli.selftest import harness
from flask_gateway.cli.selftest.client import ClientResponse, StreamEnd
from flask_gateway.cli.selftest.harness import RunOptions
from flask_gateway.cli.selftest.provider_answers import TOKENS, USAGE
from flask_gateway.cli.selftest.scenarios import SCENARIOS, Result
from flask_gateway.cli.selftest.verdicts import Judgement
from flask_gateway.config.schema import (
    Settings,
)
from flask_gateway.routing.retry import AttemptLog

FAST = 1 / 15
LEDGER = "primary:200:0.01s"


def play(scenario: str, settings: Settings | None = None, *, whole: bool = False) -> Result:
    found = next(one for one in SCENARIOS if one.id == scenario)
    return found.play(RunOptions(settings or make_settings(), "fast", ("llama",), FAST, whole))


def test_an_explicit_error_is_enough_for_a_stream_that_breaks_after_its_start() -> None:
    assert {scenario.id for scenario in SCENARIOS if scenario.breaks} == {"S08", "S09", "S14"}
    assert play("S08").enough is Judgement.SAFE
    assert play("S08", whole=True).enough is Judgement.PASS
    assert play("S13").enough is Judgement.PASS


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


def whole(status: int = 200, seconds: float = 1.0, ledger: str = LEDGER, **fields: Any) -> ClientResponse:
    message = {"role": "assistant", "content": "".join(TOKENS)}
    said = {
        "model": "primary-model",
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": USAGE["primary-model"],
    } | fields
    head = {"content-type": "application/json", "x-gateway-attempts": ledger}
    return ClientResponse(False, status, head, json.dumps(said).encode(), StreamEnd.WHOLE, seconds)
