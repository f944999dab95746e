"""Holds the plugins of one gateway, in the order of its settings, and says which of them see a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ..config.schema import Settings
from ..model.call import Call, Outcome
from ..model.errors import GatewayError
from ..model.plugin_notes import PluginNotes
from ..model.protocols import Guard, Service
from ..model.reply import Reply
from ..streaming.buffered import BufferedStreams
from ..telemetry.request_record import Observer
from .admitting import Coverage, PluginGuard
from .hooks import Hook
from .identifying import PluginCallers
from .inspecting import InspectingService
from .loaded import Loaded
from .observing import PluginObserver
from .rewriting import RewritingService

#: Says what the plugins did with a call.
HEADER = "x-gateway-plugins"


class Plugins:
    """The plugins of one gateway. A reload makes another one, with those whose tables are the same.

    :param named: returns the name of the model that an alias stands for.
    """

    def __init__(self, loaded: Sequence[Loaded], settings: Settings, named: Callable[[str], str]) -> None:
        self.loaded = tuple(loaded)
        self._settings, self._named = settings, named
        seeing = (Hook.ADMIT, Hook.REWRITE, Hook.INSPECT)
        self._seeing = tuple(one for one in loaded if one.has(*seeing))

    def callers(self) -> PluginCallers | None:
        """The authenticators, if there are any."""
        asked = [one for one in self.loaded if one.has(Hook.IDENTIFY)]
        return PluginCallers(asked, self._settings) if asked else None

    @property
    def coverage(self) -> Guard:
        """The guard that refuses what a plugin must see and cannot."""
        return Coverage()

    def guards(self) -> list[Guard]:
        """The guard that refuses what must be seen and cannot, then those of the plugins."""
        if not self._seeing:
            return []
        return [Coverage(), *(PluginGuard(one) for one in self._seeing if one.has(Hook.ADMIT))]

    def observers(self) -> list[Observer]:
        return [PluginObserver(one, self._named) for one in self.loaded if one.has(Hook.OBSERVE)]

    def answering(self, service: Service) -> Service:
        """The service that holds streams back, around one whose answers are inspected, and within rewriters.

        :param service: asks upstreams, and the cache.
        """
        if not any(one.has(Hook.REWRITE, Hook.INSPECT) for one in self.loaded):
            return BufferedStreams(service)
        return RewritingService(BufferedStreams(InspectingService(service)))

    def begin(self, call: Call) -> Call:
        """Return the call with the plugins that see it; the same one if there are none."""
        seeing = tuple(one for one in self._seeing if one.sees(call, self._named))
        return msgspec.structs.replace(call, plugins=PluginNotes(seeing)) if seeing else call

    def around(self, service: Service) -> Service:
        """A service around the whole way of a call, which says on each answer what the plugins did."""
        return NotedService(service)


class NotedService:
    """Notes the plugins of a call as in use while it lasts (a ``protocols.Service``)."""

    def __init__(self, service: Service) -> None:
        self.name = service.name
        self._service = service

    def send(self, call: Call) -> Reply:
        notes = call.plugins
        if notes is None:
            return self._service.send(call)
        _enter(notes)
        try:
            reply = self._service.send(call)
        except BaseException as error:
            _leave(notes)
            if isinstance(error, GatewayError) and (done := str(notes)):
                error.headers[HEADER] = done
            raise
        if done := str(notes):
            reply.headers[HEADER] = done

        def leave(outcome: Outcome) -> None:
            _leave(notes)

        reply.on_settled(leave)
        return reply


def _enter(notes: PluginNotes) -> None:
    entered = []
    try:
        for plugin in notes.seeing:
            plugin.enter()
            entered.append(plugin)
    except BaseException:
        for plugin in entered:
            plugin.leave()
        raise


def _leave(notes: PluginNotes) -> None:
    for plugin in notes.seeing:
        plugin.leave()
