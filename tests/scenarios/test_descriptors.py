"""Uses up all descriptors: new calls get a 503, running ones finish, and the worker recovers."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from kit.gateways import KEY, UNLIMITED
from kit.scrape import figures
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import Answer, ask, open_stream

pytestmark = pytest.mark.live

LIMIT = 64


@pytest.fixture
def short(tmp_path: Path, scripted: Upstream):
    """One worker with more threads and streams than descriptors."""
    env = {
        "GATEWAY_API_KEYS": KEY,
        "GATEWAY_UPSTREAMS": f"one={scripted.url}",
        "GATEWAY_WORKERS": "1",
        "GATEWAY_THREADS": "32",
        "GATEWAY_MAX_STREAMS": "200",
        "GATEWAY_RATE_LIMIT_PER_MINUTE": UNLIMITED,
        "GATEWAY_REQUEST_TIMEOUT_SECONDS": "10",
        "GATEWAY_ANSWER_TIMEOUT_SECONDS": "10",
    }
    gateway = Gateway(tmp_path, KEY, env, wrap=["prlimit", f"--nofile={LIMIT}:{LIMIT}"])
    yield gateway
    gateway.stop()


def test_calls_without_a_descriptor_get_a_503(short: Gateway):
    (worker,) = short.workers
    with ExitStack() as stack:
        # These calls find no descriptor for the upstream connection ...
        model = "one/ok,tokens=100,pause=0.02"
        streams = [stack.enter_context(open_stream(short.port, KEY, model)) for _ in range(LIMIT // 2)]
        served = [stream for stream in streams if stream.status == 200]
        refused = [Answer(one.status, one.headers, one.read()) for one in streams if one.status != 200]
        # ... and these find none for themselves, after silent callers have taken the last.
        unaccepted: list[Answer] = []
        for _ in range(LIMIT):
            stack.enter_context(socket.create_connection(("127.0.0.1", short.port))).sendall(b"G")
            answer = ask(short.port, "GET", "/health")
            if answer.status != 200:
                unaccepted.append(answer)
            if len(unaccepted) == 3:
                break
        assert unaccepted
        for answer in [*refused, *unaccepted]:
            assert (answer.status, answer.error["code"]) == (503, "overloaded")
            assert answer.headers["retry-after"] == "1"
        assert len(served) > 5
        assert len(refused) > 5
        for stream in served:
            assert stream.data()[-1] == "[DONE]"
    # The worker has recovered. Each refusal is counted and logged; none counts against the upstream.
    assert until(lambda: ask(short.port, "GET", "/health").status == 200)
    assert short.workers == [worker]
    assert short.chat("one/ok").status == 200
    counted = figures(short, "requests_total", "status")["503"]
    assert counted >= len(refused) + len(unaccepted)  # and some of the silent callers
    assert counted == short.stderr.count('"code":"overloaded"')
    assert len(unaccepted) <= figures(short, "shed_total", "reason")["descriptors"] <= counted
