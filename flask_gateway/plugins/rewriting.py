"""Has plugins change what is asked, before anything of it is kept or sent."""

from __future__ import annotations

import msgspec

from ..model.call import Call
from ..model.errors import PluginFailed
from ..model.protocols import Service
from ..model.reply import Reply
from .admitting import is_skipped
from .hooks import Hook
from .loaded import Loaded

#: Fields of the body that only the caller and the gateway decide on.
_FIXED = ("model", "stream")
#: Every part of a call but its body.
_PARTS = tuple(name for name in Call.__struct_fields__ if name != "fields")


class RewritingService:
    """Gives the service within the calls as plugins change them (a ``protocols.Service``).

    If an inspector has to wait for somebody, its streams are held until they are complete.
    """

    def __init__(self, service: Service) -> None:
        self.name = service.name
        self._service = service

    def send(self, call: Call) -> Reply:
        """:raises GatewayError: a plugin refuses the call, or it failed and fails closed."""
        if call.plugins is None:
            return self._service.send(call)
        waits = False
        for plugin in call.plugins.seeing:
            if is_skipped(plugin, call):
                continue
            if plugin.has(Hook.REWRITE):
                call = rewritten(plugin, call)
            waits = waits or (plugin.has(Hook.INSPECT) and plugin.whole)
        if waits and call.stream and not call.whole:
            call = msgspec.structs.replace(call, whole=True)
        return self._service.send(call)


def rewritten(plugin: Loaded, call: Call) -> Call:
    """The call as one plugin changes it.

    :raises GatewayError: the plugin refuses the call, or it failed and fails closed.
    """
    notes = call.plugins
    assert notes is not None
    try:
        changed: object = plugin.run(Hook.REWRITE, plugin.instance.rewrite, call)
        if fault := _fault(call, changed):
            raise plugin.failure(Hook.REWRITE, fault)
    except PluginFailed:
        notes.note(plugin.name, "failed")
        if not plugin.passes:
            raise
        return call
    except Exception:
        notes.note(plugin.name, "blocked")
        raise
    assert isinstance(changed, Call)
    notes.note(plugin.name, "unchanged" if changed.fields == call.fields else "rewritten")
    return changed


def _fault(call: Call, changed: object) -> str:
    """Why this is no changed call; empty if it is one."""
    if not isinstance(changed, Call):
        return f"it returned no Call but {type(changed).__name__}"
    if changed is call:
        return ""
    others = [name for name in _PARTS if getattr(changed, name) is not getattr(call, name)]
    others += [name for name in _FIXED if changed.fields.get(name) != call.fields.get(name)]
    if others:
        return f"it changed {', '.join(others)}, which are not its business"
    bad = [name for name, value in changed.fields.items() if not _is_json(name, value, call)]
    return f"it wrote fields that are no JSON: {', '.join(map(str, bad))[:200]}" if bad else ""


def _is_json(name: object, value: object, call: Call) -> bool:
    if not isinstance(name, str) or not isinstance(value, msgspec.Raw):
        return False
    if value is call.fields.get(name):
        return True
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True
