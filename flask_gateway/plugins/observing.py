"""Shows finished requests to plugins (``telemetry.request_record.Observer``)."""

from __future__ import annotations

from collections.abc import Callable

from ..model.errors import GatewayError
from ..telemetry.request_record import RequestRecord
from .hooks import Hook
from .loaded import Loaded


class PluginObserver:
    """An observer that is a plugin. Its failures are counted, and change nothing.

    :param named: returns the name of the model that an alias stands for.
    """

    def __init__(self, plugin: Loaded, named: Callable[[str], str]) -> None:
        self._plugin, self._named = plugin, named

    def __call__(self, record: RequestRecord) -> None:
        if not self._is_for(record):
            return
        plugin = self._plugin
        plugin.enter()
        try:
            plugin.run(Hook.OBSERVE, plugin.instance, record)
        except GatewayError:  # the request has ended
            pass
        finally:
            plugin.leave()

    def _is_for(self, record: RequestRecord) -> bool:
        settings = self._plugin.settings
        if settings.keys is not None and not self._plugin.is_for_key(record.key or ""):
            return False
        return settings.models is None or self._plugin.is_for_model(self._named(record.model or ""))
