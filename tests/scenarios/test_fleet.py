"""Three gateways with one Redis and one PostgreSQL: nothing is admitted twice, whatever is away.

They are in network namespaces of their own where the tests run as root. ``docs/fleet.md`` has the table that
these tests hold. ``test_fleet_faults.py`` does it at random, ``test_fleet_brief.py`` with two gateways.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http.client import HTTPException

import pytest
from kit.admins import ADMIN_KEY
from kit.fleet import Fleet, Machine, lay_wires, secret, take_wires
from kit.postgres import PostgresServer
from kit.waiting import until

from flask_gateway.guards.openings import account_key
from flask_gateway.ledger.lines import Opened, decode
from flask_gateway.state.redis import RedisStore

pytestmark = [pytest.mark.live, pytest.mark.soak]

CLIENTS = 12
#: How long a gateway waits for Redis, seconds. By itself it waits 0.05 s: too short on a busy machine.
PATIENCE = 1.0
DOLLAR = 'budgets = [{ amount = "1", window = "total" }]'
KEYS = {
    **{f"cent{n}": DOLLAR for n in range(4)},
    **{f"emptied{n}": DOLLAR for n in range(4)},
    **{f"requests{n}": "requests = 60" for n in range(4)},
    "tokens": "tokens = 5000",
    "slots": "concurrent = 5",
    **{f"away{n}": 'budgets = [{ amount = "0.6", window = "total" }]' for n in range(4)},
    **{f"cut{n}": 'budgets = [{ amount = "0.6", window = "total" }]' for n in range(4)},
    **{f"strict{n}": 'budgets = [{ amount = "1", window = "total", strict = true }]' for n in range(3)},
    "dying": DOLLAR,
    "free": "",
}
#: The cost of each whole answer, by the id of its request.
costs: dict[str, Decimal] = {}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    wires = os.geteuid() == 0
    if wires:
        lay_wires()
    try:
        with PostgresServer(listen_addresses="*") as postgres:
            made = Fleet(tmp_path_factory.mktemp("fleet"), KEYS, postgres, wires=wires, patience=PATIENCE)
            yield made
            made.stop()
    finally:
        if wires:
            take_wires()


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
    store = RedisStore(f"{fleet.redis.url}?socket_timeout=20")
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

    def states() -> set[str]:
        """By the worker that answers, which may know it up to 0.1 s later than the other one."""
        _, _, page = third.ask("GET", "/v1/circuit-breakers", key=secret("free"))
        return {one["state"] for one in page["data"] if one["upstream"] == "broken"}

    assert until(lambda: "OPEN" in states())


def test_an_upstream_that_one_machine_takes_out_is_out_on_all(fleet: Fleet) -> None:
    first, second, third = fleet.machines
    path = "/admin/v1/upstreams/other"
    assert first.ask("POST", f"{path}/take-out", {"seconds": 600}, ADMIN_KEY)[0] == 200
    time.sleep(0.15)  # a process remembers what it has read for 0.1 s
    for machine in (second, third):
        for _ in range(2):
            assert machine.chat("either", secret("free"))[1]["x-gateway-upstream"] == "late"
    assert third.ask("POST", f"{path}/put-back", {}, ADMIN_KEY)[0] == 200


def test_routing_knows_the_calls_of_all_machines(fleet: Fleet) -> None:
    """Two calls on two machines go to two upstreams, and a third machine finds a narrow upstream full."""
    assert until(lambda: not degraded(fleet))
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            calls = []
            for machine in fleet.machines[:2]:
                calls.append(pool.submit(machine.chat, "either", secret("free")))
                time.sleep(0.3)
            found = [call.result()[1]["x-gateway-upstream"] for call in calls]
            assert set(found) == {"late", "other"}
        calls = [pool.submit(one.chat, "narrow", secret("free")) for one in fleet.machines[:2]]
        assert until(lambda: taken(fleet, "slots:upstream:narrow") == 2)
        assert fleet.machines[2].chat("narrow", secret("free"))[0] in (429, 503)
        assert [call.result()[0] for call in calls] == [200, 200]


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
        # On a busy machine two workers of one gateway may wait too long for each other. The brief form has
        # one worker each, and the very numbers.
        assert 0 < statuses[200] <= 30
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


def test_without_redis_a_revoked_key_is_refused_within_two_seconds(fleet: Fleet) -> None:
    first, second, _ = fleet.machines
    status, _, made = first.ask("POST", "/admin/v1/keys", {}, ADMIN_KEY)
    assert status == 201
    fleet.redis.kill()
    try:
        for machine in fleet.machines:
            assert until(lambda m=machine: m.chat("cent", made["secret"])[0] == 200)
        assert second.ask("DELETE", f"/admin/v1/keys/{made['id']}", key=ADMIN_KEY)[0] == 200
        began = time.monotonic()
        # Wrong keys get 429 after a while.
        assert until(lambda: 200 not in {one.chat("cent", made["secret"])[0] for one in fleet.machines * 4})
        print(f"\nrefused on all machines {time.monotonic() - began:.2f} s later")
        assert time.monotonic() - began < 10  # 2 s on a machine with time to spare
    finally:
        fleet.redis.start()


def test_a_machine_that_is_cut_off_from_redis_has_its_share(fleet: Fleet) -> None:
    """The others have what Redis says: together at most a share more than the budget."""
    need_wires()
    assert until(lambda: not degraded(fleet))
    assert undisturbed(fleet, lambda n: burst(fleet, f"cut{n}", "cent", 30)) == {200: 30}
    key = next(f"cut{n}" for n in range(3, -1, -1) if charged_soon(fleet, f"cut{n}", 30))
    third = fleet.machines[2]
    fleet.pull(2, "redis")
    try:
        alone = Counter(third.chat("cent", secret(key))[0] for _ in range(20))
        assert 0 < alone[200] <= 10
        assert alone[200] + alone[429] == 20
        rest = burst(fleet, key, "cent", 40, machines=2)
        assert rest[200] <= 30
        assert rest[200] + rest[429] == 40
    finally:
        fleet.plug(2, "redis")
    assert until(lambda: not degraded(fleet))


def test_a_machine_that_is_cut_off_from_postgresql_goes_on(fleet: Fleet) -> None:
    """An open account is exact, a strict one that is to be opened is refused, another begins at 0."""
    need_wires()
    third = fleet.machines[2]
    assert fleet.machines[0].chat("cent", secret("strict0"))[0] == 200
    fleet.pull(2, "postgres")
    try:
        assert third.chat("cent", secret("strict0"))[0] == 200
        assert refusal(fleet, "strict1", 2) == (503, "budget_unknown")
        assert third.chat("cent", secret("free"))[0] == 200
        assert third.ask("POST", "/admin/v1/keys", {}, ADMIN_KEY)[0] == 503
        assert fleet.machines[1].chat("cent", secret("strict1"))[0] == 200
        assert third.chat("cent", secret("strict1"))[0] == 200  # it is open now
    finally:
        fleet.plug(2, "postgres")
    assert until(lambda: third.ask("POST", "/admin/v1/keys", {}, ADMIN_KEY)[0] == 201)


def test_a_start_without_postgresql(fleet: Fleet) -> None:
    """Case 46 of the design: keys of the copy answer, changes and strict budgets get 503."""
    third = fleet.machines[2]
    _, _, made = third.ask("POST", "/admin/v1/keys", {}, ADMIN_KEY)
    third.stop()
    fleet.postgres.kill()
    try:
        third.start()
        calls = [third.chat("cent", key) for key in (made["secret"], secret("free"), made["secret"])]
        assert [status for status, _, _ in calls] == [200] * 3
        assert third.ask("POST", "/admin/v1/keys", {}, ADMIN_KEY)[0] == 503
        assert refusal(fleet, "strict2", 2) == (503, "budget_unknown")
    finally:
        fleet.postgres.start()
    assert until(lambda: third.chat("cent", secret("strict2"))[0] == 200)
    assert third.ask("POST", "/admin/v1/keys", {}, ADMIN_KEY)[0] == 201
    ids = ", ".join(f"'{headers['x-request-id']}'" for _, headers, _ in calls)
    rows = f"SELECT key, cost FROM charge WHERE id IN ({ids}) ORDER BY key"
    assert until(lambda: sorted(fleet.rows(rows)) == sorted([*[(made["id"], 10**7)] * 2, ("free", 10**7)]))


def test_a_machine_that_dies_with_calls_in_flight(fleet: Fleet) -> None:
    """Its calls are charged as lost, once; the others go on."""
    second = fleet.machines[1]
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(second.chat, "late", secret("dying")) for _ in range(3)]
        assert until(lambda: held(fleet, "key:dying") == 3 * 10**7)
        # A call that has no line yet was not sent to its upstream, and would not be charged.
        assert until(lambda: opened(second, "dying") == 3)
        second.kill()
        assert all(isinstance(call.exception(), (OSError, HTTPException)) for call in calls)
    assert fleet.machines[0].chat("cent", secret("dying"))[0] == 200
    second.start()
    lost = "SELECT count(*), sum(cost) FROM charge WHERE key = 'dying' AND source = 'lost'"
    assert until(lambda: fleet.rows(lost) == [(3, 3 * 10**7)], 30)
    assert until(lambda: held(fleet, "key:dying") == 0, 30)


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


def need_wires() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")


def refusal(fleet: Fleet, key: str, machine: int) -> tuple[int, str]:
    status, _, body = fleet.machines[machine].chat("cent", secret(key))
    return status, body.get("error", {}).get("code", "")


def held(fleet: Fleet, subject: str) -> int:
    """The nano-dollars that open calls hold of a budget, as Redis has them."""
    store = RedisStore(f"{fleet.redis.url}?socket_timeout=20")
    try:
        return sum((store.read(account_key(subject)) or ())[15::4])
    finally:
        store.close()


def opened(machine: Machine, key: str) -> int:
    """The calls of a key that the journals of a machine have begun."""
    texts = [path.read_bytes() for path in (machine.data / "journal").iterdir()]
    lines = [read.line for text in texts for read in decode(text, 0)]
    return sum(isinstance(line, Opened) and line.key == key for line in lines)


def charged_soon(fleet: Fleet, key: str, calls: int) -> bool:
    """Whether a key is charged for so many calls at a cent."""
    return bool(until(lambda: charged(fleet, key) == calls * 10**7, 3))


def charged(fleet: Fleet, key: str) -> int:
    return int(fleet.rows(f"SELECT coalesce(sum(cost), 0) FROM charge WHERE key = '{key}'")[0][0])
