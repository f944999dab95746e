"""Asks plugins whether a call may go on (``model.protocols.Guard``)."""

from __future__ import annotations

from collections.abc import Mapping

from ..model.call import Call, Operation, Outcome
from ..model.errors import OperationNotCovered, PluginFailed
from ..model.protocols import NO_PERMIT, Permit
from .hooks import Hook
from .loaded import Loaded

#: A stored response is asked for without a prompt, so there is nothing to rewrite.
_WITHOUT_PROMPT = frozenset({Operation.STORED})


class PluginGuard:
    """A guard that is a plugin. It is asked for the calls that the plugin is for."""

    def __init__(self, plugin: Loaded) -> None:
        self._plugin = plugin

    def admit(self, call: Call) -> Permit:
        """:raises GatewayError: the plugin refuses, or it failed and fails closed."""
        plugin, notes = self._plugin, call.plugins
        if notes is None or plugin not in notes.seeing or is_skipped(plugin, call):
            return NO_PERMIT
        try:
            permit: object = plugin.run(Hook.ADMIT, plugin.instance.admit, call)
            if permit is NO_PERMIT:
                notes.note(plugin.name, "admitted")
                return NO_PERMIT
            admitted = PluginPermit(plugin, permit)
        except PluginFailed:
            if not plugin.passes:
                notes.note(plugin.name, "failed")
                raise
            notes.note(plugin.name, "failed")
            return NO_PERMIT
        except Exception:
            notes.note(plugin.name, "refused")
            raise
        notes.note(plugin.name, "admitted")
        return admitted


class PluginPermit:
    """A permit of a plugin (``model.protocols.Permit``). Its failures are counted, and change nothing.

    :raises PluginFailed: it is no permit.
    """

    def __init__(self, plugin: Loaded, permit: object) -> None:
        self._plugin = plugin
        steps = [getattr(permit, name, None) for name in ("settle", "cancel")]
        headers = getattr(permit, "headers", None)
        if not all(map(callable, steps)) or not isinstance(headers, Mapping):
            raise plugin.failure(Hook.ADMIT, f"it returned no Permit but {type(permit).__name__}")
        self._settle, self._cancel = steps
        self.headers = {str(name): str(value) for name, value in headers.items() if _is_header(name, value)}

    def settle(self, outcome: Outcome) -> None:
        try:
            self._settle(outcome)  # type: ignore[misc]  # checked above
        except Exception as error:  # noqa: BLE001  # of code that is not ours: the call has ended
            self._plugin.failure(Hook.ADMIT, error)

    def cancel(self) -> None:
        try:
            self._cancel()  # type: ignore[misc]  # checked above
        except Exception as error:  # noqa: BLE001  # of code that is not ours: the call was refused
            self._plugin.failure(Hook.ADMIT, error)


def _is_header(name: object, value: object) -> bool:
    return all(isinstance(text, str) and text.isascii() and text.isprintable() for text in (name, value))


class Coverage:
    """Refuses calls of operations that a plugin must see and cannot."""

    def admit(self, call: Call) -> Permit:
        """:raises OperationNotCovered: a plugin that fails closed cannot see the call."""
        if call.plugins is None:
            return NO_PERMIT
        for plugin in call.plugins.seeing:
            if not is_skipped(plugin, call):
                continue
            call.plugins.note(plugin.name, f"skipped({call.operation.name.lower()})")
            if not plugin.passes:
                raise OperationNotCovered(
                    f"Calls of '{call.operation}' are refused for this model: the plugin '{plugin.name}' "
                    "must see all calls of it, and does not know this operation. Ask the gateway's operator."
                )
        return NO_PERMIT


def is_skipped(plugin: Loaded, call: Call) -> bool:
    """Whether a plugin cannot see a call that it is for."""
    operation = call.operation
    if operation in plugin.operations or not plugin.has(Hook.ADMIT, Hook.REWRITE, Hook.INSPECT):
        return False
    only_rewrites = not plugin.has(Hook.ADMIT, Hook.INSPECT)
    return not (only_rewrites and operation in _WITHOUT_PROMPT)
