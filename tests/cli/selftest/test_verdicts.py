"""Tests the verdicts on scripted answers: right, partial, wrong."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from flask_gateway.cli.selftest.client import ClientResponse, StreamEnd
from flask_gateway.cli.selftest.faults import PREFIX_REFUSED
from flask_gateway.cli.selftest.provider_answers import TOKENS, USAGE
from flask_gateway.cli.selftest.verdicts import Asked, Expected, Judgement, judge

LEDGER = "primary:200:0.01s"


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
