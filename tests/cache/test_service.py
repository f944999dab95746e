"""Tests the cached service: hits, misses, what requests say, equal requests at once, and what is kept."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
from kit.cached import CountedCache, NumberedAnswers
from kit.calls import make_call
from kit.waiting import until

from flask_gateway.cache.entries import MemoryEntries
from flask_gateway.cache.flights import FOLLOWERS, Flights
from flask_gateway.cache.keys import IGNORED
from flask_gateway.cache.policy import MOST_KEPT
from flask_gateway.cache.service import HEADER, CachedModel, CachedService, CacheParts
from flask_gateway.cache.writer import Writer
from flask_gateway.config.cache_settings import CacheMode, CacheShare, ModelCache
from flask_gateway.model.cache_request import CacheRequest
from flask_gateway.model.call import Call, Caller, Operation
from flask_gateway.model.errors import NotCached, UpstreamCut
from flask_gateway.model.reply import Reply


class Setup:
    def __init__(self, share: CacheShare = CacheShare.KEY) -> None:
        self.inner, self.counts, self.now = NumberedAnswers(), CountedCache(), 1000.0
        entries = MemoryEntries(1 << 22)
        self.writer = Writer(entries, self.counts.cache_written)
        cache = ModelCache(mode=CacheMode.ALL, seconds=60.0, share=share)
        model = CachedModel("m", cache, b"route", frozenset({("one", "m")}), 5.0)
        parts = CacheParts(entries, self.writer, Flights(), self.counts)
        self.service = CachedService(self.inner, {"m": model}, IGNORED, parts, lambda: self.now)

    def send(self, call: Call) -> tuple[Reply, bytes]:
        """The reply, read to its end, with its bytes. The writer has finished."""
        reply = self.service.send(call)
        body = b"".join(reply)
        reply.close()
        self.writer._pool.submit(lambda: None).result()
        return reply, body

    def seen(self, call: Call) -> str:
        return self.send(call)[0].headers[HEADER]


@pytest.fixture
def setup() -> Any:
    made = Setup()
    yield made
    made.writer.close()


def saying(**words: Any) -> Call:
    return msgspec.structs.replace(make_call(), cache=CacheRequest(**words))


@pytest.mark.parametrize("stream", [False, True])
def test_an_equal_call_gets_the_same_bytes(setup: Setup, stream: bool) -> None:
    first, body = setup.send(make_call(stream=stream))
    setup.now += 7.9
    second, again = setup.send(make_call(stream=stream))
    assert (first.headers[HEADER], second.headers[HEADER]) == ("miss", "hit")
    assert body == again
    assert b"answer 1" in body
    assert second.transcript.content_type == first.transcript.content_type
    assert (second.headers["age"], second.headers["x-gateway-upstream"]) == ("7", "one")
    assert len(setup.inner.asked) == 1
    assert setup.counts.lookups == {"miss": 1, "hit": 1}
    assert setup.counts.saved["tokens"] > 0


def test_a_hit_costs_nothing_and_names_no_upstream_to_breakers(setup: Setup) -> None:
    setup.send(make_call())
    reply, _ = setup.send(make_call())
    assert reply.outcome is not None
    assert (reply.outcome.upstream, reply.outcome.usage, reply.outcome.parts) == (None, None, ())


def test_streams_and_whole_answers_do_not_serve_each_other(setup: Setup) -> None:
    assert [setup.seen(make_call(stream=stream)) for stream in (False, True)] == ["miss", "miss"]


def test_two_callers_with_equal_bodies_share_only_if_told_to() -> None:
    for share, expected in ((CacheShare.KEY, "miss"), (CacheShare.ALL, "hit")):
        setup = Setup(share)
        setup.send(make_call(caller=Caller("a", 0)))
        assert setup.seen(make_call(caller=Caller("b", 0))) == expected
        setup.writer.close()


def test_an_answer_gets_too_old(setup: Setup) -> None:
    setup.send(make_call())
    setup.now += 59.0
    assert setup.seen(make_call()) == "hit"
    setup.now += 1.0
    assert setup.seen(make_call()) == "miss"


def test_a_clock_that_went_back_makes_no_answer_older(setup: Setup) -> None:
    setup.send(make_call())
    setup.now -= 500.0
    reply, _ = setup.send(make_call())
    assert (reply.headers[HEADER], reply.headers["age"]) == ("hit", "0")


def test_the_words_of_a_request(setup: Setup) -> None:
    setup.send(make_call())
    assert setup.seen(saying(no_store=True)) == "bypass"
    setup.now += 10.0
    assert setup.seen(saying(max_age=5.0)) == "miss"  # and kept: now it is younger
    assert setup.seen(saying(max_age=5.0)) == "hit"
    assert setup.seen(saying(no_cache=True)) == "miss"
    assert b"answer 4" in setup.send(make_call())[1]
    assert setup.seen(saying(only_if_cached=True)) == "hit"


def test_only_if_cached_asks_nobody(setup: Setup) -> None:
    for call in (saying(only_if_cached=True), saying(only_if_cached=True, no_store=True)):
        with pytest.raises(NotCached) as caught:
            setup.service.send(call)
        assert caught.value.status == 504
    other = msgspec.structs.replace(saying(only_if_cached=True), model="other")
    with pytest.raises(NotCached):
        setup.service.send(other)
    assert setup.inner.asked == []


def test_other_models_pass_through(setup: Setup) -> None:
    reply, _ = setup.send(make_call("other"))
    assert HEADER not in reply.headers
    assert setup.counts.lookups == {}


def test_a_call_that_is_never_kept_says_bypass(setup: Setup) -> None:
    assert [setup.seen(make_call(n=2)) for _ in range(2)] == ["bypass", "bypass"]
    assert setup.counts.refused == {"several answers": 2}


def test_an_answer_of_a_later_tier_is_not_kept(setup: Setup) -> None:
    setup.inner.upstream = "two"
    assert setup.seen(make_call()) == "stored-not (later tier)"
    setup.inner.upstream = "one"
    assert setup.seen(make_call()) == "miss"


@pytest.mark.parametrize("stream", [False, True])
def test_large_answers_pass_and_are_not_kept(setup: Setup, stream: bool) -> None:
    setup.inner.padding = "x" * MOST_KEPT
    for _ in range(2):
        _, body = setup.send(make_call(stream=stream))
        assert len(body) > MOST_KEPT
    assert len(setup.inner.asked) == 2
    assert setup.counts.refused == {"large answer": 2}


def test_a_stream_that_is_not_read_to_its_end_is_not_kept(setup: Setup) -> None:
    reply = setup.service.send(make_call(stream=True))
    next(reply)
    reply.close()
    assert setup.counts.refused == {"unfinished": 1}
    assert setup.seen(make_call(stream=True)) == "miss"


def test_a_failure_is_not_kept(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(call: Call) -> Reply:
        raise UpstreamCut("cut")

    with monkeypatch.context() as patched:
        patched.setattr(setup.inner, "send", fails)
        with pytest.raises(UpstreamCut):
            setup.service.send(make_call())
    assert setup.seen(make_call()) == "miss"


def test_anthropics_clients_get_the_id_of_their_request(setup: Setup) -> None:
    call = msgspec.structs.replace(make_call(max_tokens=5), operation=Operation.MESSAGE)
    entry_call = msgspec.structs.replace(call, stream=False)
    setup.service._entries.put(_key(setup, entry_call), _message_entry())
    reply, _ = setup.send(entry_call)
    assert reply.headers["request-id"] == call.ids.request


def _key(setup: Setup, call: Call) -> bytes:
    from flask_gateway.cache.keys import key_of

    return key_of(call, "key:team-a", b"route", IGNORED)


def _message_entry() -> Any:
    from kit.cached import entry

    return entry(b'{"type":"message"}')


def test_equal_calls_at_once_are_asked_once(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, send = threading.Event(), setup.inner.send

    def waits(call: Call) -> Reply:
        assert goes_on.wait(20)
        return send(call)

    monkeypatch.setattr(setup.inner, "send", waits)
    bodies: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: bodies.append(setup.send(make_call())[1]))
        for _ in range(FOLLOWERS + 1)
    ]
    for thread in threads:
        thread.start()
    flights = setup.service._flights._flights
    assert until(lambda: [flight.followers for flight in list(flights.values())] == [FOLLOWERS])
    goes_on.set()
    for thread in threads:
        thread.join(20)
    assert len(setup.inner.asked) == 1
    assert len(set(bodies)) == 1
    assert len(bodies) == FOLLOWERS + 1
    assert flights == {}
