"""Aborts exchanges from another thread, in every phase and over TLS. No other exchange is hit."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from kit.exchanges import OVERSHOOT, Bench, call, collect, open_files, unreachable
from kit.servers import Upstream
from kit.tls import TLSRelay, make_certificate
from kit.waiting import until

from flask_gateway.model.call import Call, Outcome
from flask_gateway.model.errors import CallerLeft, GatewayError, UpstreamCut, UpstreamUnreachable, Verdict
from flask_gateway.model.reply import Reply
from flask_gateway.upstreams.http_upstream import HttpUpstream
from flask_gateway.upstreams.transport.client import ResponseSource
from flask_gateway.upstreams.transport.connection import UpstreamConnection

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def bench(certificate: Path) -> Iterator[Bench]:
    made = Bench(verify=str(certificate))
    yield made
    made.close()


@pytest.fixture(scope="module")
def relay(certificate: Path, scripted: Upstream) -> Iterator[TLSRelay]:
    """The scripted upstream behind TLS."""
    made = TLSRelay(certificate, scripted.port)
    yield made
    made.stop()


@pytest.fixture(params=["plain", "tls"])
def one(
    request: pytest.FixtureRequest, bench: Bench, upstream: Upstream, relay: TLSRelay
) -> Iterator[HttpUpstream]:
    if request.param == "plain":
        yield bench.upstream(upstream.url)
    else:
        yield bench.upstream(relay.url)
        collect()


def cancel_in(
    asked: Call, seconds: float, condition: Callable[[], object] = lambda: True
) -> Callable[[], float]:
    """Abort the call after a delay, once the condition holds. Returns the seconds since the abort."""
    moment: list[float] = []

    def cancel() -> None:
        until(condition)
        moment.append(time.monotonic())
        asked.cancellation.cancel(CallerLeft("gone"))

    threading.Timer(seconds, cancel).start()
    return lambda: time.monotonic() - moment[0]


def left(upstream: Upstream) -> None:
    """Assert that the upstream soon sees the connection of its last request closed."""
    assert until(lambda: upstream.requests() and upstream.last()["ended"]) == "peer left"


# ---------------------------------------------------------------- an abort in every phase


@pytest.mark.parametrize(
    ("behaviour", "stream"),
    [
        ("never", False),
        ("never", True),
        ("head-drip", True),
        ("head-only", False),
        ("murmur", False),
        ("murmur", True),
        ("stall,after=-1", True),
        ("stall,after=1", False),
        ("stall,after=1,framing=close", False),
        ("drip,pause=0.05", True),
    ],
)
def test_an_abort_before_the_reply_is_committed(one: HttpUpstream, upstream: Upstream, behaviour, stream):
    asked = call(behaviour, stream=stream)
    # On a loaded machine the request takes longer than that to arrive.
    since = cancel_in(asked, 0.05, upstream.requests)
    with pytest.raises(CallerLeft) as caught:
        one.send(asked).prime()
    assert since() < OVERSHOOT
    assert caught.value is asked.cancellation.error
    assert caught.value.upstream == "one"
    left(upstream)
    assert len(upstream.requests()) == 1


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("behaviour", ["stall,after=2", "ok,tokens=1000,pause=0.01"])
def test_an_abort_in_the_middle_of_a_stream(one: HttpUpstream, upstream: Upstream, behaviour, framing):
    asked = call(f"{behaviour},framing={framing}", stream=True)
    reply = one.send(asked).prime()
    told: list[Outcome] = []
    reply.on_close(told.append)
    since = cancel_in(asked, 0.05)
    said = b"".join(reply)
    assert since() < OVERSHOOT
    assert b"[DONE]" not in said
    assert [(outcome.verdict, outcome.error) for outcome in told] == [
        (Verdict.IGNORED, asked.cancellation.error)
    ]
    left(upstream)


def test_an_abort_while_connecting(bench: Bench):
    with unreachable() as url:
        asked = call("ok")
        since = cancel_in(asked, 0.05)
        with pytest.raises(CallerLeft):
            bench.upstream(url).send(asked)
    assert since() < OVERSHOOT


def test_an_abort_during_the_tls_handshake(bench: Bench):
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = call("ok")
        since = cancel_in(asked, 0.05)
        with pytest.raises(CallerLeft):
            bench.upstream(f"https://127.0.0.1:{server.getsockname()[1]}").send(asked)
    assert since() < OVERSHOOT


def test_an_abort_while_the_request_is_sent(bench: Bench):
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = call("ok", filler="x" * 16_000_000)
        since = cancel_in(asked, 0.15)
        with pytest.raises(CallerLeft):
            bench.upstream(f"http://127.0.0.1:{server.getsockname()[1]}").send(asked)
    assert since() < OVERSHOOT


def test_an_abort_before_the_start_sends_nothing(one: HttpUpstream, upstream: Upstream):
    asked = call("ok")
    asked.cancellation.cancel(CallerLeft("gone"))
    with pytest.raises(CallerLeft):
        one.send(asked)
    assert upstream.requests() == []


# ---------------------------------------------------------------- no other exchange is hit


def test_an_aborted_request_is_not_sent_again(one: HttpUpstream, upstream: Upstream):
    """On a pooled connection, where a silent close otherwise means a resend."""
    b"".join(one.send(call("ok")).prime())
    asked = call("never")
    cancel_in(asked, 0.05)
    with pytest.raises(CallerLeft):
        one.send(asked)
    first, second = upstream.requests()
    assert first["connection"] == second["connection"]


def test_a_stale_connection_is_still_replaced(one: HttpUpstream, upstream: Upstream, monkeypatch):
    monkeypatch.setattr(
        UpstreamConnection, "is_connected", property(lambda connection: connection.sock is not None)
    )  # the check is not always right
    for _ in range(5):
        assert b"tok0" in b"".join(one.send(call("stale")).prime())
    assert len(upstream.requests()) == 5


def test_a_resent_request_can_be_aborted(bench: Bench, upstream: Upstream):
    """The first connection is stale. The upstream does not answer the second request."""
    one = bench.upstream(upstream.url)
    upstream.script("ok", "hang-up", "never")
    b"".join(one.send(call("x")).prime())
    asked = call("x")
    since = cancel_in(asked, 0.2)
    with pytest.raises(CallerLeft):
        one.send(asked)
    assert since() < OVERSHOOT
    assert len(upstream.requests()) == 3
    left(upstream)


def read_to_the_end(source: ResponseSource) -> None:
    """Read the whole answer: the connection returns to the pool although the source is open."""
    while source._raw._connection is not None:
        source.read()


def test_an_exchange_that_has_returned_its_connection_cuts_nothing(one: HttpUpstream, upstream: Upstream):
    before = call("ok")
    first = one.send(before)
    read_to_the_end(first._source)  # type: ignore[arg-type]
    said = b""
    for part in one.send(call("ok,tokens=9,pause=0.02", stream=True)).prime():
        before.cancellation.cancel(CallerLeft("late"))
        said += part
    first.close()
    assert said.endswith(b"data: [DONE]\n\n")
    assert len({entry["connection"] for entry in upstream.requests()}) == 1


def test_a_connection_about_to_be_cut_is_not_pooled(one: HttpUpstream, upstream: Upstream):
    """The cut comes just when the reader has received the rest of the answer."""
    first = one.send(call("ok"))
    source = first._source
    source._exchange._line._line._cut = True  # type: ignore[attr-defined]
    read_to_the_end(source)  # type: ignore[arg-type]
    assert b"tok0" in b"".join(one.send(call("ok")).prime())
    first.close()
    assert len({entry["connection"] for entry in upstream.requests()}) == 2


# Python 3.11's ssl forgets to close a socket that is reset between its connection and its handshake.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_abort_at_the_very_end_harms_no_other_exchange(one: HttpUpstream):
    """Many concurrent exchanges on few connections. Half of them are aborted just when they end."""
    chance = random.Random(4)
    wrong: list[object] = []

    def ask(number: int) -> None:
        asked = call("ok,tokens=2", stream=bool(number % 2))
        cancelled = number % 4 < 2
        if cancelled:
            cancel_in(asked, chance.uniform(0.0, 0.008))
        try:
            said = b"".join(one.send(asked).prime())
            if b"tok1" not in said and not cancelled:
                wrong.append(said)
        except CallerLeft as error:
            if not cancelled:
                wrong.append(error)
        except GatewayError as error:
            wrong.append(error)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(ask, range(240)))
    collect()
    assert wrong == []


# ---------------------------------------------------------------- no leaks


def whole(one: HttpUpstream, number: int) -> None:
    b"".join(one.send(call("ok")).prime())


def streamed(one: HttpUpstream, number: int) -> None:
    b"".join(one.send(call("ok", stream=True)).prime())


def never_begun(one: HttpUpstream, number: int) -> None:
    one.send(call("ok", stream=True)).close()


def left_early(one: HttpUpstream, number: int) -> None:
    reply = one.send(call("ok,tokens=50,pause=0.01", stream=True)).prime()
    next(reply)
    reply.close()
    reply.close()


def refused(one: HttpUpstream, number: int) -> None:
    one.send(call("status,code=400"))


def no_answer(one: HttpUpstream, number: int) -> None:
    one.send(call("status,code=501")).prime()


def hung_up(one: HttpUpstream, number: int) -> None:
    one.send(call("hang-up"))


def cut_short(one: HttpUpstream, number: int) -> None:
    b"".join(one.send(call("cut", stream=True)).prime())


def out_of_time(one: HttpUpstream, number: int) -> None:
    one.send(call("never", seconds=0.02))


def called_off(one: HttpUpstream, number: int) -> None:
    asked = call("ok,tokens=9,pause=0.005", stream=True)
    cancel_in(asked, 0.001 * (number % 30))
    b"".join(one.send(asked).prime())


def not_there(one: HttpUpstream, number: int) -> None:
    HttpUpstream("dead", "http://127.0.0.1:1/v1", None, one._http, one._clocks).send(call("ok"))


ENDINGS = [
    *(whole, streamed, never_begun, left_early, refused, no_answer, hung_up, cut_short),
    *(out_of_time, called_off, not_there),
]


def test_a_thousand_calls_of_every_ending_leak_nothing(bench: Bench, upstream: Upstream):
    one = bench.upstream(upstream.url)
    whole(one, 0)
    bench.http.close()
    collect()
    before = open_files()

    def ask(number: int) -> str | None:
        try:
            ENDINGS[number % len(ENDINGS)](one, number)
        except GatewayError as error:
            return type(error).__name__
        return None

    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(ask, range(1000)))
    assert {"UpstreamRefusal", "UpstreamMisconfigured", "UpstreamUnreachable", "DeadlineExceeded"} <= set(
        ended
    )  # type: ignore[arg-type]
    bench.http.close()
    assert len(bench.reactor) == 0
    # Fewer may be open: those that tests before this one have left to the garbage collector.
    assert until(lambda: len(open_files()) <= len(before), 2), set(open_files().values()) - set(
        before.values()
    )


@pytest.mark.parametrize("ending", [whole, streamed, left_early, refused, hung_up, cut_short, out_of_time])
def test_no_call_stays_attached_to_its_exchange(bench: Bench, upstream: Upstream, monkeypatch, ending):
    made: list[Call] = []
    send = HttpUpstream.send

    def noted(one: HttpUpstream, asked: Call) -> Reply:
        made.append(asked)
        return send(one, asked)

    monkeypatch.setattr(HttpUpstream, "send", noted)
    with suppress(GatewayError):
        ending(bench.upstream(upstream.url), 0)
    assert made[0].cancellation._attached == []


def test_a_source_may_be_closed_twice_and_by_another_thread(one: HttpUpstream):
    reply = one.send(call("stall,after=1", stream=True)).prime()
    source = reply._source
    for _ in range(2):
        reply.close()
        source.close()
        source.release()
    with suppress(UpstreamCut, UpstreamUnreachable):
        assert source.read() == b""
