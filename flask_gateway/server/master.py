"""Makes gunicorn's master keep serving: through failed forks, failed starts, reloads and frozen machines.

``gunicorn.conf.py`` gives the running arbiter this class. gunicorn's own ends the whole server when a fork
fails or a new worker cannot start, kills workers for time in which the machine stood still, and on a reload
ends the old workers before the new ones accept.
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

#: How long the master waits before it starts a worker again that could not be started, seconds. It doubles.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: The master looks at its workers every second. If it comes that much later, nobody had any time, seconds.
FROZEN = 2.0
#: How often it looks while workers start, seconds.
STARTING = 0.1


class Master(arbiter.Arbiter):  # type: ignore[misc]  # gunicorn ships no types
    """Workers of an age up to ``_old_until`` are from before the last reload. They serve
    until the new ones do."""

    LISTENERS: list[Any]
    pidfile: Any
    _old_until = 0
    _reload_wanted = False
    _reloaded_at = 0.0
    _has_served = False
    _is_stopping = False
    _pause = FIRST_PAUSE
    _retry_at = 0.0
    _looked_at: float | None = None
    _lenient_until = 0.0

    # ---------------------------------------------------------------- starting workers

    def spawn_worker(self) -> int | None:
        """:return: the process id, or ``None`` when there cannot be another process now."""
        try:
            return int(super().spawn_worker())
        except (OSError, RuntimeError) as error:
            if os.getpid() != self.pid:  # it failed in the child, which must not become a second master
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
        """As gunicorn's, but a worker that cannot start ends nobody else once the server has served."""
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
        """Start those that are missing. End those that are not needed any more, one generation at a time."""
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
        """The workers that are to stay, the oldest first."""
        found = [one for one in self.WORKERS.values() if one.age > self._old_until and not _is_ending(one)]
        return sorted(found, key=lambda worker: worker.age)

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

    # ---------------------------------------------------------------- time that nobody had

    def murder_workers(self) -> None:
        """As gunicorn's, but after the machine stood still each worker has all its time again."""
        now = time.monotonic()
        if self._looked_at is not None and now - self._looked_at > 1.0 + FROZEN:
            self._lenient_until = now + self.timeout
            self.log.warning("this process stood still for %.0f s", now - self._looked_at)
        self._looked_at = now
        if now >= self._lenient_until:
            super().murder_workers()

    # ---------------------------------------------------------------- reloading

    def reload(self) -> None:
        """On SIGHUP: workers with new code take over as soon as they accept. A reload that is asked for while
        another one goes on comes after it; several such are one."""
        self._reload_wanted = True

    def _may_reload(self) -> bool:
        """Whether no worker is starting any more, and not too many are still at their last calls."""
        if time.monotonic() > self._reloaded_at + self.timeout:
            return True
        return all(map(_is_ready, self._current())) and len(self.WORKERS) <= 2 * self.num_workers

    def _reload(self) -> None:
        """gunicorn's own ``reload`` up to where it starts workers. What cannot be loaded changes nothing."""
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
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever that file does
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
    """To be called in a new worker: a request to end counts, also one that came just after the fork. gunicorn
    has the child keep the master's handlers until it has some of its own, and so lose the signal."""
    ending = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
    for number in ending:
        signal.signal(number, signal.SIG_DFL)
    while not server.SIG_QUEUE.empty():
        if server.SIG_QUEUE.get_nowait() in ending:
            sys.exit(0)


def _is_ready(worker: Any) -> bool:
    return _has_begun(worker) and not _is_ending(worker)


def _has_begun(worker: Any) -> bool:
    """Whether it has accepted connections: its first heartbeat comes just after it has begun to."""
    try:
        return bool(worker.tmp.last_update() != worker.born)
    except (OSError, ValueError):
        return False


def _is_ending(worker: Any) -> bool:
    return getattr(worker, "is_ending", False)
