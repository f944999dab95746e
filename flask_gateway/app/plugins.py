"""Makes the plugins of a gateway. Imported only where the settings name one."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator, Sequence

from ..config.errors import ConfigError
from ..config.schema import PluginSettings, Settings
from ..model.call import Operation
from ..plugins.chain import Plugins
from ..plugins.hooks import Hook
from ..plugins.identifying import check_teams
from ..plugins.loaded import Loaded, NoCounts
from ..plugins.loading import load
from ..routing.routes import Routes
from ..telemetry.metrics import Reports

#: How long requests that began before a reload may take to become calls, seconds. Then the plugins that it
#: dropped are closed, each as soon as no call uses it.
GRACE = 10.0


def plugins_of(settings: Settings, before: Plugins | None, reports: Reports, routes: Routes) -> Plugins:
    """The plugins for those settings.

    :param before: those before a reload. One whose table is the same goes on.
    :raises ConfigError: one cannot be made. Those that were made for these settings are closed.
    """
    same = {one.name: one for one in before.loaded} if before is not None else {}
    loaded: list[Loaded] = []
    try:
        for table in settings.plugins:
            old = same.get(table.name)
            loaded.append(old if old is not None and old.settings == table else _made(load(table, reports)))
            check_teams(loaded[-1], settings)
    except BaseException:
        close(loaded, kept=tuple(same.values()))
        raise
    return Plugins(loaded, settings, routes.name)


def _made(plugin: Loaded) -> Loaded:
    atexit.register(plugin.close)
    return plugin


def tried(settings: Settings) -> Iterator[str | ConfigError]:
    """Make each plugin and close it. Yield a line about each, or why it cannot be made."""
    for table in settings.plugins:
        try:
            yield _tried(table, settings)
        except ConfigError as error:
            yield error


def _tried(table: PluginSettings, settings: Settings) -> str:
    """:raises ConfigError: it cannot be made."""
    plugin = load(table, NoCounts())
    try:
        check_teams(plugin, settings)
    finally:
        plugin.close()
    said = [f"{table.name} can be made: {', '.join(sorted(plugin.hooks))}"]
    if plugin.has(Hook.ADMIT, Hook.REWRITE, Hook.INSPECT):
        sees_all = plugin.operations == set(Operation)
        said.append("all operations" if sees_all else ", ".join(sorted(plugin.operations)))
    if plugin.hooks != {Hook.OBSERVE}:
        said.append("on error calls pass" if plugin.passes else "on error calls are refused")
    return "; ".join(said)


def close(plugins: Sequence[Loaded], kept: Sequence[Loaded]) -> None:
    """Close the plugins that are not kept, each as soon as no call uses it."""
    for one in plugins:
        if one not in kept:
            atexit.unregister(one.close)
            one.retire()


def retire(before: Plugins, now: Plugins | None, grace: float = GRACE) -> None:
    """After a reload, close the plugins that it dropped. It waits in the background."""
    kept = now.loaded if now is not None else ()
    if all(one in kept for one in before.loaded):
        return
    timer = threading.Timer(grace, close, (before.loaded, kept))
    timer.daemon = True
    timer.start()
