"""Plays the scenarios of the self-test in Anthropic's Messages API, at upstreams of that API and of chat."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from kit.calls import make_settings

from flask_gateway.cli.selftest.client import Api, ClientResponse, StreamEnd
from flask_gateway.cli.selftest.harness import RunOptions
from flask_gateway.cli.selftest.response_parser import hear
from flask_gateway.cli.selftest.scenarios import SCENARIOS
from flask_gateway.cli.selftest.verdicts import Judgement

#: Scenarios that wait for no timeout, so they need not be played fast.
QUICK = ("S03", "S04", "S05", "S08", "S10", "S11", "S12", "S13", "S14", "S16")
BREAKS = {"S08", "S09", "S14"}

#: The caller's API, and the kind of the upstreams: the same API, another one, or one of each.
WAYS = pytest.mark.parametrize(
    ("api", "kinds"),
    [
        (Api.MESSAGES, ("anthropic", "anthropic")),
        (Api.MESSAGES, ("openai", "openai")),
        (Api.MESSAGES, ("anthropic", "openai")),
        (Api.CHAT, ("anthropic", "anthropic")),
    ],
    ids=["messages", "messages-to-chat", "messages-to-both", "chat-to-messages"],
)


def options(api: Api, kinds: tuple[str, str], *, whole: bool) -> RunOptions:
    settings = make_settings()
    both = zip(settings.upstreams, kinds, strict=False)
    upstreams = tuple(msgspec.structs.replace(one, kind=kind) for one, kind in both)
    settings = msgspec.structs.replace(settings, upstreams=upstreams)
    return RunOptions(settings, "fast", ("llama", "bare"), 1.0, whole, api)


def verdicts(
    names: tuple[str, ...], api: Api, kinds: tuple[str, str], *, whole: bool
) -> dict[str, Judgement]:
    play = options(api, kinds, whole=whole)
    chosen = [scenario for scenario in SCENARIOS if scenario.id in names]
    with ThreadPoolExecutor(len(chosen)) as pool:
        results = list(pool.map(lambda scenario: scenario.play(play), chosen))
    return {result.id: result.finding.verdict for result in results}


def expected(names: tuple[str, ...], *, whole: bool) -> dict[str, Judgement]:
    safe = set() if whole else BREAKS
    return {name: Judgement.SAFE if name in safe else Judgement.PASS for name in names}


@WAYS
def test_scenarios_without_timeouts(api: Api, kinds: tuple[str, str]) -> None:
    assert verdicts(QUICK, api, kinds, whole=False) == expected(QUICK, whole=False)


@WAYS
def test_buffered_streams_that_break(api: Api, kinds: tuple[str, str]) -> None:
    names = ("S08", "S14")
    assert verdicts(names, api, kinds, whole=True) == expected(names, whole=True)


@pytest.mark.soak
@pytest.mark.parametrize("whole", [False, True])
@WAYS
def test_all_sixteen(api: Api, kinds: tuple[str, str], whole: bool) -> None:
    names = tuple(scenario.id for scenario in SCENARIOS)
    assert verdicts(names, api, kinds, whole=whole) == expected(names, whole=whole)


# ---------------------------------------------------------------- the judge's ears


def event(kind: str, **fields: object) -> bytes:
    data = msgspec.json.encode({"type": kind, **fields})
    return f"event: {kind}\ndata: ".encode() + data + b"\n\n"


START = event("message_start", message={"model": "m", "usage": {"input_tokens": 1, "output_tokens": 0}})
OPEN = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
DELTA = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"})
CLOSE = event("content_block_stop", index=0)
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1})
STOP = event("message_stop")
ERROR = event("error", error={"type": "api_error", "message": "m"})


def flaws(*events: bytes) -> list[str]:
    head = {"content-type": "text/event-stream"}
    answer = ClientResponse(True, 200, head, b"".join(events), StreamEnd.WHOLE, 1.0, Api.MESSAGES)
    return hear(answer).flaws


def test_a_good_stream_has_no_flaws() -> None:
    assert flaws(START, event("ping"), OPEN, DELTA, CLOSE, END, STOP) == []
    assert flaws(START, OPEN, DELTA, ERROR) == []


@pytest.mark.parametrize(
    ("events", "flaw"),
    [
        ((START, OPEN, DELTA), "without message_stop"),
        ((START, OPEN, DELTA, END, STOP), "without its stop"),
        ((START, OPEN, DELTA, CLOSE, STOP), "without a stop reason"),
        ((OPEN, DELTA), "does not begin once"),
        ((START, START), "does not begin once"),
        ((START, OPEN, OPEN), "out of order"),
        ((START, DELTA), "not open"),
        ((START, OPEN, DELTA, CLOSE, END, STOP, DELTA), "after the end"),
        ((START, ERROR, OPEN), "after the error"),
        ((START, b"data: {}\n\n"), "with its name"),
        ((START, OPEN[:-4]), "an unfinished event"),
        ((START, event("error", error={"message": "m"})), "Anthropic's envelope"),
    ],
)
def test_each_flaw_is_heard(events: tuple[bytes, ...], flaw: str) -> None:
    assert any(flaw in one for one in flaws(*events))
