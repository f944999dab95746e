"""Tests the memory of request bodies: what counts, refusals, and that all of it is released."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.unreader import IterUnreader
from kit.calls import AUTH, chat

from flask_gateway.guards.body_memory import SMALL, BodyMemory
from flask_gateway.model.call import MESSAGES_BODY
from flask_gateway.model.errors import BodyNotReceived, Overloaded
from flask_gateway.web import request_body as reading
from flask_gateway.web.request_body import READ_STEP

MIB = 1024 * 1024


def memory(limit: int = 10 * MIB, largest: int = MIB, callers: int = 1) -> BodyMemory:
    bodies = BodyMemory()
    bodies.change(limit, largest, callers)
    return bodies


def test_bodies_are_accepted_up_to_the_limit():
    bodies = memory()
    leases = [bodies.lease("one") for _ in range(10)]
    for lease in leases:
        lease.hold(MIB)
    late = bodies.lease("one")
    with pytest.raises(Overloaded) as refused:
        late.hold(MIB)
    assert refused.value.retry_after is not None
    leases[0].release()
    late.hold(MIB)
    assert bodies.used == 10 * MIB


def test_a_body_counts_as_it_grows():
    bodies = memory()
    lease = bodies.lease("one")
    for size in (MIB // 4, MIB // 2, MIB):
        lease.hold(size)
        assert bodies.used == size
    lease.hold(MIB // 2)  # it does not shrink while it is read
    assert bodies.used == MIB


def test_small_bodies_are_never_refused():
    bodies = memory()
    bodies.lease("one").hold(10 * MIB)
    small = bodies.lease("two")
    small.hold(SMALL)
    assert bodies.used == 10 * MIB


def test_a_lease_is_released_once():
    bodies = memory()
    one, other = bodies.lease("one"), bodies.lease("one")
    one.hold(MIB)
    other.hold(MIB)
    for _ in range(3):
        one.release()
    assert bodies.used == MIB
    other.hold(0)
    assert bodies.used == 0
    assert bodies._by_caller == {}


def test_one_of_several_callers_cannot_use_all_the_memory():
    bodies = memory(callers=2)
    mine = [bodies.lease("one") for _ in range(8)]
    for lease in mine[:7]:
        lease.hold(MIB)
    with pytest.raises(Overloaded, match="this key"):
        mine[7].hold(MIB)
    bodies.lease("two").hold(2 * MIB)


def test_one_body_of_the_largest_size_always_fits():
    bodies = memory(limit=1, largest=MIB, callers=2)
    bodies.lease("one").hold(MIB)
    with pytest.raises(Overloaded):
        bodies.lease("two").hold(SMALL + 1)


def test_threads_count_exactly():
    bodies = memory(limit=1 << 40)

    def work() -> None:
        for _ in range(300):
            lease = bodies.lease("one")
            lease.hold(SMALL + 1)
            lease.hold(2 * SMALL)
            lease.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies.used == 0


# ------------------------------------------------------------------ chunks of a few bytes


class Source:
    """The part of a request that gunicorn's chunked reader uses."""

    limit_request_field_size, max_buffer_headers = 8190, 65536


def chunked(size: int, count: int) -> Body:
    sent = b"%x\r\n%b\r\n" % (size, b"x" * size) * count + b"0\r\n\r\n"
    pieces = [sent[at : at + 8192] for at in range(0, len(sent), 8192)]
    return Body(ChunkedReader(Source(), IterUnreader(pieces)))


@pytest.mark.parametrize(("size", "count"), [(1, 2000), (300, 3000), (1024, 4096), (65536, 128)])
def test_chunks_of_a_usual_size_are_read(size: int, count: int):
    assert len(reading._read(chunked(size, count), 16 * MIB, lambda held: None)) == size * count


def test_a_large_body_in_one_byte_chunks_is_refused_early():
    begun = time.thread_time()
    with pytest.raises(BodyNotReceived, match="larger chunks"):
        reading._read(chunked(1, MIB), 16 * MIB, lambda held: None)
    assert time.thread_time() - begun < 1.0  # of 3 for all of it


# ------------------------------------------------------------------ in the application


LARGE = {"messages": [{"role": "user", "content": "x" * (3 * SMALL)}]}


def used(client: FlaskClient) -> int:
    return client.application.extensions["gateway"].body_memory.used  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (chat("mock", **LARGE), 200),
        (chat("mock", stream=True, **LARGE), 200),
        (chat("mock", n="x", **LARGE), 400),
        (chat("nowhere", **LARGE), 404),
        ({"model": "mock", "x": "y" * (3 * SMALL)}, 400),
    ],
)
def test_the_memory_is_released_however_the_call_ends(
    make_client: Callable[..., FlaskClient], body: dict[str, Any], status: int
):
    client = make_client(default_upstream=None)
    answer = client.post("/v1/chat/completions", json=body, headers=AUTH)
    assert answer.status_code == status
    answer.get_data()
    answer.close()
    assert used(client) == 0


def test_a_streams_body_counts_until_its_end(make_client: Callable[..., FlaskClient]):
    client = make_client()
    answer = client.post("/v1/chat/completions", json=chat("mock", stream=True, **LARGE), headers=AUTH)
    parts = iter(answer.response)
    next(parts)
    assert used(client) > 3 * SMALL
    answer.close()
    assert used(client) == 0


def test_a_body_over_the_limit_is_refused_with_503_and_small_ones_pass(
    make_client: Callable[..., FlaskClient],
):
    client = make_client(body_memory_bytes=1, max_body_bytes=4 * SMALL)
    # The memory holds the largest body of the Messages API, at least: two of these.
    streams = [
        client.post("/v1/chat/completions", json=chat("mock", stream=True, **LARGE), headers=AUTH)
        for _ in range(MESSAGES_BODY)
    ]
    for stream in streams:
        next(iter(stream.response))
    refused = client.post("/v1/chat/completions", json=chat("mock", **LARGE), headers=AUTH)
    assert refused.status_code == 503
    assert refused.json["error"]["code"] == "overloaded"
    assert refused.headers["Retry-After"] == "1"
    assert client.post("/v1/chat/completions", json=chat("mock"), headers=AUTH).status_code == 200
    for stream in streams:
        stream.close()
    assert client.post("/v1/chat/completions", json=chat("mock", **LARGE), headers=AUTH).status_code == 200
    assert used(client) == 0


# ------------------------------------------------------------------ reading


class Slow(BytesIO):
    """Returns fewer bytes than requested, as some servers do."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 700_001))


class Direct:
    """Reads into a buffer, like our own server's input; it returns only bytes that have arrived."""

    def __init__(self, sent: bytes) -> None:
        self._sent = BytesIO(sent)

    def readinto(self, view: memoryview) -> int:
        return self._sent.readinto(view[:70_001])


@pytest.fixture(params=[BytesIO, Slow, Direct])
def stream_of(request: pytest.FixtureRequest) -> Callable[[bytes], BytesIO]:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("length", [0, 1, 1000, READ_STEP - 1, READ_STEP, READ_STEP + 1, 3 * READ_STEP + 5])
def test_the_body_is_read_completely_and_counted_as_it_arrives(
    stream_of: Callable[[bytes], BytesIO], length: int
):
    sent = bytes(range(256)) * (length // 256) + b"." * (length % 256)
    for size in (length, length + READ_STEP):  # announced, and in chunks
        told: list[int] = []
        assert reading._read(stream_of(sent), size, told.append) == sent
        assert told == sorted(told)
        assert max(told, default=0) == length
        assert all(later - before <= READ_STEP for before, later in zip([0, *told], told, strict=False))
