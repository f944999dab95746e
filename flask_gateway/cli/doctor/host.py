"""What the gateway stands on: files, threads, memory and clock of this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .finding import Diagnosis, Level, fail, ok, warn

#: Beside the connections: logs, heartbeats, the interpreter's own.
SPARE_FILES = 64
#: Beside those that serve: the reactor, the accepting one, a signal's.
SPARE_THREADS = 8
#: Free room for the workers' figures, bytes of one worker.
METRICS = 1 << 19
#: The descriptors of one stream: its caller's connection, its upstream's, and the copy that can cut this one.
STREAM_FILES = 3
MEMORY = "/dev/shm"  # noqa: S108 - looked at only


def look(workers: int, threads: int, state: str, streams: int = 2000) -> Iterator[Diagnosis]:
    """:param threads: of one worker. :param streams: likewise. :param state: the URL of the store."""
    pid = service()
    whose = "of the service" if pid else "of this shell, which the service need not share"
    limits = Path(f"/proc/{pid or 'self'}/limits").read_text()
    # The server raises its own limit to the most that it may have.
    most = soft_limit(limits, "Max open files") if pid else hard_limit(limits, "Max open files")
    yield files(most, threads, whose, streams)
    yield tasks(_most_tasks(limits, pid), workers, threads, whose)
    if state.startswith("shared://"):
        yield shared_memory(hasattr(os, "memfd_create"))
    yield heartbeats(os.path.isdir(MEMORY) and os.access(MEMORY, os.W_OK), _free(MEMORY), workers)
    yield steadiness(*_drift(0.1, time.time, time.monotonic, time.sleep))
    yield synchronised(_said("timedatectl", "show", "--property=NTPSynchronized", "--value"))


def service() -> int:
    """The main process of the installed service; 0 when there is none."""
    said = _said("systemctl", "show", "--property=MainPID", "--value", "flask-gateway")
    return int(said) if said and said.isdecimal() else 0


def files(limit: int | None, threads: int, whose: str, streams: int = 2000) -> Diagnosis:
    """:param limit: open files of one process; ``None`` for no limit."""
    needed = STREAM_FILES * streams + 2 * threads + SPARE_FILES
    if limit is None or limit >= needed:
        return ok(f"files: {limit or 'any number'} may be open ({whose}), {needed} are needed")
    return fail(
        f"files: only {limit} may be open ({whose}), {streams} streams and {threads} threads need {needed}",
        "LimitNOFILE=65536 in the unit, or a lower GATEWAY_MAX_STREAMS",
    )


def short_of_files(threads: int, streams: int) -> Diagnosis | None:
    """What :func:`files` finds wrong with this process, had it raised its limit as the server does."""
    try:
        limits = Path("/proc/self/limits").read_text()
    except OSError:  # not Linux
        return None
    found = files(hard_limit(limits, "Max open files"), threads, "of a worker", streams)
    return found if found.level is Level.FAIL else None


def tasks(limit: int | None, workers: int, threads: int, whose: str) -> Diagnosis:
    """:param limit: processes and threads at once; ``None`` for no limit."""
    needed = workers * (threads + SPARE_THREADS)
    if limit is None or limit >= needed:
        return ok(f"threads: {limit or 'any number'} may run ({whose}), {needed} are needed")
    return fail(
        f"threads: only {limit} may run ({whose}), {needed} are needed", f"TasksMax={2 * needed} in the unit"
    )


def soft_limit(limits: str, name: str) -> int | None:
    """From a ``/proc/PID/limits``: proc(5)."""
    return _limit(rf"^{name} +(\d+|unlimited) ", limits)


def hard_limit(limits: str, name: str) -> int | None:
    """From the same: as far as a process may raise the soft one."""
    return _limit(rf"^{name} +\S+ +(\d+|unlimited) ", limits)


def _limit(pattern: str, limits: str) -> int | None:
    found = re.search(pattern, limits, re.MULTILINE)
    return int(found[1]) if found and found[1].isdecimal() else None


def shared_memory(possible: bool) -> Diagnosis:
    if possible:
        return ok("state: the workers can share memory")
    return fail(
        "state: this system has no memfd_create, so each worker counts for itself", "GATEWAY_STATE=redis://…"
    )


def heartbeats(usable: bool, free: int, workers: int = 1) -> Diagnosis:
    """:param free: bytes."""
    if usable and free >= METRICS * workers:
        return ok(f"metrics: {MEMORY} takes the workers' figures")
    why = "is full" if usable else "cannot be written"
    return fail(
        f"metrics: {MEMORY} {why}, so figures lie on disk or are missing from /metrics; calls are served",
        "free it, or give it more room (docker: --shm-size)",
    )


def steadiness(wall: float, monotonic: float) -> Diagnosis:
    """How far each clock went in the same time, seconds."""
    if abs(wall - monotonic) < 0.05:
        return ok("clock: it runs steadily")
    what = f"clock: it was set by {wall - monotonic:+.2f} s while being looked at"
    return warn(what, "let it be slewed, not stepped: limits are safe, the times in logs are not")


def synchronised(said: str | None) -> Diagnosis:
    if said == "no":
        return warn("clock: it is not synchronised", "apt install systemd-timesyncd")
    return ok(
        "clock: it is synchronised"
        if said == "yes"
        else "clock: nothing here says whether it is synchronised"
    )


def _most_tasks(limits: str, pid: int) -> int | None:
    """The least of what the user and the control groups may have."""
    found = [soft_limit(limits, "Max processes")]
    own = Path(f"/proc/{pid or 'self'}/cgroup").read_text()
    path = re.search(r"^0::/(.*)$", own, re.MULTILINE)
    folder = Path("/sys/fs/cgroup") / path[1] if path else None
    while folder is not None and folder != Path("/sys/fs/cgroup"):
        file = folder / "pids.max"
        text = file.read_text().strip() if file.exists() else ""
        found.append(int(text) if text.isdecimal() else None)
        folder = folder.parent
    return min((limit for limit in found if limit is not None), default=None)


def _free(folder: str) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _drift(
    seconds: float,
    wall: Callable[[], float],
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> tuple[float, float]:
    began = wall(), monotonic()
    sleep(seconds)
    return wall() - began[0], monotonic() - began[1]


def _said(*command: str) -> str | None:
    """What a program of the system says; ``None`` when it is missing or fails."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - the system's own, with words of ours
            [program, *command[1:]], capture_output=True, text=True, timeout=2, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
