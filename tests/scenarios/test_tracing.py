"""Traces of running gateways, and a receiver that is well, refuses, hangs or answers 503."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from kit.gateways import KEY, UNLIMITED, UPSTREAM_KEY, StartGateway
from kit.otlp_receiver import OtlpReceiver
from kit.scrape import figures
from kit.servers import Gateway, Upstream, headers_of
from kit.waiting import until
from kit.wire import PROMPT

pytestmark = pytest.mark.live

CALLERS_SPAN = "b7ad6b7169203331"
#: A prompt that one test logs and exports on purpose.
SHOWN = "How are you today?"


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as started:
        yield started


def environment(receiver: OtlpReceiver, scripted: Upstream) -> dict[str, str]:
    return {
        "GATEWAY_WORKERS": "1",
        "GATEWAY_UPSTREAMS": f"first={scripted.url};second={scripted.url};mock=mock://local",
        "GATEWAY_UPSTREAM_FIRST_API_KEY": UPSTREAM_KEY,
        "GATEWAY_DEFAULT_UPSTREAM": "first",
        "GATEWAY_FALLBACKS": "spared=second/ok",
        "GATEWAY_RATE_LIMIT_PER_MINUTE": UNLIMITED,
        "GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES": UNLIMITED,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
        # So the tests see that failures are kept in spite of it.
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
    }


@pytest.fixture(scope="module")
def traced(start_gateway: StartGateway, receiver: OtlpReceiver, scripted: Upstream) -> Gateway:
    return start_gateway(**environment(receiver, scripted))


@pytest.fixture(autouse=True)
def _well(receiver: OtlpReceiver) -> None:
    receiver.mode = "ok"


def traceparent(*, sampled: bool) -> tuple[str, dict[str, str]]:
    """A new trace of a caller: its id, and the headers that continue it."""
    trace = secrets.token_hex(16)
    return trace, {"traceparent": f"00-{trace}-{CALLERS_SPAN}-{'01' if sampled else '00'}"}


def test_a_stream_that_failed_over_is_three_spans_with_usage_once(
    traced: Gateway, receiver: OtlpReceiver, upstream: Upstream
) -> None:
    trace, headers = traceparent(sampled=False)  # a failover is kept although nobody sampled it
    upstream.script("status,code=503", "ok,tokens=3")
    assert b"[DONE]" in traced.chat("spared", stream=True, headers=headers).body
    request, first, second = receiver.trace(trace, 3)
    assert (request.server, request.parent) == (True, CALLERS_SPAN)
    assert {first.parent, second.parent} == {request.span}
    sent = [headers_of(entry)["traceparent"].split("-") for entry in upstream.requests()]
    assert [(ids[1], ids[2]) for ids in sent] == [(trace, first.span), (trace, second.span)]
    assert request.started <= first.started <= first.ended <= second.started < second.ended <= request.ended
    assert second.ended == request.ended  # the end of the stream
    with_usage = [span for span in (request, first, second) if "gen_ai.usage.input_tokens" in span.attributes]
    assert with_usage == [second]
    assert (first.attributes["error.type"], first.attributes["gateway.upstream"]) == ("503", "first")
    assert second.attributes["gen_ai.response.id"] == "chatcmpl-scripted"
    assert second.attributes["gen_ai.usage.output_tokens"] == 5
    assert (request.failed, first.failed, second.failed) == (False, True, False)


def test_of_good_calls_the_callers_flag_decides(
    traced: Gateway, receiver: OtlpReceiver, upstream: Upstream
) -> None:
    kept, sampled = traceparent(sampled=True)
    left_out, unsampled = traceparent(sampled=False)
    assert traced.chat("mock", headers=unsampled).status == 200
    assert traced.chat("mock", headers=sampled).status == 200
    failed, headers = traceparent(sampled=False)
    assert traced.chat("first/status,code=400", headers=headers).status == 400
    refused, unknown = traceparent(sampled=False)
    assert traced.ask("GET", "/nothing", x_api_key="wrong", **unknown).status == 401
    for trace in (kept, failed, refused):
        assert receiver.trace(trace)
    assert until(lambda: figures(traced, "traces_total", "result")["not_sampled"] >= 1)
    assert not receiver.of(left_out)


def test_no_secret_and_no_text_leaves_unasked(
    traced: Gateway, receiver: OtlpReceiver, upstream: Upstream
) -> None:
    trace, headers = traceparent(sampled=True)
    assert traced.chat("first/ok", headers=headers).status == 200
    assert receiver.trace(trace, 2)
    sent = b"".join(receiver.bodies)
    assert b"POST /v1/chat/completions" in sent
    for secret in (PROMPT, KEY, UPSTREAM_KEY, "tok0"):
        assert secret.encode() not in sent


def test_texts_are_there_when_both_switches_are_on_and_a_worker_that_ends_sends_the_last(
    start_gateway: StartGateway, receiver: OtlpReceiver, scripted: Upstream, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        'log_prompts = "on"\n[upstreams.mock]\nurl = "mock://local"\n'
        '[keys.open]\nkey_env = "OPEN_KEY"\n[keys.quiet]\nkey_env = "QUIET_KEY"\ncontent = false\n'
    )
    file.chmod(0o600)
    settings = {name: value for name, value in environment(receiver, scripted).items() if "OTEL" in name}
    gateway = start_gateway(
        "open-key-of-the-test",
        GATEWAY_CONFIG=str(file),
        GATEWAY_WORKERS="1",
        OPEN_KEY="open-key-of-the-test",
        QUIET_KEY="quiet-key-of-the-test",
        OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="SPAN_ONLY",
        **settings,
    )
    for key, shown in (("open-key-of-the-test", True), ("quiet-key-of-the-test", False)):
        trace, headers = traceparent(sampled=True)
        body = {"model": "mock", "messages": [{"role": "user", "content": SHOWN}]}
        answer = gateway.ask("POST", "/v1/chat/completions", body, x_api_key=key, **headers)
        assert answer.status == 200
        _, attempt = receiver.trace(trace, 2)
        assert (SHOWN in attempt.attributes.get("gen_ai.input.messages", "")) is shown
        assert ("gen_ai.output.messages" in attempt.attributes) is shown
        assert (SHOWN in str(gateway.logged(answer.headers["x-request-id"]))) is shown
    trace, headers = traceparent(sampled=True)
    assert gateway.ask("POST", "/v1/chat/completions", body, **headers).status == 200
    gateway.stop()
    assert len(receiver.of(trace)) == 2


def timed_calls(gateway: Gateway, calls: int) -> list[float]:
    """Make calls on four threads; the seconds that each took."""

    def call(number: int) -> float:
        began = time.monotonic()
        assert gateway.chat("mock").status == 200
        return time.monotonic() - began

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(call, range(calls)))


@pytest.mark.parametrize(
    "modes", [pytest.param(("busy", "refuse"), marks=pytest.mark.long), pytest.param(("hang",))]
)
def test_a_receiver_in_trouble_harms_no_call_and_no_end(
    start_gateway: StartGateway, receiver: OtlpReceiver, scripted: Upstream, modes: tuple[str, ...]
) -> None:
    gateway = start_gateway(**{**environment(receiver, scripted), "OTEL_TRACES_SAMPLER": "always_on"})
    for mode in modes:
        receiver.mode, before = mode, receiver.asked
        failed = figures(gateway, "traces_total", "result")["failed"]
        timed_calls(gateway, 10)
        assert until(lambda before=before: receiver.asked > before)  # an export has begun
        assert max(timed_calls(gateway, 50)) < 3.0  # where it hangs, an export takes that long at least
        if mode != "hang":
            assert until(lambda failed=failed: figures(gateway, "traces_total", "result")["failed"] > failed)
    began = time.monotonic()
    gateway.stop()
    assert time.monotonic() - began < 5 + 2 + 3  # the grace, the last export, a loaded machine
    assert gateway.stderr.count("Failed to export") <= 2  # not a line for each export


def test_without_a_receiver_nothing_of_it_is_imported() -> None:
    program = (
        "import sys; from flask_gateway import create_app; create_app();"
        "print([name for name in sys.modules if 'opentelemetry' in name or 'tracing' in name"
        " or name.endswith('app.traces')])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_spans_of_retries_follow_each_other(
    traced: Gateway, receiver: OtlpReceiver, upstream: Upstream
) -> None:
    trace, headers = traceparent(sampled=False)
    upstream.script("status,code=500", "status,code=500", "ok")
    assert traced.chat("spared", headers=headers).status == 200
    _, *attempts = receiver.trace(trace, 4)
    assert [span.attributes["gateway.attempt"] for span in attempts] == [1, 2, 3]
    assert all(int(after.span, 16) - int(before.span, 16) == 1 for before, after in pairwise(attempts))
