"""Tests the order of candidates, given the state of their breakers."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.calls import make_call, make_settings, single_candidate
from kit.examples import examples
from kit.translating import LOUD

from flask_gateway.app import build, translated
from flask_gateway.app.build import Gateway
from flask_gateway.app.candidates import Known
from flask_gateway.config.kinds import KINDS
from flask_gateway.config.schema import (
    Balance,
    CandidateSettings,
    ModelSettings,
    Timeouts,
    UpstreamSettings,
)
from flask_gateway.model.call import Operation, Outcome
from flask_gateway.model.errors import UnsupportedOperation, Verdict
from flask_gateway.state.memory import MemoryStore

NAMES = ("a", "b", "c")


class CountingStore(MemoryStore):
    reads = 0

    def read(self, key: str) -> tuple[int, ...] | None:
        self.reads += 1
        return super().read(key)


@pytest.fixture
def counting() -> CountingStore:
    return CountingStore()


@pytest.fixture
def gateway(counting: CountingStore) -> Gateway:
    upstreams = tuple(UpstreamSettings(name=name, url="mock://local") for name in NAMES)
    models = (
        ModelSettings(name="all", tiers=tuple(single_candidate(name) for name in NAMES)),
        ModelSettings(name="alone", tiers=(single_candidate("a"),)),
    )
    return build.build(make_settings(upstreams=upstreams, models=models), counting)


def deny(gateway: Gateway, *names: str) -> None:
    for breaker in gateway.breakers:
        if breaker.upstream in names and breaker.model == "m":
            breaker.admit(make_call()).settle(Outcome(Verdict.CREDENTIAL_REFUSED))


def order(gateway: Gateway, model: str) -> str:
    return "".join(candidate.service.name for candidate in gateway.candidates(make_call(model)))


@pytest.mark.parametrize(("denied", "expected"), [("", "abc"), ("a", "bca"), ("ab", "cab"), ("abc", "abc")])
def test_an_upstream_that_refused_our_credential_is_asked_last(
    gateway: Gateway, denied: str, expected: str
) -> None:
    deny(gateway, *denied)
    assert order(gateway, "all") == expected


def test_a_single_target_needs_no_credential_check(gateway: Gateway, counting: CountingStore) -> None:
    deny(gateway, "a")
    counting.reads = 0
    assert order(gateway, "alone") == "a"
    assert counting.reads == 0


def test_targets_are_checked_one_at_a_time(gateway: Gateway, counting: CountingStore) -> None:
    counting.reads = 0
    next(iter(gateway.candidates(make_call("all"))))
    assert counting.reads == 1


# ------------------------------------------------------------------ translations


def test_upstreams_of_the_callers_api_come_before_translations(monkeypatch: pytest.MonkeyPatch) -> None:
    loud = {Operation.COMPLETION: LOUD}
    monkeypatch.setattr(translated, "translations_to", lambda speaks: loud if len(speaks) == 1 else {})
    chat, both = frozenset({Operation.CHAT}), frozenset({Operation.CHAT, Operation.COMPLETION})
    speaks = {"a": chat, "b": both, "c": chat, "d": both}
    upstreams = tuple(
        UpstreamSettings(name=name, url=f"http://{name}.test", speaks=taken) for name, taken in speaks.items()
    )
    tiers = tuple(single_candidate(name)[0] for name in "abcd")
    model = ModelSettings(name="all", tiers=(tiers[:2], tiers[2:]), balance=Balance.IN_ORDER)
    settings = make_settings(upstreams=upstreams, models=(model,))
    gateway = build.build(settings, MemoryStore())
    call = msgspec.structs.replace(make_call("all"), operation=Operation.COMPLETION)
    assert [one.service.name for one in gateway.candidates(call)] == ["b", "a", "d", "c"]
    assert order(gateway, "all") == "abcd"
    statuses = gateway.candidates.explain(call.caller, "all")
    assert ["completions" in status.translated for status in statuses] == [True, False, True, False]
    known: Known = {}
    for _ in range(2):  # as found, and as known
        assert gateway.candidates.explain(call.caller, "all", known) == statuses
    assert len(known) == 4


# ------------------------------------------------------------------ timeouts


def test_the_longest_timeout_of_all_candidates_bounds_a_call() -> None:
    upstreams = (UpstreamSettings(name="a", url="mock://local", clocks=Timeouts(total=100)),)
    own = CandidateSettings(upstream="a", model="m", clocks={"total": 900.0})
    for models, longest in (((), 100), ((ModelSettings(name="fast", tiers=((own,),)),), 900)):
        settings = make_settings(upstreams=upstreams, models=models)
        assert build.build(settings, MemoryStore()).longest == longest


def test_a_probes_lease_covers_the_upstreams_timeouts() -> None:
    clocks = Timeouts(first_byte=40, first_token=90, answer=300)
    upstreams = (UpstreamSettings(name="a", url="mock://local", clocks=clocks),)
    own = CandidateSettings(upstream="a", model="m", clocks={"first_byte": 200.0})
    settings = make_settings(upstreams=upstreams, models=(ModelSettings(name="fast", tiers=((own,),)),))
    breakers = build.build(settings, MemoryStore()).breakers
    assert {one.model: one._policy.lease for one in breakers} == {None: 92_000_000, "m": 202_000_000}
    assert {one._policy.answer_lease for one in breakers} == {302_000_000}


#: Kinds that take chat, Anthropic's API, all three, or none of the three.
_KINDS = ("mistral", "anthropic", "vllm", "bedrock-mantle", "openai")


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.MESSAGE, Operation.RESPONSE])
@settings(max_examples=examples(15, 400), deadline=None)
@given(
    kinds=st.lists(
        st.lists(st.sampled_from(_KINDS), min_size=1, max_size=4, unique=True), min_size=1, max_size=3
    )
)
def test_failover_goes_inside_an_api_first_and_then_across(
    operation: Operation, kinds: list[list[str]]
) -> None:
    names = [[f"{tier}-{kind}" for kind in row] for tier, row in enumerate(kinds)]
    upstreams = tuple(
        UpstreamSettings(name=name, url="http://127.0.0.1:9/v1", kind=name.partition("-")[2])
        for row in names
        for name in row
    )
    tiers = tuple(tuple(CandidateSettings(upstream=name, model="m") for name in row) for row in names)
    model = ModelSettings(name="all", tiers=tiers, balance=Balance.IN_ORDER)
    made = make_settings(upstreams=upstreams, models=(model,))
    gateway = build.build(made, MemoryStore())
    call = msgspec.structs.replace(make_call("all"), operation=operation)
    expected = []
    for row in names:
        speaks = {name: set(KINDS[name.partition("-")[2]].speaks) for name in row}
        native = [name for name in row if operation in speaks[name]]
        across = {Operation.CHAT: Operation.MESSAGE}.get(operation, Operation.CHAT)
        expected += native + [name for name in row if name not in native and across in speaks[name]]
    if expected:
        assert [candidate.service.name for candidate in gateway.candidates(call)] == expected
    else:
        with pytest.raises(UnsupportedOperation):
            list(gateway.candidates(call))
