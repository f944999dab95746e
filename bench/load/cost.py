"""Reads the cost of a process tree so far, as the kernel counts it (proc(5))."""

from __future__ import annotations

import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found, at = [pid], 0
    while at < len(found):
        for children in Path(f"/proc/{found[at]}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
        at += 1
    return found


def cpu(pid: int) -> float:
    """CPU seconds of the tree, ended children included."""
    total = 0
    for one in tree(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:15])
    return total / _TICK


def memory(pid: int) -> float:
    """Memory of the tree, MB; shared memory counts once (proportional set size)."""
    total = 0
    for one in tree(pid):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024
