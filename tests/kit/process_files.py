"""Finds the processes of a gateway, and the files that they share."""

from __future__ import annotations

import os
from pathlib import Path

from kit.servers import Gateway


def processes(gateway: Gateway) -> list[int]:
    """The process ids of the master and of the workers."""
    return [gateway.pid, *gateway.workers]


def shared_memory(gateway: Gateway) -> list[str]:
    """The paths of the shared memory that holds the state of all workers."""
    folder = Path(f"/proc/{gateway.pid}/fd")
    return [str(file) for file in folder.iterdir() if "memfd:flask-gateway" in os.readlink(file)]


def metrics_files(gateway: Gateway) -> list[Path]:
    """The metrics files that the workers have mapped."""
    links = [file.resolve() for pid in gateway.workers for file in Path(f"/proc/{pid}/map_files").iterdir()]
    return sorted({file for file in links if "flask-gateway-metrics" in str(file)})
