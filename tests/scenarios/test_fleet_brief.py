"""Two gateways of one worker with Redis and PostgreSQL, in seconds. ``test_fleet.py`` has the long form.

Redis has time here, so no call is answered from a machine's own memory, however busy this one is.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit.admins import ADMIN_KEY
from kit.fleet import Fleet, secret
from kit.page_session import PageSession
from kit.postgres import PostgresServer
from kit.waiting import until

pytestmark = pytest.mark.live

KEYS = {
    "cents": 'budgets = [{ amount = "0.1", window = "total" }]',
    "strict": 'budgets = [{ amount = "0.1", window = "total", strict = true }]',
    "requests": "requests = 10",
    "shared": 'budgets = [{ amount = "0.01", window = "total" }]',
    "free": "",
    "known": 'budgets = [{ amount = "0.1", window = "total", strict = true }]',
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Fleet]:
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("FLEET_WORKERS", "1")
    made = Fleet(tmp_path_factory.mktemp("fleet"), KEYS, postgres_server, machines=2, patience=20.0)
    yield made
    made.stop()
    monkeypatch.undo()


def calls(fleet: Fleet, key: str, count: int) -> Counter[int]:
    """The statuses of calls at once, on one machine and the other in turn."""
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: fleet.machines[n % 2].chat("cent", key), range(count))
        return Counter(status for status, _, _ in answers)


def test_a_strict_budget_is_refused_while_its_ledger_is_away(fleet: Fleet) -> None:
    """Runs first: nothing has opened its account."""
    fleet.postgres.freeze()
    try:
        status, _, body = fleet.machines[0].chat("cent", secret("strict"))
        assert (status, body["error"]["code"]) == (503, "budget_unknown")
        assert calls(fleet, secret("requests"), 2) == {200: 2}
    finally:
        fleet.postgres.thaw()
    assert until(lambda: fleet.machines[0].chat("cent", secret("strict"))[0] == 200)


def test_limits_are_exact_over_both_machines(fleet: Fleet) -> None:
    assert calls(fleet, secret("cents"), 14) == {200: 10, 429: 4}
    assert calls(fleet, secret("requests"), 12) == {200: 8, 429: 4}
    spent = "SELECT count(*), sum(cost) FROM charge WHERE key = 'cents'"
    assert until(lambda: fleet.rows(spent) == [(10, 10 * 10**7)])


def test_a_key_that_one_machine_revokes_is_refused_by_the_other(fleet: Fleet) -> None:
    first, second = fleet.machines
    status, _, made = first.ask("POST", "/admin/v1/keys", {}, ADMIN_KEY)
    assert (status, calls(fleet, made["secret"], 8)) == (201, {200: 8})
    assert second.ask("DELETE", f"/admin/v1/keys/{made['id']}", key=ADMIN_KEY)[0] == 200
    time.sleep(0.15)  # a process remembers what it has read of Redis for 0.1 s
    assert calls(fleet, made["secret"], 16) == {401: 16}


def serves(fleet: Fleet, machine: int, status: int) -> bool:
    """Whether a machine comes to answer calls of the upstream with a status."""
    return bool(until(lambda: fleet.machines[machine].chat("cent", secret("free"))[0] == status))


def test_an_upstream_that_is_taken_out_by_api_or_page_is_out_on_both_machines(fleet: Fleet) -> None:
    first, second = fleet.machines
    path, page = "/admin/v1/upstreams/mock", PageSession(f"http://{second.host}:{second.port}")
    first.ask("POST", f"{path}/take-out", {"seconds": 600}, ADMIN_KEY)
    assert [serves(fleet, machine, 503) for machine in (0, 1)] == [True, True]
    assert page.send("put-back", name="mock").status == 303
    assert [serves(fleet, machine, 200) for machine in (0, 1)] == [True, True]
    assert page.send("take-out", name="mock", seconds="600").status == 303
    assert [serves(fleet, machine, 503) for machine in (0, 1)] == [True, True]
    assert second.ask("POST", f"{path}/put-back", {}, ADMIN_KEY)[0] == 200
    assert [serves(fleet, machine, 200) for machine in (0, 1)] == [True, True]


def test_without_redis_each_machine_has_half_of_the_rest(fleet: Fleet) -> None:
    """Case 10 of the design, in nano-dollars: a limit of 10 million, of which 4 are used. Runs last."""
    assert fleet.machines[0].chat("four", secret("shared"))[0] == 200
    spent = "SELECT sum(cost) FROM charge WHERE key = 'shared'"
    assert until(lambda: fleet.rows(spent) == [(4_000_000,)])
    fleet.redis.kill()
    for machine in fleet.machines:
        # A strict budget is served as soon as the machine knows by itself that its ledger is up to date.
        assert until(lambda m=machine: m.chat("cent", secret("known"))[0] == 200)
        models = ("three_and_a_nano", "three", "nano")
        assert [machine.chat(model, secret("shared"))[0] for model in models] == [429, 200, 429]
    fleet.redis.start()
    assert until(lambda: fleet.rows(spent) == [(10_000_000,)])
