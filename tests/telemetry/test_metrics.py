"""Which figures a request, a call and a report become, and under which labels."""

from __future__ import annotations

from typing import Any

import pytest
from kit.calls import make_call
from kit.metric_figures import Counted

from flask_gateway.guards.breaker import Breaker
from flask_gateway.guards.breaker_state import Phase, Policy
from flask_gateway.model.call import Attempt, Outcome, Usage
from flask_gateway.model.errors import Verdict
from flask_gateway.state.memory import MemoryStore
from flask_gateway.telemetry.metric_families import DURATIONS
from flask_gateway.telemetry.metrics import KeyLabels


@pytest.fixture
def counted() -> Counted:
    return Counted()


def test_a_whole_answer(counted: Counted) -> None:
    counted.tell(
        first_byte=1.9,
        overhead=0.004,
        usage=Usage(20, 300, 7, "estimated"),
        attempts=(Attempt("llama", "200", 1.9, "llama-3"),),
    )
    assert counted.of("requests_total") == {("", "fast", "/v1/chat/completions", "200", "llama"): 1}
    assert counted.of("request_duration_seconds_sum") == {("fast", "false", "llama"): 2.0}
    assert counted.of("added_latency_seconds_sum") == {(): 0.004}
    assert counted.of("attempts_total") == {("200", "llama"): 1}
    assert counted.of("ratelimit_decisions_total") == {("admitted", "requests", "team-a"): 1}
    assert counted.of("tokens_total") == {
        ("team-a", "fast", "prompt", "estimated"): 20,
        ("team-a", "fast", "completion", "estimated"): 300,
        ("team-a", "fast", "cached", "estimated"): 7,
    }
    for name in ("failovers_total", "stream_outcomes_total", "ttft_seconds_count"):
        assert counted.of(name) == {}


def test_streams_by_how_they_ended(counted: Counted) -> None:
    stream = {"stream": True, "first_byte": 0.6}
    counted.tell(**stream)
    counted.tell(**stream)
    counted.tell(**stream, code="upstream_stream_cut", outcome="failure")
    counted.tell(**stream, code="client_closed_request", status=499, outcome="ignored")
    counted.tell(stream=True, code="upstream_error", status=502, outcome="failure")  # no stream began
    counted.tell(**stream, whole=True)  # its first byte was no token
    assert counted.of("stream_outcomes_total") == {
        ("complete", "llama"): 3,
        ("upstream_stream_cut", "llama"): 1,
        ("client_closed_request", "llama"): 1,
    }
    assert counted.of("ttft_seconds_count") == {("fast", "llama"): 4}
    assert counted.of("ttft_seconds_sum") == {("fast", "llama"): pytest.approx(2.4)}


def test_failovers_are_counted_apart_from_retries(counted: Counted) -> None:
    counted.tell(
        attempts=(
            Attempt("openai", "500", 0.1),
            Attempt("openai", "upstream_unreachable", 0.1),
            Attempt("llama", "200", 0.1),
        )
    )
    assert counted.of("attempts_total") == {
        ("500", "openai"): 1,
        ("upstream_unreachable", "openai"): 1,
        ("200", "llama"): 1,
    }
    assert counted.of("attempt_duration_seconds_count") == {("openai",): 2, ("llama",): 1}
    assert counted.of("attempt_duration_seconds_sum") == {
        ("openai",): pytest.approx(0.2),
        ("llama",): pytest.approx(0.1),
    }
    assert counted.of("failovers_total") == {("openai", "upstream_unreachable", "llama"): 1}


def test_calls_refused_by_limits(counted: Counted) -> None:
    refused = {"status": 429, "upstream": None, "outcome": "ignored", "code": "rate_limit_exceeded"}
    counted.tell()
    counted.tell(**refused, limited="requests")
    counted.tell(**refused, limited="concurrency")
    assert counted.of("ratelimit_decisions_total") == {
        ("admitted", "requests", "team-a"): 1,
        ("refused", "requests", "team-a"): 1,
        ("refused", "concurrency", "team-a"): 1,
    }


def test_a_request_that_is_no_call_only_counts_as_a_request(counted: Counted) -> None:
    counted.tell(model=None, upstream=None, outcome=None, route=None, status=404, code="unknown_url")
    assert counted.of("requests_total") == {("unknown_url", "", "other", "404", ""): 1}
    assert counted.of("request_duration_seconds_count") == counted.of("ratelimit_decisions_total") == {}


def test_long_answers_have_buckets_of_their_own(counted: Counted) -> None:
    for seconds in (599.0, 601.0, 1300.0):
        counted.tell(seconds=seconds)
    bounds = {labels[0]: figure for labels, figure in counted.of("request_duration_seconds_bucket").items()}
    assert (bounds["300.0"], bounds["600.0"], bounds["1200.0"], bounds["3600.0"]) == (0, 1, 2, 3)
    assert max(DURATIONS) >= 600


def test_the_snapshot_of_breakers_store_and_settings(counted: Counted) -> None:
    assert counted.of("breaker_state_number") == {("", "llama"): 1, ("llama-3", "llama"): 2}
    states = {labels: value for labels, value in counted.of("breaker_state").items() if value}
    assert states == {("", "open", "llama"): 1, ("llama-3", "half_open", "llama"): 1}
    assert len(counted.of("breaker_state")) == 6
    assert counted.of("store_degraded") == {(): 1}
    assert counted.of("config_last_reload_success_timestamp_seconds") == {(): 1e9}
    assert counted.of("config_last_reload_successful") == {(): 1}
    assert list(counted.of("build_info").values()) == [1]


def test_seconds_characters_and_pictures_are_counted(counted: Counted) -> None:
    counted.tell(usage=Usage(3, 2, parts={"seconds": 9, "input_audio": 3}))
    counted.tell(usage=Usage(3, 2, source="estimated", parts={"images": 2, "characters": 0}))
    units = {labels[2:]: figure for labels, figure in counted.of("units_total").items()}
    assert units == {("seconds", "reported"): 9, ("images", "estimated"): 2}


def test_reports_of_other_components(counted: Counted) -> None:
    counted.metrics.threads(busy=3, limit=64)
    counted.metrics.streams(active=7)
    counted.metrics.sessions(opened=2)
    counted.metrics.event_loop_lag(longest=0.03)
    counted.metrics.shed("threads")
    counted.metrics.reloaded("failure")
    counted.metrics.breaker_changed("llama", None, "closed", "open")
    assert (counted.of("threads_busy"), counted.of("threads_limit")) == ({(): 3}, {(): 64})
    assert counted.of("streams_active") == {(): 7}
    assert counted.of("realtime_sessions") == {(): 2}
    turns = {labels[0]: figure for labels, figure in counted.of("event_loop_lag_seconds_bucket").items()}
    assert (turns["0.02"], turns["0.05"]) == (0, 1)
    assert counted.of("shed_total") == {("threads",): 1}
    assert counted.of("config_reload_total") == {("failure",): 1, ("success",): 0}
    assert counted.metrics.last_reload_successful is False
    assert counted.of("breaker_transitions_total") == {("closed", "", "open", "llama"): 1}


def test_calls_in_flight_by_upstream_and_age(counted: Counted) -> None:
    counted.metrics.in_flight([("llama", 0.5), ("llama", 700.0), ("openai", 60.0), ("", 4000.0)])
    assert counted.of("requests_in_flight") == {("llama",): 2, ("openai",): 1}
    ages = {age: figure for (age,), figure in counted.of("requests_in_flight_by_age").items()}
    assert [ages[age] for age in ("1.0", "30.0", "60.0", "600.0", "1800.0", "3600.0", "+Inf")] == [
        1, 1, 2, 2, 3, 3, 4
    ]  # fmt: skip
    counted.metrics.in_flight([])
    assert counted.of("requests_in_flight") == {("llama",): 0, ("openai",): 0}
    assert set(counted.of("requests_in_flight_by_age").values()) == {0}


def test_a_breaker_reports_each_change_of_state_once(store: MemoryStore, clock: Any) -> None:
    changes: list[tuple[Phase, Phase]] = []
    policy = Policy(max_failures=2, reset=1_000_000, lease=1_000_000)
    breaker = Breaker("llama", store, policy, on_change=lambda *change: changes.append(change))
    call = make_call()
    for _ in range(2):
        assert changes == []
        breaker.admit(call).settle(Outcome(Verdict.FAILURE))
    assert changes.pop() == (Phase.CLOSED, Phase.OPEN)
    clock.advance(1.5)
    probe = breaker.admit(call)
    assert changes.pop() == (Phase.OPEN, Phase.HALF_OPEN)
    probe.settle(Outcome(Verdict.SUCCESS))
    assert changes.pop() == (Phase.HALF_OPEN, Phase.CLOSED)
    breaker.admit(call).settle(Outcome(Verdict.SUCCESS))
    assert changes == []


def test_issued_keys_have_a_series_each_up_to_a_bound_then_their_teams_then_other() -> None:
    labels = KeyLabels(["web"], most=2)
    assert [labels.of(key, "") for key in ("key_a", "key_b", "key_c", "key_a", "web")] == [
        *("key_a", "key_b", "other", "key_a", "web")
    ]
    assert [labels.of("key_d", team) for team in ("one", "two", "three", "one", "")] == [
        *("team:one", "team:two", "other", "team:one", "other")
    ]
    assert labels.change(["late"]).of("late", "") == "late"
