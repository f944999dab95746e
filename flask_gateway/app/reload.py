"""Settings that change in their file, taken over by a process that serves.

The environment of a process cannot change, the file that it names can, and so can the files of secrets that
this one names. They are looked at every second, by a thread of its own: a disk may keep it waiting, and a
clock or a stream must not wait for that. What has changed is read at the next look, when whoever writes it
has mostly finished. Then either all of it is taken over, or nothing is, and the log says why.

What is under way goes on with what it began with; what is counted, held or open stays (``wiring.rebuild``).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import msgspec

from ..config import ConfigError, Resolved, changed, files, last_good
from ..config.errors import one_line
from ..config.file_access import MOST_SETTINGS, read_regular
from .build import Gateway, rebuild
from .preflight import refuse_emptied

log = logging.getLogger(__name__)

#: Between two looks, seconds. A change is in force within two of them, and the time it takes to read it.
PERIOD = 1.0

#: What a process opens once, so that it stays as it is until another process takes its place.
LASTING = ("state", "state_namespace", "machines")

#: What of a file tells that it has changed, replaced by another included; ``None`` when it cannot be seen.
Mark = tuple[int, ...] | None


class Reloader:
    """Follows the file of one process's gateway, and those that it names.

    :param gateway: the one that serves now; its settings are from a file.
    :param load: the settings as they are set now, checked as at a start; raises :class:`ConfigError`.
    :param swap: puts another gateway in its place.
    :param log: where it is said what became of a change.
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
        #: How the files were when they were last read. At first they are read once more, lest a change
        #: since the start be missed.
        self._seen: dict[Path, Mark] = {}
        self._changing = False
        #: The refusal that was said last, and of which content.
        self._refused: tuple[str, bytes] | None = None

    def start(self) -> None:
        """Begin to look. To be called after the fork."""
        threading.Thread(target=self._keep_looking, name="settings", daemon=True).start()

    def _keep_looking(self) -> None:
        never = threading.Event()
        while not never.wait(PERIOD):
            self.look()

    def look(self) -> None:
        """See whether the files have changed; if they had at the last look, read them."""
        if not self._changing:
            self._changing = not self._seen or _marks(self._seen) != self._seen
            return
        self._changing = False
        # Before it is read: what is written meanwhile has another mark.
        mark = _mark(Path(self._file))
        self._seen = {**_marks(self._files()), Path(self._file): mark}
        try:
            self._take_over(self._load())
        except (ConfigError, ValueError) as error:
            self._refuse(one_line(str(error)))
        except Exception:
            self._gateway.metrics.reloaded("failure")
            log.exception("the settings could not be read anew, the old ones are in force")

    def _files(self) -> set[Path]:
        """The files that the settings were read from, also those that the environment names."""
        used = (self._gateway.settings.ca_file, *(one.ca_file for one in self._gateway.settings.upstreams))
        return {*files(self._file), *(Path(path) for one in used if one is not None for path in one.files)}

    def _take_over(self, resolved: Resolved) -> None:
        before, read = self._gateway.settings, resolved.settings
        refuse_emptied(before, resolved)
        for name in (name for name in changed(before, read) if name in LASTING):
            self._log.warning("the setting %s has changed, which takes a restart or a HUP", name)
        after = msgspec.structs.replace(read, **{name: getattr(before, name) for name in LASTING})
        names = ", ".join(changed(before, after))
        if names:
            old, self._gateway = self._gateway, rebuild(after, self._gateway)
            self._swap(self._gateway)
            if old.http is not self._gateway.http:
                old.http.retire()
        last_good.save(after)
        if names or not self._gateway.metrics.last_reload_successful:
            self._gateway.metrics.reloaded("success")
            self._log.info("settings read anew; changed: %s", names or "nothing")
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
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _content(paths: Iterable[Path]) -> bytes:
    """A digest of all that is in the files."""
    digest = sha256()
    for path in sorted(paths):
        try:
            data = read_regular(path, MOST_SETTINGS)
        except (OSError, ValueError):
            data = b""
        digest.update(b"%d:" % len(data) + data)
    return digest.digest()
