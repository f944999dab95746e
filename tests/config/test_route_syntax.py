"""Routes as they are written in the environment and in the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from flask_gateway.app import build
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load
from flask_gateway.config.schema import Balance, CandidateSettings, Timeouts
from flask_gateway.state.memory import MemoryStore

UPSTREAMS = "[upstreams.a]\nurl = 'mock://a'\n[upstreams.b]\nurl = 'mock://b'\n"


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[..., str]:
    def refuse(toml: str = "", **environ: str) -> str:
        file = tmp_path / "gateway.toml"
        file.write_text(UPSTREAMS + toml)
        with pytest.raises(ConfigError) as caught:
            load({"GATEWAY_CONFIG": str(file), **environ})
        return str(caught.value)

    return refuse


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "expected model=upstream/model"),
        ("a=", "a name of up to 64"),
        ("a=b/", "upstream or upstream/model"),
        ("=b", "expected the name of a model"),
        ("a=b;a=b", "a appears twice"),
        ("a=c", "'c': expected the name of an upstream that is set"),
        ("a=b,", "a name of up to 64"),
    ],
)
def test_invalid_fallbacks_are_refused(refusal: Callable[..., str], text: str, said: str) -> None:
    refused = refusal(GATEWAY_FALLBACKS=text)
    assert refused.startswith("GATEWAY_FALLBACKS=")
    assert said in refused


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[models.m]\ntiers = []", "models.m.tiers='a list': expected a list of tiers"),
        ("[models.m]\ntiers = ['a']", "models.m.tiers='a list': expected a list of tiers"),
        ("[models.m]\ntiers = [[]]", "models.m.tiers='a list': expected a list of tiers"),
        ("[models.m]\ntiers = [[1]]", "models.m.tiers='a list': expected a list of tiers"),
        ("[models.m]\ntiers = [['a/']]", "models.m.tiers='a list': expected upstream or upstream/model"),
        ("[models.m]\ntiers = [[{upstream = 'a', wait = 1}]]", "expected fields of a candidate"),
        ("[models.m]\ntiers = [[{upstream = 'a', weight = 0}]]", "expected a whole number, at least 1"),
        ("[models.m]\ntiers = [[{upstream = 'a', max_output_tokens = 0}]]", "a whole number from 1 to"),
        (
            "[models.m]\ntiers = [['a']]\nupstream = 'a'",
            "models.m.upstream: expected only one of tiers and upstream",
        ),
        ("[models.m]\ntiers = [['a'], ['c']]", "models.m.upstream='c': expected the name of an upstream"),
        ("[models.m]\nupstream = 'a'\nfallbacks = 'b'", "models.m.fallbacks='b': expected a list such as"),
        ("[models.m]\nupstream = 'a'\nbalance = 'round_robbin'", "did you mean round_robin?"),
        ("[models.m]\nupstream = 'a'\nstream = 'hole'", "did you mean whole?"),
        ("[fallbacks]\na = ['b']", "fallbacks='****': expected fallbacks with their model"),
    ],
)
def test_invalid_routes_are_refused(refusal: Callable[..., str], toml: str, said: str) -> None:
    assert said in refusal(toml)


def test_a_route_in_full(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        UPSTREAMS
        + """
[models.fast]
balance = "least_requests"
stream = "whole"
tiers = [["a/one", {upstream = "b", model = "two", weight = 3}], ["a"]]
fallbacks = ["b/three"]
"""
    )
    settings = load({"GATEWAY_CONFIG": str(file), "GATEWAY_FALLBACKS": "x = a/y , b; ;z=b"})
    (fast,) = settings.models
    assert (fast.balance, fast.whole) == (Balance.LEAST_REQUESTS, True)
    assert fast.tiers == (
        (
            CandidateSettings(upstream="a", model="one"),
            CandidateSettings(upstream="b", model="two", weight=3),
        ),
        (CandidateSettings(upstream="a", model="fast"),),
        (CandidateSettings(upstream="b", model="three"),),
    )
    assert settings.fallbacks == {
        "x": (CandidateSettings(upstream="a", model="y"), CandidateSettings(upstream="b", model="x")),
        "z": (CandidateSettings(upstream="b", model="z"),),
    }


@pytest.mark.parametrize(
    ("old", "new"), [("in_turn", Balance.ROUND_ROBIN), ("least_busy", Balance.LEAST_REQUESTS)]
)
def test_an_old_name_of_a_balance_policy_is_accepted_with_a_warning(
    tmp_path: Path, old: str, new: Balance
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f"{UPSTREAMS}[models.fast]\nupstream = 'a'\nbalance = '{old}'\n")
    settings = load({"GATEWAY_CONFIG": str(file)})
    assert settings.models[0].balance is new
    assert f"models.fast.balance = {old} is an old name: write {new}" in settings.warnings


def test_buffered_is_another_name_for_whole_streams(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f"{UPSTREAMS}[models.fast]\nupstream = 'a'\nstream = 'buffered'\n")
    settings = load({"GATEWAY_CONFIG": str(file)})
    assert settings.models[0].whole
    assert not [warning for warning in settings.warnings if "buffered" in warning]


def test_timeouts_and_options_of_an_upstream(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        """
request_timeout_seconds = 30
[upstreams.a]
url = "mock://a"
stream_usage = false
continues = true
idle_seconds = 90
total_seconds = 1200
[upstreams.b]
url = "mock://b"
continues = "prefix"
"""
    )
    a, b = load({"GATEWAY_CONFIG": str(file)}).upstreams
    assert (a.stream_usage, a.continues, b.stream_usage, b.continues) == (False, "vllm", True, "prefix")
    assert a.clocks == Timeouts(connect=5, first_byte=30, first_token=30, idle=90, answer=120, total=1200)
    assert b.clocks is None


@pytest.mark.parametrize(
    ("lines", "general", "clocks"),
    [
        ("", 120, Timeouts(answer=120)),
        ("answer_timeout_seconds = 60", 60, Timeouts(answer=60)),
        ("answer_timeout_seconds = 900", 900, Timeouts(answer=900, total=900)),
        # Before there was a clock for answers in one piece, a longer silence was how to allow them.
        ("request_timeout_seconds = 300", 300, Timeouts.within(300, 300)),
        ("request_timeout_seconds = 300\nanswer_timeout_seconds = 60", 60, Timeouts.within(300, 60)),
    ],
)
def test_the_timeout_of_an_answer_in_one_piece(
    tmp_path: Path, lines: str, general: float, clocks: Timeouts
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        f"{lines}\n[upstreams.a]\nurl = 'mock://a'\n[upstreams.b]\nurl = 'mock://b'\nidle_seconds = 3"
    )
    settings = load({"GATEWAY_CONFIG": str(file)})
    assert settings.answer_timeout_seconds == general
    assert settings.upstreams[1].clocks == msgspec.structs.replace(clocks, idle=3)
    gateway = build.build(settings, MemoryStore())
    assert gateway.candidates._endpoints["a", None].clocks == clocks


@pytest.mark.parametrize(
    ("of_upstream", "of_candidate", "answer", "total"),
    [
        ("answer_seconds = 900", "", 900, 900),
        ("answer_seconds = 900\ntotal_seconds = 700", "", 900, 700),
        ("", "answer_seconds = 900", 900, 900),
        ("answer_seconds = 900", "answer_seconds = 30", 30, 900),
        ("total_seconds = 60", "idle_seconds = 1", 120, 60),
    ],
)
def test_a_longer_answer_timeout_raises_the_total(
    tmp_path: Path, of_upstream: str, of_candidate: str, answer: float, total: float
) -> None:
    file = tmp_path / "gateway.toml"
    own = f", {of_candidate}" if of_candidate else ""
    file.write_text(
        f"[upstreams.a]\nurl = 'mock://a'\n{of_upstream}\n[models.m]\ntiers = [[{{ upstream = 'a'{own} }}]]"
    )
    gateway = build.build(load({"GATEWAY_CONFIG": str(file)}), MemoryStore())
    clocks = gateway.candidates._endpoints["a", "m"].clocks
    assert (clocks.answer, clocks.total) == (answer, total)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("idle_seconds = 0", "upstreams.c.idle_seconds=0: expected a number of seconds above 0"),
        ("idel_seconds = 1", "did you mean idle_seconds?"),
        ("stream_usage = 'no'", "upstreams.c.stream_usage='no': expected true or false"),
        ("continues = 'vlm'", "did you mean vllm?"),
        ("continues = 1", "upstreams.c.continues=1: expected true, false, vllm, prefix or plain"),
    ],
)
def test_invalid_timeouts_and_options_are_refused(refusal: Callable[..., str], line: str, said: str) -> None:
    assert said in refusal(f"[upstreams.c]\nurl = 'mock://c'\n{line}")
