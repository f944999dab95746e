"""Round trips to Redis of calls through a whole gateway, with an issued key that has every limit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kit.admins import AdminClient
from kit.stores import RedisServer
from kit.waiting import until

from flask_gateway.config.schema import Balance, CandidateSettings, ModelSettings, UpstreamSettings
from flask_gateway.guards.openings import CURRENT
from flask_gateway.model.price_override import PriceOverride
from flask_gateway.model.spend import BooksUnknown
from flask_gateway.state.contract import decode
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.redis import RedisStore
from flask_gateway.state.together import TogetherStore

BUDGET = [{"amount": "100", "window": "total"}]
#: Two upstreams and one model of each have limits of their own, over all machines.
UPSTREAMS = tuple(
    UpstreamSettings(name=name, url="mock://local", max_in_flight=most)
    for name, most in (("mock", 0), ("one", 5), ("two", 5))
)
TIERS = (tuple(CandidateSettings(upstream=name, model="m", max_in_flight=3) for name in ("one", "two")),)
MODELS = tuple(ModelSettings(name=balance.value, tiers=TIERS, balance=balance) for balance in Balance)
PRICE = PriceOverride(rates={"input": 0, "output": 0, "requests": 10**10})
LIMITS = {"requests": 50, "tokens": 100_000, "concurrent": 5, "budgets": BUDGET}


class Counted:
    """A gateway over a Redis, and the round trips of the thread that calls it."""

    def __init__(self, data: Path, server: RedisServer) -> None:
        self.redis = RedisStore(f"{server.url}?socket_timeout=20&socket_connect_timeout=20", remember=0.1)
        store = TogetherStore(FallbackStore(self.redis, MemoryStore(), confirms=True))
        self.admins = AdminClient(
            data,
            store,
            prices=dict.fromkeys(("mock/mock", "one/m", "two/m"), PRICE),
            upstreams=UPSTREAMS,
            models=MODELS,
            keys=(),
        )
        self.upstream = ""
        self.trips, ask, caller = 0, self.redis._call, threading.current_thread()

        def counted(*command: Any) -> Any:
            self.trips += threading.current_thread() is caller
            return ask(*command)

        self.redis._call = counted  # type: ignore[method-assign]
        self.redis._recent.clock = lambda: 0.0  # a read never grows old, however late its thread is
        self.gateway = self.admins.app.extensions["gateway"]
        self.gateway.accounting.accounts.now_current()
        self.gateway.issued._periodic.stop()  # the test looks itself
        assert until(self.has_ledger)

    def has_ledger(self) -> bool:
        """Whether the bookkeeper has made the ledger: until then no account is opened for sure."""
        with suppress(BooksUnknown):
            return bool(self.gateway.accounting.accounts._openings.balances.used("all", (0, 0, 0, 0)))
        return False

    def is_read(self) -> bool:
        """Whether the thread has read all watched keys, and seen that the ledger is up to date."""
        recent, redis = self.redis._recent, self.redis
        current = recent.get(b"flask_gateway:" + CURRENT.encode())
        return all(map(recent.get, redis._watched)) and current is not None and current.value is not None

    def of(self, secret: str, status: int = 200, **fields: Any) -> int:
        """The round trips of a call. :attr:`upstream` has answered it."""
        assert until(self.is_read)
        self.gateway.issued.look()  # as its thread does, after a change of keys
        before = self.trips
        body = {"model": "mock", "messages": [{"role": "user", "content": "Hi"}], **fields}
        named = {"Authorization": f"Bearer {secret}"}
        answer = self.admins.http.post("/v1/chat/completions", json=body, headers=named)
        assert (answer.status_code, bool(answer.data)) == (status, True), answer.text
        answer.close()
        self.upstream = answer.headers.get("x-gateway-upstream", "")
        return self.trips - before


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


@pytest.fixture
def counted(tmp_path: Path, server: RedisServer) -> Iterator[Counted]:
    server.call("FLUSHALL")
    made = Counted(tmp_path, server)
    yield made
    made.gateway.leases._keeper.stop()
    made.gateway.accounting.accounts._keeper.stop()
    made.gateway.store.close()


def test_calls_and_streams_take_two_round_trips(counted: Counted) -> None:
    """The first call ever of a key, the next ones, and a stream."""
    secret = counted.admins.make(limits=LIMITS)["secret"]
    assert counted.of(secret) == 2
    assert counted.of(secret) == 2
    assert counted.of(secret, stream=True) == 2


@pytest.mark.parametrize("balance", list(Balance))
def test_limits_and_the_balance_of_upstreams_take_no_round_trip_more(
    counted: Counted, balance: Balance
) -> None:
    """Two upstreams with ``max_in_flight``, of which a model has one, too, by every balance."""
    secret = counted.admins.make(limits=LIMITS)["secret"]
    asked = set()
    for stream in (False, True) * 6:
        assert counted.of(secret, model=balance.value, stream=stream) == 2
        asked.add(counted.upstream)
    every = {"one"} if balance is Balance.IN_ORDER else {"one", "two"}
    assert asked == every or (balance is Balance.LEAST_REQUESTS and asked < every)
    for key in [f"slots:upstream:{name}{model}" for name in asked for model in ("", "/m")]:
        row = decode(counted.redis._call("GET", f"flask_gateway:{key}"))  # and not what was read before
        assert row is not None
        assert row[2] == 0


@pytest.mark.parametrize("limits", [{"requests": 1}, {"tokens": 10}])
def test_a_refused_call_takes_one_round_trip(counted: Counted, limits: dict[str, int]) -> None:
    secret = counted.admins.make(limits={**LIMITS, **limits})["secret"]
    if "requests" in limits:
        counted.of(secret)
    assert [counted.of(secret, 429) for _ in range(2)] == [1, 1]


def test_a_revoked_key_asks_no_limit(counted: Counted) -> None:
    made = counted.admins.make(limits=LIMITS)
    assert counted.of(made["secret"]) == 2
    counted.admins.ask("DELETE", f"/keys/{made['id']}")
    assert counted.of(made["secret"], 401) == 2  # which count the guess of a key
