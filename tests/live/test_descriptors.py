"""No descriptor is left: who comes is told so, who is being served is served, and all is well afterwards."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from .conftest import KEY, MANY
from .servers import Gateway, Upstream, until
from .wire import ask, open_stream, send_raw

pytestmark = pytest.mark.live

LIMIT = 64


@pytest.fixture
def short(tmp_path: Path, scripted: Upstream):
    """One worker, with threads and streams for more than it has descriptors for."""
    env = {
        "GATEWAY_API_KEYS": KEY,
        "GATEWAY_UPSTREAMS": f"one={scripted.url}",
        "GATEWAY_WORKERS": "1",
        "GATEWAY_THREADS": "32",
        "GATEWAY_MAX_STREAMS": "200",
        "GATEWAY_RATE_LIMIT_PER_MINUTE": MANY,
        "GATEWAY_REQUEST_TIMEOUT_SECONDS": "10",
    }
    gateway = Gateway(tmp_path, KEY, env, wrap=["prlimit", f"--nofile={LIMIT}:{LIMIT}"])
    yield gateway
    gateway.stop()


def test_there_are_no_descriptors_left(short: Gateway):
    (worker,) = short.workers
    with ExitStack() as stack:
        streams = []
        for _ in range(LIMIT):
            with suppress(OSError):
                stream = stack.enter_context(open_stream(short.port, KEY, "one/ok,tokens=100,pause=0.03"))
                streams.append(stream)
        statuses = [stream.status for stream in streams]
        print(f"\n{statuses}")
        refused = [stream for stream in streams if stream.status != 200]
        served = [stream for stream in streams if stream.status == 200]
        for stream in refused:
            assert stream.status == 503
            assert stream.headers["retry-after"] == "1"
            assert json.loads(stream.read())["error"]["code"] == "overloaded"
        assert len(served) > 5
        assert len(refused) > 5
        for stream in served:
            assert stream.data()[-1] == "[DONE]"
    assert until(lambda: ask(short.port, "GET", "/health").status == 200)
    assert short.workers == [worker]
    assert short.chat("one/ok").status == 200
