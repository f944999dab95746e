"""Plays the scenarios of the self-test in Anthropic's Messages API, at upstreams of that API and of chat."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from kit.calls import make_settings

from flask_gateway.cli.selftest.client import Api
from flask_gateway.cli.selftest.harness import RunOptions
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
