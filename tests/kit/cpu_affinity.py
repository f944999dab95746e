"""Limits the CPU cores of a gateway, and reads which cores its workers use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit.servers import Gateway


@contextmanager
def confined_to(cores: set[int]) -> Iterator[None]:
    """Processes started inside the block may use these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores_of(gateway: Gateway) -> list[set[int]]:
    """The cores of each worker, over all its threads."""
    return sorted(
        set().union(*(os.sched_getaffinity(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()))
        for pid in gateway.workers
    )


TWO = set(sorted(os.sched_getaffinity(0))[:2])
