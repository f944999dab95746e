"""What the workers of a gateway cost: memory at its highest, and time of the processor."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit.servers import Gateway

MIB = 1024 * 1024


class Cost:
    """What a block of code has made the workers of a gateway spend."""

    #: The largest growth of any one worker, bytes.
    memory = 0
    #: Of all workers together, seconds.
    cpu = 0.0


@contextmanager
def cost_to(gateway: Gateway) -> Iterator[Cost]:
    """Measure it."""
    cost, workers = Cost(), gateway.workers
    before = {}
    for pid in workers:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak is from now on
        before[pid] = _status(pid, "VmRSS"), _cpu(pid)
    yield cost
    cost.memory = max(_status(pid, "VmHWM") - before[pid][0] for pid in workers)
    cost.cpu = sum(_cpu(pid) - before[pid][1] for pid in workers)


def pss_of(gateway: Gateway) -> int:
    """The memory of all workers now, what they share counted once, bytes."""
    total = 0
    for pid in gateway.workers:
        found = re.search(r"Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
        assert found
        total += int(found[1]) * 1024
    return total


def cpu_of(gateway: Gateway) -> float:
    """What all workers have had of the processor so far, seconds."""
    return sum(_cpu(pid) for pid in gateway.workers)


def _status(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
