"""The page while the gateway is full and while its store is broken: it answers, and says what is broken."""

from __future__ import annotations

import socket
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from kit.admins import ADMIN_KEY
from kit.gateways import KEY, UNLIMITED
from kit.needs import need
from kit.page_session import JSON, PAGES, PageSession
from kit.servers import Gateway, Upstream
from kit.stores import RedisServer
from kit.waiting import until
from kit.wire import open_stream

pytestmark = [pytest.mark.live, pytest.mark.browser]

#: The most that a page may take, seconds.
MOST = 0.3


def settings(folder: Path, **more: str) -> dict[str, str]:
    ledger = folder / "gateway.toml"
    ledger.write_text(f'[ledger]\ndata = "{folder / "data"}"\n')
    return {"GATEWAY_CONFIG": str(ledger), "GATEWAY_ADMIN_KEY": ADMIN_KEY, "GATEWAY_API_KEYS": KEY, **more}


def times(session: PageSession) -> list[float]:
    """The seconds of each page, the best of three, because the machine has other work; all of them answer."""
    found = []
    for page in (*PAGES, *JSON):
        asked = [session.timed(page) for _ in range(3)]
        assert [answer.status for answer, _ in asked] == [200] * 3, (page, asked)
        found.append(min(seconds for _, seconds in asked))
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, scripted: Upstream) -> Iterator[Gateway]:
    """Two workers of eight threads, of which calls may hold six, and of ten streams."""
    folder = tmp_path_factory.mktemp("small")
    more = {
        "GATEWAY_UPSTREAMS": f"one={scripted.url}",
        "GATEWAY_THREADS": "8",
        "GATEWAY_MAX_STREAMS": "10",
        "GATEWAY_RATE_LIMIT_PER_MINUTE": "0",
        "GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES": UNLIMITED,
    }
    gateway = Gateway(folder, KEY, settings(folder, **more))
    yield gateway
    gateway.stop()


def test_a_full_gateway_says_so_at_once(small: Gateway, scripted: Upstream) -> None:
    session = PageSession(small.url)
    assert until(lambda: session.get("spend").status == 200)
    usual = statistics.median(times(session))
    with ExitStack() as stack, ThreadPoolExecutor(40) as pool:
        for _ in range(12):
            stack.enter_context(open_stream(small.port, KEY, "one/stall"))
        calls = [pool.submit(small.chat, "one/ok,first=8") for _ in range(40)]
        assert until(lambda: any(call.done() and call.result().status == 503 for call in calls))
        taken = times(session)
        print(f"pages of a full gateway: median {statistics.median(taken):.3f} s, most {max(taken):.3f} s")
        print(f"of an idle one: median {usual:.3f} s")
        assert max(taken) < MOST
        said = session.get("overview").body.decode()
        assert "the gateway is full" in said
        assert "503 overloaded" in said
    assert sum(call.result().status == 503 for call in calls) >= 20


def first_of(line: socket.socket) -> bytes:
    """The beginning of an answer, up to the first event of a feed or the end of a refusal."""
    received = b""
    while b"data: " not in received and not received.startswith(b"HTTP/1.1 503"):
        data = line.recv(65536)
        assert data, received
        received += data
    return received


def test_a_hundred_live_pages_hold_no_thread_and_there_is_a_bound(small: Gateway) -> None:
    session = PageSession(small.url)
    with ExitStack() as stack:
        topics = ("overview", "upstreams", "requests")
        lines = [stack.enter_context(session.opened(f"live?topic={topics[n % 3]}")) for n in range(100)]
        assert all(b" 200 OK" in first_of(line) for line in lines)
        # 100 pages are live on 16 threads, and calls and pages are answered beyond them.
        assert [small.chat("one/ok").status for _ in range(12)] == [200] * 12
        assert statistics.median(times(session)) < MOST
        more = [stack.enter_context(session.opened("live?topic=overview")) for _ in range(180)]
        answers = [first_of(line) for line in more]
        refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503")]
        assert 0 < len(refused) < 180
        assert session.get("overview").status == 200


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_a_broken_store_is_named_at_once(how: str, tmp_path: Path) -> None:
    need("redis-server")
    with RedisServer() as redis:
        more = {"GATEWAY_STATE": redis.url, "GATEWAY_UPSTREAMS": "mock=mock://local"}
        gateway = Gateway(tmp_path, KEY, settings(tmp_path, **more))
        try:
            session = PageSession(gateway.url)
            assert until(lambda: session.get("spend").status == 200)
            if how == "frozen":
                redis.freeze()
            else:
                redis.kill()
            gateway.chat("mock/m")
            taken = times(session)
            print(f"{how} store: median {statistics.median(taken):.3f} s, most {max(taken):.3f} s")
            assert max(taken) < MOST
            for page in ("overview", "requests", "health"):
                assert "The store of limits and breakers is degraded" in session.get(page).body.decode()
            if how == "frozen":
                redis.thaw()
        finally:
            gateway.stop()
