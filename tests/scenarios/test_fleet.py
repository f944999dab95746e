"""Three gateways with one Redis and one PostgreSQL: nothing is admitted twice, whatever is away.

``docs/fleet.md`` has the table that these tests hold. ``test_fleet_faults.py`` does it at random.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from kit.admins import ADMIN_KEY
from kit.fleet import Fleet, Machine, secret
from kit.postgres import PostgresServer
from kit.waiting import until

from flask_gateway.state.redis import RedisStore

pytestmark = [pytest.mark.live, pytest.mark.soak]

CLIENTS = 12
DOLLAR = 'budgets = [{ amount = "1", window = "total" }]'
KEYS = {
    **{f"cent{n}": DOLLAR for n in range(4)},
    **{f"emptied{n}": DOLLAR for n in range(4)},
    **{f"requests{n}": "requests = 60" for n in range(4)},
    "tokens": "tokens = 5000",
    "slots": "concurrent = 5",
    **{f"away{n}": 'budgets = [{ amount = "0.6", window = "total" }]' for n in range(4)},
    "free": "",
}
#: The cost of each whole answer, by the id of its request.
costs: dict[str, Decimal] = {}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet"), KEYS, postgres_server)
    yield made
    made.stop()


def burst(fleet: Fleet, key: str, model: str, count: int, machines: int = 3, **more: object) -> Counter[int]:
    """The statuses of calls that clients spread over the machines."""

    def chat(number: int) -> int:
        status, headers, _ = fleet.machines[number % machines].chat(model, secret(key), **more)
        if status == 200:
            costs[headers["x-request-id"]] = Decimal(headers["x-gateway-cost"])
        return status

    with ThreadPoolExecutor(CLIENTS) as pool:
        return Counter(pool.map(chat, range(count)))


def taken(fleet: Fleet, key: str) -> int:
    """The calls in flight of a key, as Redis counts them."""
    store = RedisStore(fleet.redis.url)
    try:
        return sum((store.read(key) or ())[2::4])
    finally:
        store.close()


def undisturbed(fleet: Fleet, work: Callable[[int], Counter[int]]) -> Counter[int]:
    """The statuses of the first work in which no worker answered from its machine's own memory.

    On a busy machine Redis may answer too late.

    :param work: is handed numbers, for keys that have not been used.
    """
    for number in range(4):
        before = local_answers(fleet)
        statuses = work(number)
        if local_answers(fleet) == before:
            return statuses
        assert until(lambda: not degraded(fleet))
    pytest.fail("each time some worker answered from its machine's own memory")


def local_answers(fleet: Fleet) -> float:
    pages = [machine.metrics() for machine in fleet.machines]
    lines = [line for page in pages for line in page.splitlines()]
    return sum(float(line.split()[-1]) for line in lines if line.startswith("gateway_store_fallbacks_total"))


def degraded(fleet: Fleet) -> bool:
    """Whether some worker answers from its machine's own memory. So many questions reach each worker."""

    def asks(number: int) -> bool:
        _, _, body = fleet.machines[number % 3].ask("GET", "/v1/circuit-breakers", key=secret("free"))
        return bool(body["state"]["degraded"])

    with ThreadPoolExecutor(CLIENTS) as pool:
        return any(pool.map(asks, range(36)))


def test_limits_are_exact_over_all_machines(fleet: Fleet) -> None:
    assert until(lambda: not degraded(fleet))
    assert undisturbed(fleet, lambda n: burst(fleet, f"cent{n}", "cent", 130)) == {200: 100, 429: 30}
    assert undisturbed(fleet, lambda n: burst(fleet, f"requests{n}", "cent", 80)) == {200: 60, 429: 20}
    with ThreadPoolExecutor(5) as pool:
        open_calls = [pool.submit(fleet.machines[n % 3].chat, "late", secret("slots")) for n in range(5)]
        assert until(lambda: taken(fleet, "slots:key:slots") == 5)
        assert burst(fleet, "slots", "cent", 6) == {429: 6}
        assert [call.result()[0] for call in open_calls] == [200] * 5
    used = burst(fleet, "tokens", "cent", 60, max_tokens=480)
    assert used[200] + used[429] == 60
    assert used[200] >= 10


def test_the_breaker_of_one_machine_is_that_of_all(fleet: Fleet) -> None:
    first, second, third = fleet.machines
    for _ in range(4):
        assert first.chat("broken", secret("free"))[0] == 502
    for machine in (second, third):
        assert until(lambda m=machine: m.chat("broken", secret("free"))[0] == 503)
    _, _, page = third.ask("GET", "/v1/circuit-breakers", key=secret("free"))
    assert "OPEN" in {one["state"] for one in page["data"] if one["upstream"] == "broken"}


def test_a_key_that_is_revoked_on_one_machine_is_refused_on_all(fleet: Fleet) -> None:
    first, second, third = fleet.machines
    status, _, made = first.ask("POST", "/admin/v1/keys", {"name": "web"}, ADMIN_KEY)
    assert status == 201
    assert [machine.chat("cent", made["secret"])[0] for machine in fleet.machines] == [200] * 3
    assert second.ask("DELETE", f"/admin/v1/keys/{made['id']}", key=ADMIN_KEY)[0] == 200
    time.sleep(0.15)
    with ThreadPoolExecutor(CLIENTS) as pool:
        calls = pool.map(lambda n: fleet.machines[n % 3].chat("cent", made["secret"])[0], range(24))
        assert Counter(calls) == {401: 24}
    listed = "/admin/v1/keys?state=revoked"  # of the copy, which follows within a second
    assert until(
        lambda: [key["name"] for key in third.ask("GET", listed, key=ADMIN_KEY)[2]["data"]] == ["web"]
    )


def test_without_redis_each_machine_has_its_share_of_the_rest(fleet: Fleet) -> None:
    """Case 10 of the design over HTTP: 0.60 USD, of which 0.30 are used; each machine may spend 0.10."""
    assert until(lambda: not degraded(fleet))
    assert undisturbed(fleet, lambda n: burst(fleet, f"away{n}", "cent", 30)) == {200: 30}
    key = next(f"away{n}" for n in range(3, -1, -1) if charged_soon(fleet, f"away{n}", 30))
    fleet.redis.kill()
    try:
        statuses = burst(fleet, key, "cent", 60)
        assert set(statuses) == {200, 429}
        assert 0 < statuses[200] <= 30  # a worker may be refused what another one of its machine holds
        assert burst(fleet, "free", "cent", 12) == {200: 12}
    finally:
        fleet.redis.start()
    assert until(lambda: not degraded(fleet))
    assert charged_soon(fleet, key, 30 + statuses[200])
    left = 30 - statuses[200]  # what was spent meanwhile counts
    assert burst(fleet, key, "cent", 40)[200] <= left


def test_a_redis_that_was_emptied_has_its_budgets_from_the_ledger(fleet: Fleet) -> None:
    def emptied(number: int) -> Counter[int]:
        key = f"emptied{number}"
        before = burst(fleet, key, "cent", 50)
        assert until(lambda: charged(fleet, key) == before[200] * 10**7)
        fleet.redis.call("FLUSHALL")
        return before + burst(fleet, key, "cent", 70)

    assert until(lambda: not degraded(fleet))
    statuses = undisturbed(fleet, emptied)
    assert statuses[200] + statuses[429] == 120
    assert 90 <= statuses[200] <= 100  # what a busy worker holds for its next calls is not spent by others


def test_no_call_fails_while_redis_or_postgresql_is_stopped(fleet: Fleet) -> None:
    for server in (fleet.redis, fleet.postgres):
        server.freeze()
        try:
            assert burst(fleet, "free", "cent", 24) == {200: 24}
            status, _, _ = fleet.machines[0].ask("POST", "/admin/v1/keys", {}, ADMIN_KEY)
            assert status == (201 if server is fleet.redis else 503)
        finally:
            server.thaw()
    fleet.postgres.kill()
    assert burst(fleet, "free", "cent", 24) == {200: 24}
    fleet.postgres.start()


def test_the_ledger_is_complete_without_doubles(fleet: Fleet) -> None:
    """Runs last: every whole answer of this module has one row, at its cost."""

    def missing() -> list[str]:
        rows = fleet.rows("SELECT id, cost FROM charge WHERE source <> 'lost'")
        booked = dict(rows)
        assert len(booked) == len(rows)
        return [one for one, cost in costs.items() if booked.get(one) != int(cost * 10**9)]

    assert until(lambda: not missing())
    (charges,) = fleet.rows("SELECT sum(cost), count(*) FROM charge")
    assert fleet.rows("SELECT sum(cost), sum(legs) FROM bucket") == [charges]
    (total,) = fleet.rows("SELECT cost FROM balance WHERE subject = 'all' AND \"window\" = 'total'")
    assert total[0] == charges[0]
    assert not [machine for machine in fleet.machines if "Traceback" in machine.log]


def revoked(machine: Machine) -> list[str]:
    _, _, page = machine.ask("GET", "/admin/v1/keys?state=revoked", key=ADMIN_KEY)
    return [key["name"] for key in page["data"]]


def charged_soon(fleet: Fleet, key: str, calls: int) -> bool:
    """Whether a key is charged for so many calls at a cent."""
    return bool(until(lambda: charged(fleet, key) == calls * 10**7, 3))


def charged(fleet: Fleet, key: str) -> int:
    return int(fleet.rows(f"SELECT coalesce(sum(cost), 0) FROM charge WHERE key = '{key}'")[0][0])
