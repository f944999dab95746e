"""Runs one plugin: counts its time and its failures, and closes it when no call uses it any more."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

from ..config.schema import PluginSettings
from ..model.call import Call, Operation, fits_any
from ..model.errors import RETRY_SOON, GatewayError, Overloaded, PluginFailed
from .hooks import Hook

log = logging.getLogger(__name__)

#: So many uses in a row over the budget count as a failure, until one is quick.
SLOW_IN_A_ROW = 10
#: How often the log says that a plugin is slow, seconds.
_TOLD_EVERY = 60.0

P = ParamSpec("P")
R = TypeVar("R")


class PluginCounts(Protocol):
    """Counts what plugins do (``telemetry.metrics.Reports``)."""

    def plugin_ran(self, plugin: str, hook: str, seconds: float) -> None: ...

    def plugin_slow(self, plugin: str, hook: str) -> None: ...

    def plugin_failed(self, plugin: str, hook: str) -> None: ...


class NoCounts:
    """Counts nothing, where no gateway serves (:class:`PluginCounts`)."""

    def plugin_ran(self, plugin: str, hook: str, seconds: float) -> None:
        """Do nothing."""

    def plugin_slow(self, plugin: str, hook: str) -> None:
        """Do nothing."""

    def plugin_failed(self, plugin: str, hook: str) -> None:
        """Do nothing."""


class Loaded:
    """A plugin of this process. All threads share it, and a reload keeps it while its table is the same.

    :param clock: seconds.
    """

    def __init__(
        self,
        settings: PluginSettings,
        instance: Any,
        hooks: frozenset[Hook],
        operations: frozenset[Operation],
        counts: PluginCounts,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name, self.settings, self.instance = settings.name, settings, instance
        self.hooks, self.operations = hooks, operations
        #: Whether a call goes on without the plugin when it fails.
        self.passes = settings.on_error == "pass"
        self.budget = (settings.budget_ms or 0.0) / 1000
        #: Of an inspector: whether it has to wait for somebody, so that streams are held.
        self.whole = getattr(instance, "whole", False) is True
        #: Whether its last inspection took too long for the thread that serves all streams.
        self.delays = False
        self._counts, self._clock = counts, clock
        self._slow, self._told = 0, 0.0
        self._lock = threading.Lock()
        self._uses, self._retired, self._closed = 0, False, False

    def has(self, *hooks: Hook) -> bool:
        return not self.hooks.isdisjoint(hooks)

    def is_for_key(self, key: str) -> bool:
        return _fits(key, self.settings.keys)

    def is_for_model(self, model: str) -> bool:
        return _fits(model, self.settings.models)

    def sees(self, call: Call, named: Callable[[str], str]) -> bool:
        """Whether the plugin is for a call.

        :param named: returns the name of the model that an alias stands for.
        """
        if not self.is_for_key(call.caller.id):
            return False
        if self.settings.models is None or call.direct is not None:
            return True  # a request without a model may be about any
        return any(self.is_for_model(named(model)) for model in (call.model, *(call.fallbacks or ())))

    def run(self, hook: Hook, work: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
        """Run a hook.

        :raises GatewayError: the plugin raises it. :raises PluginFailed: it fails, or is too slow again.
        """
        started = self._clock()
        try:
            result = work(*args, **named)
        except Exception as error:  # of code that is not ours: `on_error` decides
            self.took(hook, self._clock() - started)
            if isinstance(error, GatewayError):
                raise
            raise self.failure(hook, error) from None
        self.took(hook, self._clock() - started, limited=True)
        return result

    def took(self, hook: Hook, seconds: float, *, limited: bool = False) -> None:
        """Count the time of a use.

        :param limited: whether a use that is too slow can be a failure. :raises PluginFailed: it is.
        """
        self._counts.plugin_ran(self.name, hook, seconds)
        if self.budget and limited:
            self.check_budget(hook, seconds)

    def check_budget(self, hook: Hook, seconds: float) -> None:
        """:raises PluginFailed: this and the uses before it were too slow."""
        if seconds <= self.budget:
            self._slow = 0
            return
        self._slow += 1
        self.tell_slow(hook, seconds, self.budget)
        if self._slow >= SLOW_IN_A_ROW:
            raise self.failure(hook, f"over its budget {self._slow} times in a row")

    def tell_slow(self, hook: Hook, seconds: float, allowed: float) -> None:
        """Count a use that took too long, and log one a minute."""
        self._counts.plugin_slow(self.name, hook)
        now = self._clock()
        if not self._told or now - self._told >= _TOLD_EVERY:
            self._told = now
            taken, most = seconds * 1000, allowed * 1000
            log.warning("plugin '%s' took %.1f ms to %s, over %g ms", self.name, taken, hook, most)

    def failure(self, hook: Hook, cause: Exception | str) -> PluginFailed:
        """Count and log a failure without what it says, which may be content. Return the error of it."""
        self._counts.plugin_failed(self.name, hook)
        log.error("plugin '%s' failed to %s: %s", self.name, hook, _place(cause))
        return PluginFailed(
            f"The plugin '{self.name}' of this gateway failed; your request is not at fault. "
            "Try again; the gateway's operator finds the cause in the log."
        )

    # ------------------------------------------------------------ the end

    def enter(self) -> None:
        """A call begins that may use the plugin.

        :raises Overloaded: the plugin was closed meanwhile, as the settings have changed.
        """
        with self._lock:
            if not self._closed:
                self._uses += 1
                return
        raise Overloaded("The settings of this gateway have just changed. Try again.", retry_after=RETRY_SOON)

    def leave(self) -> None:
        """A call has ended. The last one closes a plugin that was retired."""
        with self._lock:
            self._uses -= 1
            unused = self._retired and not self._uses
        if unused:
            self.close()

    def retire(self) -> None:
        """Close the plugin as soon as no call uses it."""
        with self._lock:
            self._retired, unused = True, not self._uses
        if unused:
            self.close()

    def close(self) -> None:
        """Call ``close()`` of the plugin, if it has one, once."""
        with self._lock:
            closed, self._closed = self._closed, True
        if closed:
            return
        try:
            if callable(end := getattr(self.instance, "close", None)):
                end()
        except Exception as error:  # noqa: BLE001  # of code that is not ours: nothing depends on it
            log.error("plugin '%s' failed to close: %s", self.name, _place(error))


def _fits(name: str, names: frozenset[str] | None) -> bool:
    return names is None or name in names or fits_any(name, names)


def _place(cause: Exception | str) -> str:
    """The type and the line of an exception. Its text may be what somebody said."""
    if isinstance(cause, str):
        return cause
    trace = cause.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(cause).__name__}{where}"
