"""Reloads settings when their files change, while the process keeps serving.

The environment of a process is fixed, but the settings file and the secret files that it names may change. A
thread checks them every second. It is a thread of its own because a slow disk must not delay timers or
streams. A changed file is read one check later, when its writer has usually finished. A reload is all or
nothing; if it is refused, the log says why.

Calls in flight keep the settings they began with. Counters, leases and breakers stay (``build.rebuild``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import msgspec

from ..config import last_good
from ..config.describe import changed
from ..config.errors import ConfigError, one_line
from ..config.file_access import MOST_SETTINGS, read_regular
from ..config.load import Resolved
from ..config.schema import Authorities, ClientCertificate
from ..config.toml_file import files
from ..reactor import Periodic
from .build import Gateway, rebuild
from .preflight import refuse_emptied

log = logging.getLogger(__name__)

#: Between two checks, seconds. A change is in force after at most two periods and the time to read it.
PERIOD = 1.0

#: Settings of the state store, the ledger, traces and the cache, read once by a process: a change needs
#: a restart. So does the first admin, for whom the paths of admins are made.
LASTING = ("state", "state_namespace", "machines", "ledger", "traces", "cache")

#: Identifies one version of a file, by its inode, size and times; ``None`` if it cannot be read.
Mark = tuple[int, ...] | None


class Reloader:
    """Watches the settings file of a process's gateway, and the files that it names.

    :param gateway: the gateway that serves now; its settings come from a file.
    :param load: loads the settings and checks them as at a start; raises :class:`ConfigError`.
    :param swap: replaces the gateway that serves.
    :param log: gets the result of each reload.
    """

    def __init__(
        self,
        gateway: Gateway,
        load: Callable[[], Resolved],
        swap: Callable[[Gateway], None],
        log: logging.Logger,
    ) -> None:
        assert gateway.settings.config is not None
        self._file = gateway.settings.config
        self._gateway = gateway
        self._load = load
        self._swap = swap
        self._log = log
        #: The versions of the files at the last read. It begins empty, so that the first check reads them
        #: again: they may have changed since the start.
        self._seen: dict[Path, Mark] = {}
        self._changing = False
        #: The last refusal that was logged, and a digest of the content that caused it.
        self._refused: tuple[str, bytes] | None = None

    def start(self) -> None:
        """Start the thread that checks. Call it after the fork."""
        Periodic("settings", PERIOD, self.check).start()

    def check(self) -> None:
        """Check whether the files have changed. If the previous check found a change, reload."""
        if not self._changing:
            self._changing = not self._seen or _marks(self._seen) != self._seen
            return
        self._changing = False
        # Before the read: a write during the read gives the file another mark.
        mark = _mark(Path(self._file))
        self._seen = {**_marks(self._files()), Path(self._file): mark}
        try:
            self._apply(self._load())
        except (ConfigError, ValueError) as error:
            self._refuse(one_line(str(error)))
        except Exception:  # the thread must read the next change
            self._gateway.metrics.reloaded("failure")
            log.exception("unexpected exception while reloading the settings; the old ones stay in force")

    def _files(self) -> set[Path]:
        """All files that the settings come from, including those named by the environment."""
        settings = self._gateway.settings
        places: list[Authorities | ClientCertificate | None] = [settings.ca_file, settings.client_cert]
        for upstream in settings.upstreams:
            places += [upstream.ca_file, upstream.client_cert]
        named = (Path(path) for place in places if place is not None for path in place.files)
        return {*files(self._file), *named}

    def _apply(self, resolved: Resolved) -> None:
        before, read = self._gateway.settings, resolved.settings
        refuse_emptied(before, resolved)
        lasting = LASTING if before.admins else (*LASTING, "admins")
        for name in (name for name in changed(before, read) if name.partition(".")[0] in lasting):
            self._log.warning("the setting %s has changed; that needs a restart or a HUP", name)
        after = msgspec.structs.replace(read, **{name: getattr(before, name) for name in lasting})
        names = ", ".join(changed(before, after))
        if names:
            old, self._gateway = self._gateway, rebuild(after, self._gateway)
            self._swap(self._gateway)
            if old.http is not self._gateway.http:
                old.http.retire()
            if old.plugins is not None:
                from .plugins import retire

                retire(old.plugins, self._gateway.plugins)
        last_good.save(after)
        if names or not self._gateway.metrics.last_reload_successful:
            self._gateway.metrics.reloaded("success")
            self._log.info("settings reloaded; changed: %s", names or "nothing")
        self._refused = None
        for warning in after.warnings:
            if warning not in before.warnings:
                self._log.warning("flask-gateway: warning: %s", warning)

    def _refuse(self, line: str) -> None:
        refused = (line, _content(self._seen))
        if refused != self._refused:
            self._refused = refused
            self._gateway.metrics.reloaded("failure")
            self._log.error("flask-gateway: %s (the change is refused, the old settings stay)", line)


def _marks(paths: Iterable[Path]) -> dict[Path, Mark]:
    return {path: _mark(path) for path in paths}


def _mark(path: Path) -> Mark:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _content(paths: Iterable[Path]) -> bytes:
    """A digest of the content of all files."""
    digest = sha256()
    for path in sorted(paths):
        try:
            data = read_regular(path, MOST_SETTINGS)
        except (OSError, ValueError):
            data = b""
        digest.update(b"%d:" % len(data) + data)
    return digest.digest()
