"""Keeps gunicorn's master serving: through failed forks, failed starts, reloads and frozen machines.

``gunicorn.conf.py`` gives the running arbiter this class. gunicorn's own arbiter ends the whole server when a
fork fails or a new worker cannot start. It kills workers after a time in which the machine stood still. On a
reload it ends the old workers before the new ones accept.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from gunicorn import arbiter, sock, util
from gunicorn.errors import HaltServer
from gunicorn.pidfile import Pidfile

from ..telemetry.log_output import STDERR

#: How long the master waits after a failed start before it tries again, seconds. The wait doubles each time.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: The master checks its workers every second. If it is late by this much, the machine stood still, seconds.
FROZEN = 2.0
#: How often the master checks while workers start, seconds.
STARTING = 0.1


class Master(arbiter.Arbiter):  # type: ignore[misc]  # gunicorn ships no types
    """The arbiter. Workers with an age up to ``_old_until`` started before the last reload; they serve until
    the new workers do."""

    LISTENERS: list[Any]
    pidfile: Any
    _old_until = 0
    _reload_wanted = False
    _reloaded_at = 0.0
    _has_served = False
    _is_stopping = False
    _pause = FIRST_PAUSE
    _retry_at = 0.0
    _checked_at: float | None = None
    _lenient_until = 0.0

    # ---------------------------------------------------------------- starting workers

    def spawn_worker(self) -> int | None:
        """:return: the process id, or ``None`` when the system allows no other process now."""
        try:
            return int(super().spawn_worker())
        except (OSError, RuntimeError) as error:
            if os.getpid() != self.pid:  # the child failed, and must not become a second master
                os._exit(1)
            self._postpone(f"a worker could not be started: {error}")
            return None

    def _postpone(self, what: str) -> None:
        if self._is_stopping:
            return
        self._retry_at = time.monotonic() + self._pause
        serving = sum(map(_is_ready, self.WORKERS.values()))
        self.log.error("%s. %d workers serve. Trying again in %.0f s.", what, serving, self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def reap_workers(self) -> None:
        """Reap workers. Once the server has served, a worker that cannot start does not end the server."""
        while True:
            before = dict(self.WORKERS)
            started = {pid for pid, worker in before.items() if _has_begun(worker)}
            self._has_served |= bool(started)
            try:
                super().reap_workers()
            except HaltServer as failure:
                if not (self._has_served or self._is_stopping):
                    raise
                for pid in before.keys() - self.WORKERS.keys():
                    before[pid].tmp.close()
                    self.cfg.child_exit(self, before[pid])
                self._postpone(f"{failure.reason.rstrip('.')} (exit status {failure.exit_status})")
            else:
                if any(not _is_ending(before[pid]) for pid in before.keys() - self.WORKERS.keys() - started):
                    self._postpone("A worker ended before it had begun to serve")
                return

    def stop(self, graceful: bool = True) -> None:
        self._is_stopping = True
        super().stop(graceful)

    def manage_workers(self) -> None:
        """Start missing workers. End surplus ones, and those from before a reload once new ones serve."""
        if self._reload_wanted and self._may_reload():
            self._reload_wanted = False
            self._reload()
        current = self._current()
        while len(current) < self.num_workers and time.monotonic() >= self._retry_at:
            if self.spawn_worker() is None:
                break
            current = self._current()
        ready = sum(map(_is_ready, current))
        self._has_served |= ready > 0
        if ready >= self.num_workers:
            self._pause = FIRST_PAUSE
            self._end([worker for worker in self.WORKERS.values() if worker.age <= self._old_until])
        self._end(current[: max(0, len(current) - self.num_workers)])

    def spawn_workers(self) -> None:
        self.manage_workers()

    def _current(self) -> list[Any]:
        """The workers that stay, the oldest first."""
        workers = self.WORKERS.values()
        current = [worker for worker in workers if worker.age > self._old_until and not _is_ending(worker)]
        return sorted(current, key=lambda worker: worker.age)

    def _end(self, workers: list[Any]) -> None:
        for worker in workers:
            if not _is_ending(worker):  # a second SIGTERM could kill it
                worker.is_ending = True
                self.kill_worker(worker.pid, signal.SIGTERM)

    def wait_for_signals(self, timeout: float = 1.0) -> list[Any]:
        starting = sum(map(_is_ready, self._current())) < self.num_workers
        return list(super().wait_for_signals(STARTING if starting else timeout))

    def handle_usr1(self) -> None:
        super().handle_usr1()
        STDERR.reopen()

    # ---------------------------------------------------------------- a machine that stood still

    def murder_workers(self) -> None:
        """Kill silent workers. After the machine stood still, give each worker its full timeout again."""
        now = time.monotonic()
        if self._checked_at is not None and now - self._checked_at > 1.0 + FROZEN:
            self._lenient_until = now + self.timeout
            self.log.warning("this process stood still for %.0f s", now - self._checked_at)
        self._checked_at = now
        if now >= self._lenient_until:
            super().murder_workers()

    # ---------------------------------------------------------------- reloading

    def reload(self) -> None:
        """On SIGHUP, replace the workers. New workers take over as soon as they accept.

        A reload during a reload starts after it. Several such requests count as one.
        """
        self._reload_wanted = True

    def _may_reload(self) -> bool:
        """Whether all current workers serve, and not too many old ones still finish their calls."""
        if time.monotonic() > self._reloaded_at + self.timeout:
            return True
        return all(map(_is_ready, self._current())) and len(self.WORKERS) <= 2 * self.num_workers

    def _reload(self) -> None:
        """Do gunicorn's ``reload`` without starting workers. A failed load changes nothing."""
        self._stats["reloads"] += 1
        before, address = self.cfg, self.cfg.address
        for name in before.env:
            if name in before.env_orig:
                os.environ[name] = before.env_orig[name]
            else:
                os.environ.pop(name, None)
        try:
            self.app.reload()
            self.setup(self.app)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the file may raise anything
            self.log.error("the configuration cannot be loaded (%r), the old one stays in force", error)
            self.app.cfg = before
            self.setup(self.app)
            return
        self.log.reopen_files()
        if address != self.cfg.address:
            for listener in self.LISTENERS:
                listener.close()
            self.LISTENERS = sock.create_sockets(self.cfg, self.log)
            self.log.info("Listening at: %s", ",".join(map(str, self.LISTENERS)))
        self.cfg.on_reload(self)
        self._renew_pidfile()
        util._setproctitle(f"master [{self.proc_name}]")
        self._old_until, self._retry_at, self._reloaded_at = self.worker_age, 0.0, time.monotonic()

    def _renew_pidfile(self) -> None:
        if self.pidfile is not None:
            self.pidfile.unlink()
        if self.cfg.pidfile is not None:
            self.pidfile = Pidfile(self.cfg.pidfile)
            self.pidfile.create(self.pid)


def take_signals(server: arbiter.Arbiter) -> None:
    """Exit a new worker if it was told to end just after the fork.

    gunicorn's child keeps the master's handlers until it installs its own, and would lose such a signal.
    """
    ending = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
    for number in ending:
        signal.signal(number, signal.SIG_DFL)
    while not server.SIG_QUEUE.empty():
        if server.SIG_QUEUE.get_nowait() in ending:
            sys.exit(0)


def _is_ready(worker: Any) -> bool:
    return _has_begun(worker) and not _is_ending(worker)


def _has_begun(worker: Any) -> bool:
    """Whether the worker accepts connections. It sends its first heartbeat just after it starts to."""
    try:
        return bool(worker.tmp.last_update() != worker.born)
    except (OSError, ValueError):
        return False


def _is_ending(worker: Any) -> bool:
    return getattr(worker, "is_ending", False)
