"""Keeps the lists of models that upstreams publish, and refreshes them in a background thread.

A call never waits for it, but reads the last known lists. Only upstreams with ``list_models = true`` are
asked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from ..model.errors import GatewayError
from ..reactor import Periodic

log = logging.getLogger(__name__)

#: How often a list is refreshed after a success, and after a failure, seconds.
PERIOD, AGAIN = 300.0, 30.0

#: Asks the named upstream for its models. Raises a ``GatewayError`` if the upstream does not return them.
Ask = Callable[[str], tuple[str, ...]]


class Catalog:
    """The models of upstreams. One per process: all threads read it, its own thread writes it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sources: dict[str, Ask] = {}
        self._due: dict[str, float] = {}
        self._failed: dict[str, str] = {}
        self._started = False
        self._thread = Periodic("models", AGAIN, self.refresh)
        #: The models by upstream. Updates replace the mapping and never modify it.
        self.models: Mapping[str, tuple[str, ...]] = {}
        #: The same as callers may write them: ``model`` and ``upstream/model``.
        self.names: frozenset[str] = frozenset()

    def change(self, sources: Mapping[str, Ask]) -> None:
        """Ask these upstreams from now on, at once and then periodically; forget the others."""
        self._sources, self._due = dict(sources), {}
        self._publish({name: models for name, models in self.models.items() if name in sources})
        if self._started:
            self.start()

    def start(self) -> None:
        """Start the background thread if there are upstreams to ask. Call it after the fork."""
        self._started = True
        if self._sources:
            self._thread.start()
            self._thread.call_soon()

    def refresh(self) -> None:
        """Ask the upstreams that are due."""
        for name, ask in list(self._sources.items()):
            if self._clock() >= self._due.get(name, 0.0):
                self._refresh(name, ask)

    def _refresh(self, name: str, ask: Ask) -> None:
        try:
            models = ask(name)
        except GatewayError as error:
            self._fail(name, error.message)
        except Exception as error:  # the thread must go on asking the other upstreams
            log.exception("unexpected exception while asking upstream '%s' for its models", name)
            self._fail(name, type(error).__name__)
        else:
            self._succeed(name, ask, models)

    def _fail(self, name: str, message: str) -> None:
        self._due[name] = self._clock() + AGAIN
        if self._failed.get(name) != message:
            self._failed[name] = message
            kept = "the last known list stays" if name in self.models else "none are listed"
            log.warning("upstream '%s' does not list its models (%s): %s", name, kept, message)

    def _succeed(self, name: str, ask: Ask, models: tuple[str, ...]) -> None:
        if self._sources.get(name) is not ask:
            return  # a reload has replaced the settings meanwhile
        self._due[name] = self._clock() + PERIOD
        if self._failed.pop(name, None) is not None:
            log.warning("upstream '%s' lists its models again", name)
        if self.models.get(name) != models:
            self._publish({**self.models, name: models})

    def _publish(self, models: Mapping[str, tuple[str, ...]]) -> None:
        self.models = models
        self.names = frozenset(_names(models))


def _names(models: Mapping[str, Iterable[str]]) -> Iterable[str]:
    for upstream, names in models.items():
        for name in names:
            yield from (name, f"{upstream}/{name}")
