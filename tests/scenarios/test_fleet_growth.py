"""Counts the work of Redis and PostgreSQL for one and for three machines. The model of docs/fleet.md has it.

``pytest -m soak -s tests/scenarios/test_fleet_growth.py`` prints the figures.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from kit.fleet import Fleet, secret
from kit.postgres import PostgresServer
from kit.waiting import until

pytestmark = [pytest.mark.live, pytest.mark.soak]

ALL_LIMITS = """
requests = 100000
tokens = 100000000
concurrent = 50
budgets = [{ amount = "1000", window = "total" }]
"""
#: Seconds that nothing is called; calls, and the pause between two of a machine, seconds.
IDLE, CALLS, PAUSE = 10.0, 200, 0.05
_DATABASE = """
SELECT xact_commit, tup_inserted, tup_updated, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint
FROM pg_stat_database WHERE datname = current_database()
"""


@pytest.mark.parametrize("machines", [1, 3])
def test_the_work_of_a_call(machines: int, tmp_path: Path, postgres_server: PostgresServer) -> None:
    fleet = Fleet(tmp_path / "fleet", {"all": ALL_LIMITS}, postgres_server, machines=machines, patience=5.0)
    try:
        for machine in fleet.machines * 4:  # opens the account, and brings the scripts
            assert machine.chat("cent", secret("all"))[0] == 200
        time.sleep(3)
        idle = during(fleet, lambda: time.sleep(IDLE))
        calls = during(fleet, lambda: call(fleet))
        share = calls["milliseconds"] / idle["milliseconds"]
        more = calls - Counter({name: round(idle[name] * share) for name in idle})
        print(f"\n{machines} machines, idle, each a second:")
        seconds = idle["milliseconds"] / 1000
        print({name: round(idle[name] / seconds / machines, 1) for name in sorted(idle)})
        print(f"{machines} machines, a call more, of {CALLS * machines}:")
        print({name: round(more[name] / CALLS / machines, 2) for name in sorted(calls)})
        assert more["scripts"] / CALLS / machines < 5
    finally:
        fleet.stop()


def call(fleet: Fleet) -> None:
    for _ in range(CALLS):
        for machine in fleet.machines:
            assert machine.chat("cent", secret("all"))[0] == 200
        time.sleep(PAUSE)
    charged = "SELECT count(*) FROM charge"
    assert until(lambda: fleet.rows(charged)[0][0] >= CALLS * len(fleet.machines))


def during(fleet: Fleet, work) -> Counter[str]:
    """The work of both servers meanwhile, and the milliseconds that it took."""
    before, began = counts(fleet), time.monotonic()
    work()
    time.sleep(1.5)  # PostgreSQL tells its numbers a second late
    found = counts(fleet)
    found.subtract(before)
    return found + Counter(milliseconds=round(1000 * (time.monotonic() - began)))


def counts(fleet: Fleet) -> Counter[str]:
    (row,) = fleet.rows(_DATABASE)
    names = ("transactions", "rows new", "rows changed", "log bytes")
    info, stats = fleet.redis.call("INFO", "commandstats"), fleet.redis.call("INFO", "stats")
    found = Counter(dict(zip(names, map(int, row), strict=True)))
    for kind, commands in (("scripts", ("evalsha", "eval")), ("reads", ("mget",))):
        stats_of = [info.get(f"cmdstat_{name}", {"calls": 0, "usec": 0}) for name in commands]
        found[kind] = sum(one["calls"] for one in stats_of)
        found[f"microseconds of {kind}"] = sum(one["usec"] for one in stats_of)
    found["bytes to redis"] = stats["total_net_input_bytes"]
    found["bytes from redis"] = stats["total_net_output_bytes"]
    return found
