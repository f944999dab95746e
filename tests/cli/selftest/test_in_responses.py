"""Plays the scenarios of the self-test in the Responses API, at upstreams of that API and of chat alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from kit.calls import make_settings

from flask_gateway.cli.selftest.client import Api
from flask_gateway.cli.selftest.harness import RunOptions
from flask_gateway.cli.selftest.scenarios import SCENARIOS
from flask_gateway.cli.selftest.verdicts import Judgement
from flask_gateway.model.call import OPENAI, Operation

#: Scenarios that wait for no timeout, so they need not be played fast.
QUICK = ("S03", "S04", "S05", "S08", "S10", "S11", "S12", "S13", "S14", "S16")
BREAKS = {"S08", "S09", "S14"}

SPEAKS = pytest.mark.parametrize("speaks", [OPENAI, (Operation.CHAT,)], ids=["own", "chat"])


def options(speaks: tuple[Operation, ...], *, whole: bool) -> RunOptions:
    settings = make_settings()
    upstreams = tuple(
        msgspec.structs.replace(one, speaks=frozenset(speaks)) if one.name == "llama" else one
        for one in settings.upstreams
    )
    settings = msgspec.structs.replace(settings, upstreams=upstreams)
    return RunOptions(settings, "fast", ("llama",), 1.0, whole, Api.RESPONSES)


def verdicts(names: tuple[str, ...], speaks: tuple[Operation, ...], *, whole: bool) -> dict[str, Judgement]:
    play = options(speaks, whole=whole)
    chosen = [scenario for scenario in SCENARIOS if scenario.id in names]
    with ThreadPoolExecutor(len(chosen)) as pool:
        results = list(pool.map(lambda scenario: scenario.play(play), chosen))
    return {result.id: result.finding.verdict for result in results}


def expected(names: tuple[str, ...], *, whole: bool) -> dict[str, Judgement]:
    safe = set() if whole else BREAKS
    return {name: Judgement.SAFE if name in safe else Judgement.PASS for name in names}


@SPEAKS
def test_scenarios_without_timeouts(speaks: tuple[Operation, ...]) -> None:
    assert verdicts(QUICK, speaks, whole=False) == expected(QUICK, whole=False)


@SPEAKS
def test_buffered_streams_that_break(speaks: tuple[Operation, ...]) -> None:
    names = ("S08", "S14")
    assert verdicts(names, speaks, whole=True) == expected(names, whole=True)


@pytest.mark.soak
@pytest.mark.parametrize("whole", [False, True])
@SPEAKS
def test_all_sixteen(speaks: tuple[Operation, ...], whole: bool) -> None:
    names = tuple(scenario.id for scenario in SCENARIOS)
    assert verdicts(names, speaks, whole=whole) == expected(names, whole=whole)
