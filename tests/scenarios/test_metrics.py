"""Compares ``/metrics`` over several workers with the client's own count, even after a worker has died."""

from __future__ import annotations

import http.client
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path

import pytest
from kit.gateways import UNLIMITED, StartGateway
from kit.scrape import figures
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import PROMPT, ask, open_stream, send_raw

pytestmark = pytest.mark.live


def directory(gateway: Gateway) -> Path:
    """The metrics directory of the gateway: its workers hold it open."""
    links = []
    for link in Path(f"/proc/{gateway.workers[0]}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(link.readlink())
    (found,) = [link for link in links if link.name.startswith("flask-gateway-metrics-")]
    return found


def started(start_gateway: StartGateway, scripted: Upstream) -> Gateway:
    return start_gateway(
        GATEWAY_UPSTREAMS=f"scripted={scripted.url};mock=mock://local",
        GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED,
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES=UNLIMITED,
    )


@pytest.fixture
def counted(start_gateway: StartGateway, scripted: Upstream) -> Gateway:
    """A gateway whose counters begin at nothing."""
    return started(start_gateway, scripted)


@pytest.fixture(scope="module")
def shared(start_gateway: StartGateway, scripted: Upstream) -> Gateway:
    """A gateway for the tests of gauges and differences."""
    return started(start_gateway, scripted)


def test_counters_equal_the_clients_count_after_a_worker_was_killed(counted: Gateway) -> None:
    seen: Counter[str] = Counter()

    def ask_once(number: int) -> str:
        kind = number % 4
        if kind == 0:
            with open_stream(counted.port, counted.key, "scripted/ok,tokens=3") as stream:
                assert stream.data()[-1] == "[DONE]"
                return "scripted 200 stream"
        if kind == 1:
            return f" {counted.ask('GET', '/nothing').status}"
        model = ("mock", "scripted/status,code=400")[kind - 2]
        return f"{model.partition('/')[0]} {counted.chat(model).status}"

    with ThreadPoolExecutor(8) as pool:
        for between in (killed, reloaded, None):
            answers = Counter(pool.map(ask_once, range(80)))
            complete = answers.pop("scripted 200 stream")
            seen.update(answers, **{"scripted 200": complete})
            calls = {kind: count for kind, count in seen.items() if not kind.startswith(" ")}
            assert figures(counted, "requests_total", "upstream", "status") == seen
            assert figures(counted, "request_duration_seconds_count", "upstream") == {
                upstream: sum(count for kind, count in calls.items() if kind.startswith(upstream))
                for upstream in ("mock", "scripted")
            }
            assert figures(counted, "stream_outcomes_total", "outcome")["complete"] == seen["scripted 200"]
            assert figures(counted, "ratelimit_decisions_total", "decision") == {
                "admitted": sum(calls.values())
            }
            if between is not None:
                seen["scripted 499"] += between(counted)
                assert until(
                    lambda: figures(counted, "requests_total", "status")["499"] == seen["scripted 499"], 5
                )
    # The files outlive their workers: two workers, and two more during the reload.
    places = {file.stem.rpartition("_")[2] for file in directory(counted).glob("counter_*.db")}
    assert places <= {"0", "1", "2", "3"}
    # The dead worker and those that the reload ended have no process metrics.
    assert until(lambda: len(figures(counted, "process_resident_memory_bytes", "worker")) == 2, 10)
    assert sum(figures(counted, "attempt_duration_seconds_count", "upstream").values()) == sum(
        figures(counted, "attempts_total", "upstream").values()
    )


def killed(gateway: Gateway) -> int:
    """Kill a worker with streams. Returns how many streams of the other worker continued to their end."""
    before = gateway.workers
    with ExitStack() as stack:
        streams = [
            stack.enter_context(
                open_stream(gateway.port, gateway.key, "scripted/ok,tokens=1000,pause=0.02")
            ).events()
            for _ in range(6)
        ]
        for stream in streams:
            next(stream)
        os.kill(before[0], signal.SIGKILL)
        left = sum(goes_on(stream) for stream in streams)
    assert until(lambda: len(gateway.workers) == 2 and before[0] not in gateway.workers)
    return left


def goes_on(stream: Iterator[tuple[float, str]]) -> bool:
    try:
        return len(list(islice(stream, 50))) == 50
    except (http.client.HTTPException, OSError):
        return False


def reloaded(gateway: Gateway) -> int:
    gateway.reload()
    return 0


@pytest.mark.long
def test_the_answers_of_a_killed_worker_are_counted(counted: Gateway) -> None:
    """Kill a worker under load. Each answer is counted once, each unanswered request at most once."""

    def ask_once(number: int) -> str:
        try:
            if number % 2:
                return str(counted.chat("mock").status)
            with open_stream(counted.port, counted.key, "mock") as stream:
                return str(stream.status) if stream.data()[-1] == "[DONE]" else "cut"
        except (OSError, http.client.HTTPException, IndexError):
            return "cut"

    for _ in range(2):
        before = figures(counted, "requests_total", "status")["200"]
        streams = figures(counted, "stream_outcomes_total", "outcome")["complete"]
        victim = counted.workers[0]
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask_once, number) for number in range(300)]
            assert until(lambda asked=asked: sum(one.done() for one in asked) > 100)
            os.kill(victim, signal.SIGKILL)
            said = [one.result() for one in asked]
        assert until(lambda victim=victim: len(counted.workers) == 2 and victim not in counted.workers)
        answered, cut = said.count("200"), said.count("cut")
        assert answered + cut == 300
        assert cut < 20  # the calls in flight or queued at the killed worker
        after = figures(counted, "requests_total", "status")
        assert answered <= after["200"] - before <= answered + cut
        whole = said[::2].count("200")
        assert (
            whole
            <= figures(counted, "stream_outcomes_total", "outcome")["complete"] - streams
            <= whole + said[::2].count("cut")
        )
        assert set(after) == {"200"}


def test_calls_in_flight_are_shown_until_they_end(shared: Gateway) -> None:
    def shown() -> tuple[float, float, float]:
        ages = figures(shared, "requests_in_flight_by_age", "le")
        inflight = figures(shared, "requests_in_flight", "upstream")["scripted"]
        return inflight, figures(shared, "streams_active")[""], ages["10.0"]

    with ExitStack() as stack:
        for _ in range(4):
            model = "scripted/ok,tokens=1000,pause=0.02"
            stream = stack.enter_context(open_stream(shared.port, shared.key, model))
            next(stream.events())
        assert until(lambda: shown() == (4, 4, 4), 5), shown()
    assert until(lambda: shown() == (0, 0, 0), 5), shown()


def test_requests_that_are_not_http_are_counted_and_logged(shared: Gateway) -> None:
    refused = {
        400: [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nbad name: 1\r\n\r\n"],
        414: [b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
        431: [b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100 + b"\r\n"],
        501: [b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n"],
    }
    before = figures(shared, "requests_total", "route", "status", "code")
    for status, requests in refused.items():
        for request in requests:
            answer = send_raw(shared.port, request)
            assert (answer.status, answer.error["code"]) == (status, "bad_request")
            line = shared.logged(answer.headers["x-request-id"])
            assert (line["status"], line["code"]) == (status, "bad_request")
            assert not {"method", "path", "key"} & set(line)
    counts = figures(shared, "requests_total", "route", "status", "code") - before
    assert {kind: count for kind, count in counts.items() if kind.startswith("other ")} == {
        f"other {status} bad_request": len(requests) for status, requests in refused.items()
    }


def test_the_gauges_of_a_dead_worker_disappear(shared: Gateway) -> None:
    where = directory(shared)

    def live() -> list[str]:
        return sorted(file.name for file in where.glob("gauge_livesum_*.db"))

    both = ["gauge_livesum_0.db", "gauge_livesum_1.db"]
    assert until(lambda: live() == both)
    with ExitStack() as stack:
        # Keep the file open: the inode number of a removed file may be reused.
        held = [stack.enter_context((where / file).open("rb")) for file in both]
        victim = shared.workers[0]
        os.kill(victim, signal.SIGKILL)
        assert until(lambda: len(shared.workers) == 2 and victim not in shared.workers)
        # The master removes the file when it learns of the death, and the new worker makes another.
        assert until(lambda: sum(os.fstat(file.fileno()).st_nlink == 0 for file in held) == 1)
        assert until(lambda: live() == both)


def test_the_number_of_streams_and_the_relays_lag_are_shown(shared: Gateway) -> None:
    def figure(name: str) -> float:
        return figures(shared, name)[""]

    began, turns = time.monotonic(), figure("event_loop_lag_seconds_count")
    with ExitStack() as stack:
        for _ in range(5):
            model = "scripted/ok,tokens=1000,pause=0.02"
            stack.enter_context(open_stream(shared.port, shared.key, model))
        assert until(lambda: figure("streams_active") == 5)
        assert shared.ask("GET", "/v1/circuit-breakers").json["streams"] == {"live": 5}
    assert until(lambda: figure("streams_active") == 0)
    # Each worker updates the value once a second.
    assert 1 <= figure("event_loop_lag_seconds_count") - turns <= 2 * (time.monotonic() - began) + 2
    assert figure("event_loop_lag_seconds_sum") > 0


def test_each_gateway_has_its_own_directory_and_removes_it(
    shared: Gateway, gateway: Gateway, start_gateway: StartGateway
) -> None:
    mine, other = directory(shared), directory(gateway)
    assert mine != other
    assert mine.stat().st_mode & 0o777 == 0o700
    left = Path(
        tempfile.mkdtemp(prefix="flask-gateway-metrics-", dir=mine.parent)
    )  # as a killed gateway leaves it
    (left / "counter_0.db").write_bytes(b"")
    third = start_gateway(GATEWAY_WORKERS="1")
    assert not left.exists()
    assert mine.is_dir()
    assert other.is_dir()
    gone = directory(third)
    third.stop()
    assert not gone.exists()


def test_metrics_are_for_this_machine_only(gateway: Gateway) -> None:
    assert ask(gateway.port, "GET", "/metrics").status == 200
    for header in ("x-forwarded-for", "x-real-ip", "forwarded"):
        assert ask(gateway.port, "GET", "/metrics", headers={header: "192.0.2.1"}).status == 401
        assert gateway.ask("GET", "/metrics", **{header: "192.0.2.1"}).status == 404


def test_metrics_show_no_secret(gateway: Gateway) -> None:
    gateway.chat(PROMPT.partition(" ")[2])
    text = ask(gateway.port, "GET", "/metrics").body.decode()
    assert not [secret for secret in gateway.secrets if secret in text]


def test_readyz_answers(gateway: Gateway) -> None:
    for path, body in (("/readyz", b'{"status":"ready"}'), ("/health/liveliness", b'{"status":"ok"}')):
        answer = ask(gateway.port, "GET", path)
        assert (answer.status, answer.body) == (200, body)


def test_prompts_are_logged_when_enabled(start_gateway: StartGateway) -> None:
    gateway = start_gateway(GATEWAY_LOG_PROMPTS="on", GATEWAY_WORKERS="1")
    said = "Words that are meant to be in the log."
    body = {"model": "mock", "messages": [{"role": "user", "content": said}]}
    answer = gateway.ask("POST", "/v1/chat/completions", body)
    assert said in gateway.logged(answer.headers["x-request-id"])["prompt"]
    assert "warning: prompts are written to the log" in gateway.stderr
