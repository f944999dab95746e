"""Keeps the names of the models that upstreams list, asked for in the background.

A call never waits for it: it reads what was heard last. Only upstreams with ``list_models = true`` are asked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from ..model.errors import GatewayError

log = logging.getLogger(__name__)

#: Between two looks at an upstream that has answered, and at one that has not, seconds.
PERIOD, AGAIN = 300.0, 30.0

#: Asks the upstream of a name for its models. Raises a ``GatewayError`` when it does not tell.
Ask = Callable[[str], tuple[str, ...]]


class Catalog:
    """The models of upstreams, by upstream. One per process; read by all threads, written by its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: dict[str, Ask] = {}
        self._due: dict[str, float] = {}
        self._failed: dict[str, str] = {}
        self._changed = threading.Event()
        self._started = False
        self._thread: threading.Thread | None = None
        #: What each upstream has listed; replaced, and never changed.
        self.models: Mapping[str, tuple[str, ...]] = {}
        #: The same as callers may write them: ``model``, and ``upstream/model``.
        self.names: frozenset[str] = frozenset()

    def change(self, asked: Mapping[str, Ask]) -> None:
        """Ask these upstreams from now on, at once and then again and again; forget the others."""
        self._asked, self._due = dict(asked), {}
        self._tell({name: models for name, models in self.models.items() if name in asked})
        self._changed.set()
        if self._started:
            self.start()

    def start(self) -> None:
        """Begin to ask, if there is anybody to be asked. To be called after the fork."""
        self._started = True
        if not self._asked or (self._thread is not None and self._thread.is_alive()):
            return
        thread = threading.Thread(target=self._keep_looking, name="models", daemon=True)
        with suppress(RuntimeError):  # no thread can be had: the next change of settings tries again
            thread.start()
            self._thread = thread

    def _keep_looking(self) -> None:
        while self._asked:
            self._changed.clear()
            self.look()
            self._changed.wait(AGAIN)

    def look(self) -> None:
        """Ask those that are due."""
        for name, ask in list(self._asked.items()):
            if self._clock() >= self._due.get(name, 0.0):
                self._look_at(name, ask)

    def _look_at(self, name: str, ask: Ask) -> None:
        try:
            models = ask(name)
        except GatewayError as error:
            self._fail(name, error.message)
        except Exception as error:
            log.exception("the models of upstream '%s' could not be asked for", name)
            self._fail(name, type(error).__name__)
        else:
            self._succeed(name, ask, models)

    def _fail(self, name: str, message: str) -> None:
        self._due[name] = self._clock() + AGAIN
        if self._failed.get(name) != message:
            self._failed[name] = message
            kept = "those it listed before stay" if name in self.models else "none are listed"
            log.warning("upstream '%s' does not list its models (%s): %s", name, kept, message)

    def _succeed(self, name: str, ask: Ask, models: tuple[str, ...]) -> None:
        if self._asked.get(name) is not ask:
            return  # the settings have changed meanwhile
        self._due[name] = self._clock() + PERIOD
        if self._failed.pop(name, None) is not None:
            log.warning("upstream '%s' lists its models again", name)
        if self.models.get(name) != models:
            self._tell({**self.models, name: models})

    def _tell(self, models: Mapping[str, tuple[str, ...]]) -> None:
        self.models = models
        self.names = frozenset(_spelled(models))


def _spelled(models: Mapping[str, Iterable[str]]) -> Iterable[str]:
    for upstream, names in models.items():
        for name in names:
            yield from (name, f"{upstream}/{name}")
