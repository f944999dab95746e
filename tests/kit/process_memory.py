"""Measures the peak memory and the CPU time of a gateway's workers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit.servers import Gateway

MIB = 1024 * 1024


class Cost:
    """The memory and CPU time that a block of code cost the workers."""

    #: The largest growth of any one worker, bytes.
    memory = 0
    #: CPU time of all workers, seconds.
    cpu = 0.0


@contextmanager
def cost_to(gateway: Gateway) -> Iterator[Cost]:
    """Measure the block."""
    cost, workers = Cost(), gateway.workers
    before = {}
    for pid in workers:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets the peak
        before[pid] = _status(pid, "VmRSS"), _cpu(pid)
    yield cost
    cost.memory = max(_status(pid, "VmHWM") - before[pid][0] for pid in workers)
    cost.cpu = sum(_cpu(pid) - before[pid][1] for pid in workers)


def pss_of(gateway: Gateway) -> int:
    """The current memory of all workers, shared memory counted once, bytes."""
    total = 0
    for pid in gateway.workers:
        found = re.search(r"Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
        assert found
        total += int(found[1]) * 1024
    return total


def cpu_of(gateway: Gateway) -> float:
    """The CPU time of all workers so far, seconds."""
    return sum(_cpu(pid) for pid in gateway.workers)


def cpu_of_process(pid: int) -> float:
    """The CPU time of one process so far, seconds."""
    return _cpu(pid)


def _status(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
