"""Tests what the doctor finds on the machine: files, tasks, state and clock."""

from __future__ import annotations

import pytest

from flask_gateway.cli.doctor import host
from flask_gateway.cli.doctor.finding import Level

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL


# ---------------------------------------------------------------- the machine

LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max processes             63432                unlimited            processes
Max open files            1024                 524288               files
Max locked memory         unlimited            unlimited            bytes
"""


def test_limits() -> None:
    assert host.soft_limit(LIMITS, "Max open files") == 1024
    assert host.soft_limit(LIMITS, "Max processes") == 63432
    assert host.soft_limit(LIMITS, "Max locked memory") is None
    assert host.hard_limit(LIMITS, "Max open files") == 524288
    assert host.hard_limit(LIMITS, "Max processes") is None


@pytest.mark.parametrize(("limit", "level"), [(1024, FAIL), (6191, FAIL), (6192, OK), (None, OK)])
def test_files(limit: int | None, level: Level) -> None:
    """A stream has three descriptors: 1024 are enough for one in six of 2000 streams."""
    assert host.files(limit, 64, "here").level is level
    assert host.files(limit and limit - 3000, 64, "here", streams=1000).level is level


@pytest.mark.parametrize(("limit", "level"), [(143, FAIL), (144, OK), (None, OK)])
def test_tasks(limit: int | None, level: Level) -> None:
    assert host.tasks(limit, 2, 64, "here").level is level


def test_state() -> None:
    assert host.shared_memory(True).level is OK
    assert host.shared_memory(False).level is FAIL
    assert host.heartbeats(True, 1 << 20).level is OK
    assert host.heartbeats(True, 0).level is FAIL
    assert host.heartbeats(True, 1 << 20, workers=3).level is FAIL
    assert host.heartbeats(False, 1 << 30).level is FAIL


def test_the_clock() -> None:
    assert host.steadiness(0.1001, 0.1).level is OK
    assert host.steadiness(3600.1, 0.1).level is WARN
    assert host.steadiness(-3600.1, 0.1).level is WARN
    assert [host.synchronised(said).level for said in ("yes", "no", None, "")] == [OK, WARN, OK, OK]
