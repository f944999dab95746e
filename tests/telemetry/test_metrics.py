"""What is counted, under which labels, and who may read it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from kit.calls import AUTH, chat, make_call
from kit.planted import KEY
from prometheus_client.parser import text_string_to_metric_families

from flask_gateway.guards.breaker import Breaker
from flask_gateway.guards.breaker_state import Phase, Policy
from flask_gateway.model.call import Attempt, Call, Ids, Outcome, Usage
from flask_gateway.model.errors import CallerLeft, RateLimited, TooManyConcurrent, UpstreamCut, Verdict
from flask_gateway.model.reply import Reply
from flask_gateway.state.memory import MemoryStore
from flask_gateway.telemetry.exposition import Snapshot, exposition
from flask_gateway.telemetry.metric_families import DURATIONS, Families
from flask_gateway.telemetry.metrics import Metrics
from flask_gateway.telemetry.request_record import RecordingService, RequestRecord

ROOT = Path(__file__).parents[2]
NOW = Snapshot({("llama", ""): 1, ("llama", "llama-3"): 2}, True, 1e9)

#: By the name of the series and its labels.
Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> Figures:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Counted:
    """Metrics of their own, told of records."""

    def __init__(self) -> None:
        self.metrics = Metrics(Families(), ["fast"], ["llama", "openai"])

    def tell(self, **fields: Any) -> None:
        common: dict[str, Any] = {
            "ids": Ids("r", "t", "00"),
            "key": "team-a",
            "method": "POST",
            "path": "/v1/chat/completions",
            "route": "/v1/chat/completions",
            "status": 200,
            "seconds": 2.0,
            "model": "fast",
            "upstream": "llama",
            "outcome": "success",
        }
        self.metrics(RequestRecord(**{**common, **fields}))

    def figures(self) -> Figures:
        return parse(exposition(self.metrics.families, NOW).decode())

    def of(self, name: str) -> dict[tuple[str, ...], float]:
        """A family's figures by the values of its labels, in the order of the labels' names."""
        return {
            tuple(value for _, value in labels): figure
            for (found, labels), figure in self.figures().items()
            if found == f"gateway_{name}"
        }


@pytest.fixture
def counted() -> Counted:
    return Counted()


# ---------------------------------------------------------------- what is counted


def test_a_whole_answer(counted: Counted) -> None:
    counted.tell(
        first_byte=1.9,
        overhead=0.004,
        usage=Usage(20, 300, 7),
        attempts=(Attempt("llama", "200", 1.9, "llama-3"),),
    )
    assert counted.of("requests_total") == {("", "fast", "/v1/chat/completions", "200", "llama"): 1}
    assert counted.of("request_duration_seconds_sum") == {("fast", "false", "llama"): 2.0}
    assert counted.of("overhead_seconds_sum") == {(): 0.004}
    assert counted.of("attempts_total") == {("200", "llama"): 1}
    assert counted.of("ratelimit_decisions_total") == {("admitted", "requests", "team-a"): 1}
    assert counted.of("tokens_total") == {
        ("team-a", "fast", "prompt"): 20,
        ("team-a", "fast", "completion"): 300,
        ("team-a", "fast", "cached"): 7,
    }
    for name in ("failovers_total", "stream_outcomes_total", "ttft_seconds_count"):
        assert counted.of(name) == {}


def test_streams_by_how_they_ended(counted: Counted) -> None:
    stream = {"stream": True, "first_byte": 0.6}
    counted.tell(**stream)
    counted.tell(**stream)
    counted.tell(**stream, code="upstream_stream_cut", outcome="failure")
    counted.tell(**stream, code="client_closed_request", status=499, outcome="ignored")
    counted.tell(stream=True, code="upstream_error", status=502, outcome="failure")  # none that began
    counted.tell(**stream, whole=True)  # its first byte was no token
    assert counted.of("stream_outcomes_total") == {
        ("complete", "llama"): 3,
        ("upstream_stream_cut", "llama"): 1,
        ("client_closed_request", "llama"): 1,
    }
    assert counted.of("ttft_seconds_count") == {("fast", "llama"): 4}
    assert counted.of("ttft_seconds_sum") == {("fast", "llama"): pytest.approx(2.4)}


def test_failovers_are_told_from_second_tries(counted: Counted) -> None:
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
    assert counted.of("failovers_total") == {("openai", "upstream_unreachable", "llama"): 1}


def test_what_limits_refuse(counted: Counted) -> None:
    refused = {"status": 429, "upstream": None, "outcome": "ignored", "code": "rate_limit_exceeded"}
    counted.tell()
    counted.tell(**refused, limited="requests")
    counted.tell(**refused, limited="concurrency")
    assert counted.of("ratelimit_decisions_total") == {
        ("admitted", "requests", "team-a"): 1,
        ("refused", "requests", "team-a"): 1,
        ("refused", "concurrency", "team-a"): 1,
    }


def test_what_is_no_call_is_a_request_and_nothing_else(counted: Counted) -> None:
    counted.tell(model=None, upstream=None, outcome=None, route=None, status=404, code="unknown_url")
    assert counted.of("requests_total") == {("unknown_url", "", "other", "404", ""): 1}
    assert counted.of("request_duration_seconds_count") == counted.of("ratelimit_decisions_total") == {}


def test_long_answers_have_buckets_of_their_own(counted: Counted) -> None:
    for seconds in (599.0, 601.0, 1300.0):
        counted.tell(seconds=seconds)
    bounds = {labels[0]: figure for labels, figure in counted.of("request_duration_seconds_bucket").items()}
    assert (bounds["300.0"], bounds["600.0"], bounds["1200.0"], bounds["3600.0"]) == (0, 1, 2, 3)
    assert max(DURATIONS) >= 600


def test_how_things_stand(counted: Counted) -> None:
    assert counted.of("breaker_state") == {("", "llama"): 1, ("llama-3", "llama"): 2}
    assert counted.of("store_degraded") == {(): 1}
    assert counted.of("config_timestamp_seconds") == {(): 1e9}


def test_what_others_report(counted: Counted) -> None:
    counted.metrics.threads(busy=3, limit=64)
    counted.metrics.streams(live=7)
    counted.metrics.turn(longest=0.03)
    counted.metrics.shed("threads")
    counted.metrics.reloaded("failure")
    counted.metrics.breaker_changed("llama", None, "closed", "open")
    assert (counted.of("threads_busy"), counted.of("threads_limit")) == ({(): 3}, {(): 64})
    assert counted.of("streams_live") == {(): 7}
    turns = {labels[0]: figure for labels, figure in counted.of("relay_turn_seconds_bucket").items()}
    assert (turns["0.02"], turns["0.05"]) == (0, 1)
    assert counted.of("shed_total") == {("threads",): 1}
    assert counted.of("config_reload_total") == {("failure",): 1, ("success",): 0}
    assert counted.of("breaker_transitions_total") == {("closed", "", "open", "llama"): 1}


def test_what_is_under_way_and_since_when(counted: Counted) -> None:
    counted.metrics.inflight([("llama", 0.5), ("llama", 700.0), ("openai", 60.0), ("", 4000.0)])
    assert counted.of("inflight") == {("llama",): 2, ("openai",): 1}
    ages = {age: figure for (age,), figure in counted.of("inflight_age_seconds_bucket").items()}
    assert [ages[age] for age in ("1.0", "30.0", "60.0", "600.0", "1800.0", "3600.0", "+Inf")] == [
        1, 1, 2, 2, 3, 3, 4
    ]  # fmt: skip
    counted.metrics.inflight([])
    assert counted.of("inflight") == {("llama",): 0, ("openai",): 0}
    assert set(counted.of("inflight_age_seconds_bucket").values()) == {0}


def test_a_breaker_tells_of_each_change_of_phase_once(store: MemoryStore, clock: Any) -> None:
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


# ---------------------------------------------------------------- the record behind it


class Fails:
    """A service that spends time at an upstream, and then raises."""

    name = "fails"

    def __init__(self, said: Exception) -> None:
        self._said = said

    def send(self, call: Call) -> Reply:
        call.attempts.append(Attempt("llama", "200", 1000.0, "llama-3"))
        raise self._said


def recorded(call: Call, said: Exception, *, prompts: bool = False) -> RequestRecord:
    told: list[RequestRecord] = []
    service = RecordingService(Fails(said), [told.append], prompts=prompts)
    with pytest.raises(type(said)):
        service.send(call)
    (record,) = told
    return record


@pytest.mark.parametrize(
    ("error", "limited"),
    [
        (RateLimited("so many"), "requests"),
        (TooManyConcurrent("so many"), "concurrency"),
        (UpstreamCut("cut"), None),
    ],
)
def test_a_record_says_which_limit_refused(error: Exception, limited: str | None) -> None:
    assert recorded(make_call(), error).limited == limited


def test_a_fault_of_our_own_is_recorded_too() -> None:
    record = recorded(make_call(), ZeroDivisionError())
    assert (record.status, record.code) == (500, "internal_error")


def test_overhead_is_what_upstreams_did_not_take() -> None:
    call = make_call()  # it began at 0 of a clock that counts from the machine's start
    record = recorded(call, RateLimited("so many"))
    assert record.overhead == record.seconds - 1000.0
    assert record.served == "llama-3"


def test_prompts_are_kept_only_where_asked_for_and_not_all_of_them() -> None:
    call = make_call()
    assert recorded(call, CallerLeft("left")).prompt is None
    assert recorded(call, CallerLeft("left"), prompts=True).prompt == '[{"role":"user","content":"Hello"}]'
    long = msgspec.structs.replace(call, fields={"input": msgspec.Raw(b'"' + "é".encode() * 5000 + b'"')})
    kept = recorded(long, CallerLeft("left"), prompts=True).prompt
    assert kept is not None
    assert 2048 <= len(kept) <= 4096


# ---------------------------------------------------------------- bounded labels


def test_nothing_that_callers_make_up_becomes_a_series(
    make_client: Callable[..., FlaskClient], capfd: pytest.CaptureFixture[str]
) -> None:
    client = make_client(rate_limit_per_minute=0, failed_keys_per_minute=0)
    rng = random.Random(6)

    def word() -> str:
        return f"{rng.getrandbits(48):x}"

    def round_of() -> None:
        made_up = word()
        client.post("/v1/chat/completions", json=chat("mock"), headers=AUTH)
        client.post("/v1/chat/completions", json=chat(f"mock/{made_up}"), headers=AUTH)
        client.post("/v1/chat/completions", json=chat(made_up), headers=AUTH)
        client.post("/v1/chat/completions", json=chat("mock"), headers={"X-API-Key": made_up})
        client.post("/v1/chat/completions", json={"model": made_up}, headers=AUTH)
        client.post(f"/v1/{made_up}", headers=AUTH)
        client.get(f"/v1/models/{made_up}", headers=AUTH)
        client.open("/v1/models", method=made_up.upper(), headers=AUTH)
        client.get(f"/{made_up}", headers={"X-API-Key": made_up})

    round_of()
    before = set(parse(client.get("/metrics").text))
    for _ in range(400):
        round_of()
    after = set(parse(client.get("/metrics").text))
    assert after == before
    capfd.readouterr()  # thousands of lines of the log


def test_what_is_unknown_is_other(counted: Counted) -> None:
    counted.tell(model="made-up", upstream="made-up", code="made-up", route=None)
    counted.tell(attempts=(Attempt("llama", "made-up", 0.1), Attempt("made-up", "made-up", 0.1)))
    assert ("other", "other", "other", "200", "other") in counted.of("requests_total")
    assert counted.of("attempts_total") == {("other", "llama"): 1, ("other", "other"): 1}
    assert counted.of("failovers_total") == {("llama", "other", "other"): 1}


# ---------------------------------------------------------------- who may read it


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("127.8.9.10", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("127.0.0.1", AUTH, 200),
        ("192.0.2.1", {}, 401),
        ("192.0.2.1", {"X-API-Key": "wrong"}, 401),
        ("192.0.2.1", AUTH, 404),
        ("", {}, 401),
        ("", AUTH, 404),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 401),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.1"}, 401),
        ("127.0.0.1", {"X-Real-IP": "192.0.2.1"}, 401),
        ("127.0.0.1", {"X-Real-IP": "192.0.2.1", **AUTH}, 404),
    ],
)
def test_only_this_machine_reads_metrics_without_a_key_of_their_own(
    client: FlaskClient, peer: str, headers: dict[str, str], status: int
) -> None:
    answer = client.get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": peer})
    assert answer.status_code == status
    assert (b"gateway_requests_total" in answer.data) == (status == 200)


METRICS_KEY = "planted-metrics-key"


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("192.0.2.1", {"Authorization": f"Bearer {METRICS_KEY}"}, 200),
        ("127.0.0.1", {"X-API-Key": METRICS_KEY, "X-Forwarded-For": "192.0.2.1"}, 200),
        ("127.0.0.1", {}, 401),
        ("127.0.0.1", AUTH, 404),
        ("192.0.2.1", {"X-API-Key": METRICS_KEY, **AUTH}, 400),
        ("192.0.2.1", {"Authorization": "Basic x"}, 401),
    ],
)
def test_with_a_key_of_their_own_that_one_and_no_other(
    make_client: Callable[..., FlaskClient], peer: str, headers: dict[str, str], status: int
) -> None:
    client = make_client(metrics_digest=sha256(METRICS_KEY.encode()).digest())
    answer = client.get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": peer})
    assert answer.status_code == status
    assert client.get("/v1/models", headers={"X-API-Key": METRICS_KEY}).status_code == 401


def test_metrics_name_no_secret(client: FlaskClient) -> None:
    client.post("/v1/chat/completions", json=chat("mock"), headers=AUTH)
    client.post("/v1/chat/completions", json=chat("planted-model"), headers=AUTH)
    text = client.get("/metrics").text
    assert "planted" not in text
    assert KEY not in text
    assert 'key="team-a"' in text


# ---------------------------------------------------------------- ready, and about to end


@pytest.fixture
def draining(app: Flask) -> Iterator[Any]:
    event = app.extensions["gateway"].draining
    event.set()
    yield event
    event.clear()


def test_ready(client: FlaskClient) -> None:
    for path in ("/health", "/health/liveliness"):
        assert (client.get(path).status_code, client.get(path).data) == (200, b'{"status":"ok"}')
    for path in ("/readyz", "/health/readiness"):
        assert (client.get(path).status_code, client.get(path).data) == (200, b'{"status":"ready"}')


def test_a_process_that_is_about_to_end_says_so(client: FlaskClient, draining: Any) -> None:
    for path in ("/readyz", "/health/readiness"):
        assert (client.get(path).status_code, client.get(path).data) == (503, b'{"status":"draining"}')
    assert client.get("/health").status_code == 200
    assert client.get("/v1/models", headers=AUTH).status_code == 200
    assert client.post("/v1/chat/completions", json=chat("mock"), headers=AUTH).status_code == 200


# ---------------------------------------------------------------- the dashboard and the alerts


def touched() -> Figures:
    """A figure of every family, with all its labels."""
    counted = Counted()
    counted.tell(
        stream=True,
        first_byte=0.1,
        overhead=0.1,
        usage=Usage(1, 1, 1),
        attempts=(Attempt("openai", "500", 0.1), Attempt("llama", "200", 0.1)),
    )
    counted.metrics.shed("threads")
    counted.metrics.breaker_changed("llama", None, "closed", "open")
    counted.metrics.inflight([("llama", 1.0)])
    return counted.figures()


LABELS = {name: {label for label, _ in labels} for name, labels in touched()}
#: What Prometheus adds by itself.
TARGET = {"instance", "job"}


def expressions(text: str) -> list[str]:
    """Those of the dashboard, or the lines of the rules."""
    if not text.startswith("{"):
        return [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    panels = json.loads(text)["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


@pytest.mark.parametrize("file", ["grafana.json", "alerts.yml"])
def test_what_is_deployed_asks_for_what_there_is(file: str) -> None:
    seen = set()
    for line in expressions((ROOT / "deploy" / file).read_text()):
        names = set(re.findall(r"\bgateway_\w+", line))
        seen |= names
        for name in names:
            assert name in LABELS, f"{file} asks for {name}, which is not exposed"
        selected = re.findall(r"\bgateway_\w+\{([^}]*)\}", line)
        asked = {label for text in selected for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\"", text)}
        asked |= {label for text in re.findall(r"by \(([^)]*)\)", line) for label in text.split(", ")}
        if names:
            there = set().union(*(LABELS[name] for name in names)) | TARGET
            assert asked <= there, f"{file} asks for {asked - there} in {line}"
    assert len(seen) >= 8


def test_every_family_is_on_the_dashboard() -> None:
    text = (ROOT / "deploy" / "grafana.json").read_text()
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in LABELS}
    assert {name for name in families if name not in text} == set()


def test_every_family_is_documented(client: FlaskClient) -> None:
    text = (ROOT / "docs" / "observability.md").read_text()
    exposed = set(re.findall(r"^# TYPE (\w+) ", client.get("/metrics").text, re.MULTILINE))
    documented = set(re.findall(r"^\| `(gateway_\w+)", text, re.MULTILINE))
    assert documented == exposed
    for name, labels in LABELS.items():
        family = re.sub("_(bucket|sum|count)$", "", name)
        if shown := sorted(labels - {"le"}):
            (row,) = re.findall(rf"^\| `{family}\{{([^}}]*)\}}`", text, re.MULTILINE)
            assert sorted(row.split(", ")) == shown, family
