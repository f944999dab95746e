"""Stops reading in the middle of large streams: each costs its buffer, and other callers notice nothing."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from typing import NamedTuple

import pytest
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.process_memory import cpu_of, pss_of
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import TIMEOUT, Stream, head, open_stream, stream_body

pytestmark = pytest.mark.live

BUFFER = 64 * 1024
#: The memory of a stream besides its buffer, bytes: events that arrived together, the incomplete event,
#: and its objects.
OVERHEAD = 256 * 1024
#: Far more than the socket buffers of both connections.
LARGE = "huge-event,size=60000,times={times}"
QUICK, CLOCK = "ok,tokens=30,pause=0.02", "clock,tokens=50,pause=0.02"


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, scripted: Upstream) -> Gateway:
    return start_gateway(
        GATEWAY_UPSTREAMS=f"one={scripted.url};mock=mock://local",
        GATEWAY_DEFAULT_UPSTREAM="one",
        GATEWAY_RATE_LIMIT_PER_MINUTE="0",
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES=UNLIMITED,
        GATEWAY_REQUEST_TIMEOUT_SECONDS="120",
        GATEWAY_SEND_TIMEOUT_SECONDS="120",
        GATEWAY_STREAM_BUFFER_BYTES=str(BUFFER),
    )


@contextmanager
def slow_reader(gateway: Gateway, model: str) -> Iterator[Stream]:
    """A stream whose head was read, on a socket with the smallest receive buffer."""
    encoded = json.dumps(stream_body(model)).encode()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        sock.settimeout(TIMEOUT)
        sock.connect(("127.0.0.1", gateway.port))
        length = f"Content-Length: {len(encoded)}"
        sock.sendall(head(gateway.port, "/v1/chat/completions", KEY, length) + encoded)
        with closing(Stream(sock)) as stream:
            yield stream


def digest(stream: Stream) -> str:
    """The digest of the rest of the stream."""
    said = sha256()
    while data := stream._response.read1(1 << 20):
        said.update(data)
    return said.hexdigest()


def crowd(gateway: Gateway, expected: bytes, streams: int, rounds: int) -> list[float]:
    """The delays of events that other callers see while they stream and chat, seconds, sorted.

    Asserts that each of them gets its own answer.
    """

    def quick(_: int) -> None:
        fields = {"stream_options": {"include_usage": True}}
        with open_stream(gateway.port, KEY, QUICK, **fields) as stream:
            assert stream.read() == expected
        assert gateway.chat("mock/any").status == 200

    late: list[float] = []

    def timed(_: int) -> None:
        with open_stream(gateway.port, KEY, CLOCK) as stream:
            for moment, data in stream.events():
                if sent := re.search(r'"at ([0-9.]+)"', data):
                    late.append(moment - float(sent[1]))

    with ThreadPoolExecutor(streams + 2) as pool:
        for _ in range(rounds):
            running = [pool.submit(quick, number) for number in range(streams)]
            running += [pool.submit(timed, number) for number in range(2)]
            for one in running:
                one.result()
    assert len(late) == 2 * 50 * rounds
    return sorted(late)


def at(share: float, values: list[float]) -> float:
    return values[int(share * (len(values) - 1))]


class Size(NamedTuple):
    """The size of a test.

    :param times: the length of the streams of the slow readers. :param streams: of other callers,
        besides two that measure.
    :param later: by how much the 99th percentile may be later than without slow readers, seconds.
    """

    readers: int
    times: int
    streams: int
    rounds: int
    later: float


def slow(gateway: Gateway, upstream: Upstream, size: Size) -> None:
    readers, times, streams, rounds, later = size
    model = LARGE.format(times=times)
    expected, quick = sha256(upstream.stream(model)).hexdigest(), upstream.stream(QUICK)
    before = crowd(gateway, quick, streams, rounds)
    # Warm up all threads and buffers first: their memory is not the cost of a slow reader.
    with ExitStack() as stack, ThreadPoolExecutor(readers) as pool:
        warm = [
            stack.enter_context(slow_reader(gateway, LARGE.format(times=times // 8))) for _ in range(readers)
        ]
        assert len(set(pool.map(digest, warm))) == 1
    upstream.reset()
    memory = pss_of(gateway)
    with ExitStack() as stack:
        opened = [stack.enter_context(slow_reader(gateway, model)) for _ in range(readers)]
        assert until(lambda: stands_still(gateway))
        assert [entry["ended"] for entry in upstream.requests()] == [None] * readers
        growth = pss_of(gateway) - memory
        meanwhile = crowd(gateway, quick, streams, rounds)
        growth = max(growth, pss_of(gateway) - memory)
        with ThreadPoolExecutor(readers) as pool:
            assert set(pool.map(digest, opened)) == {expected}
    told = {
        "readers": readers,
        "memory of each, KiB": round(growth / readers / 1024),
        "late before, ms": [round(1000 * at(share, before), 1) for share in (0.5, 0.99)],
        "late meanwhile, ms": [round(1000 * at(share, meanwhile), 1) for share in (0.5, 0.99)],
    }
    print(json.dumps(told))
    assert growth <= readers * (BUFFER + OVERHEAD), told
    assert at(0.5, meanwhile) < at(0.5, before) + 0.01, told
    assert at(0.99, meanwhile) < at(0.99, before) + later, told


def stands_still(gateway: Gateway) -> bool:
    """Whether the workers are idle."""
    before = cpu_of(gateway)
    time.sleep(0.3)
    return cpu_of(gateway) - before < 0.03


def test_slow_readers_cost_their_buffers_and_lose_nothing(gateway: Gateway, upstream: Upstream) -> None:
    slow(gateway, upstream, Size(readers=10, times=320, streams=6, rounds=1, later=0.25))


@pytest.mark.soak
def test_a_hundred_slow_readers(gateway: Gateway, upstream: Upstream) -> None:
    slow(gateway, upstream, Size(readers=100, times=640, streams=20, rounds=20, later=0.05))
