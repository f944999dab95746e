"""Checks this machine: limits of files and threads, shared memory, and the clock."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .finding import Diagnosis, Level, fail, ok, warn

#: Descriptors apart from connections: logs, heartbeats, the interpreter's own.
SPARE_FILES = 64
#: Threads apart from those that serve: the reactor, the accepting thread, a signal's.
SPARE_THREADS = 8
#: Free space for the metrics of one worker, bytes.
METRICS = 1 << 19
#: Descriptors of one stream: the caller's connection, the upstream's, and a duplicate to cut it.
STREAM_FILES = 3
MEMORY = "/dev/shm"  # noqa: S108 - only inspected


def check_all(workers: int, threads: int, state: str, streams: int = 2000) -> Iterator[Diagnosis]:
    """:param threads: and ``streams`` are those of one worker. :param state: the URL of the store."""
    pid = service()
    whose = "of the service" if pid else "of this shell, which the service need not share"
    limits = Path(f"/proc/{pid or 'self'}/limits").read_text()
    # The server raises its soft limit to the hard limit.
    most = soft_limit(limits, "Max open files") if pid else hard_limit(limits, "Max open files")
    yield files(most, threads, whose, streams)
    yield tasks(_most_tasks(limits, pid), workers, threads, whose)
    if state.startswith("shared://"):
        yield shared_memory(hasattr(os, "memfd_create"))
    yield heartbeats(os.path.isdir(MEMORY) and os.access(MEMORY, os.W_OK), _free(MEMORY), workers)
    yield steadiness(*_drift(0.1, time.time, time.monotonic, time.sleep))
    yield synchronised(_output("timedatectl", "show", "--property=NTPSynchronized", "--value"))


def service() -> int:
    """The main process of the installed service; 0 when there is none."""
    pid = _output("systemctl", "show", "--property=MainPID", "--value", "flask-gateway")
    return int(pid) if pid and pid.isdecimal() else 0


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
    """The failure of :func:`files` for this process with its hard limit, to which the server raises it."""
    try:
        limits = Path("/proc/self/limits").read_text()
    except OSError:  # not Linux
        return None
    diagnosis = files(hard_limit(limits, "Max open files"), threads, "of a worker", streams)
    return diagnosis if diagnosis.level is Level.FAIL else None


def tasks(limit: int | None, workers: int, threads: int, whose: str) -> Diagnosis:
    """:param limit: processes and threads at once; ``None`` for no limit."""
    needed = workers * (threads + SPARE_THREADS)
    if limit is None or limit >= needed:
        return ok(f"threads: {limit or 'any number'} may run ({whose}), {needed} are needed")
    return fail(
        f"threads: only {limit} may run ({whose}), {needed} are needed", f"TasksMax={2 * needed} in the unit"
    )


def soft_limit(limits: str, name: str) -> int | None:
    """The soft limit in a ``/proc/PID/limits``: proc(5)."""
    return _limit(rf"^{name} +(\d+|unlimited) ", limits)


def hard_limit(limits: str, name: str) -> int | None:
    """The hard limit in it, up to which a process may raise the soft limit."""
    return _limit(rf"^{name} +\S+ +(\d+|unlimited) ", limits)


def _limit(pattern: str, limits: str) -> int | None:
    match = re.search(pattern, limits, re.MULTILINE)
    return int(match[1]) if match and match[1].isdecimal() else None


def shared_memory(possible: bool) -> Diagnosis:
    if possible:
        return ok("state: the workers can share memory")
    return fail(
        "state: this system has no memfd_create, so each worker keeps its own counts",
        "GATEWAY_STATE=redis://…",
    )


def heartbeats(usable: bool, free: int, workers: int = 1) -> Diagnosis:
    """:param free: bytes."""
    if usable and free >= METRICS * workers:
        return ok(f"metrics: {MEMORY} has space for the workers' metrics")
    why = "is full" if usable else "cannot be written"
    return fail(
        f"metrics: {MEMORY} {why}, so metrics are kept on disk or missing from /metrics; calls are served",
        "free it, or make it larger (docker: --shm-size)",
    )


def steadiness(wall: float, monotonic: float) -> Diagnosis:
    """:param wall: and ``monotonic``: how far each clock advanced in the same time, seconds."""
    if abs(wall - monotonic) < 0.05:
        return ok("clock: it runs steadily")
    what = f"clock: it was set by {wall - monotonic:+.2f} s during the check"
    return warn(what, "slew it, do not step it: limits are safe, the times in logs are not")


def synchronised(answer: str | None) -> Diagnosis:
    if answer == "no":
        return warn("clock: it is not synchronised", "apt install systemd-timesyncd")
    return ok(
        "clock: it is synchronised"
        if answer == "yes"
        else "clock: this system does not say whether it is synchronised"
    )


def _most_tasks(limits: str, pid: int) -> int | None:
    """The lowest limit of the user and of the control groups."""
    limits_found = [soft_limit(limits, "Max processes")]
    own = Path(f"/proc/{pid or 'self'}/cgroup").read_text()
    path = re.search(r"^0::/(.*)$", own, re.MULTILINE)
    folder = Path("/sys/fs/cgroup") / path[1] if path else None
    while folder is not None and folder != Path("/sys/fs/cgroup"):
        file = folder / "pids.max"
        text = file.read_text().strip() if file.exists() else ""
        limits_found.append(int(text) if text.isdecimal() else None)
        folder = folder.parent
    return min((limit for limit in limits_found if limit is not None), default=None)


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


def _output(*command: str) -> str | None:
    """The output of a system program; ``None`` when it is missing or fails."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a system program with fixed arguments
            [program, *command[1:]], capture_output=True, text=True, timeout=2, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
