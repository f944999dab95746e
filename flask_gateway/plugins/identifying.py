"""Asks authenticators for the caller of a key that is none of the gateway's."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..config.aliases import with_aliases
from ..config.errors import ConfigError, dotted, nearest
from ..config.schema import Settings
from ..model.call import Caller
from ..model.errors import PluginFailed
from ..model.limits import NO_OWNER_LIMITS, Owners
from ..plugin import Header
from .hooks import Hook
from .loaded import Loaded

#: The most callers that are remembered with their limits.
MOST_KNOWN = 4096


class PluginCallers:
    """Finds callers by authenticators, in the order of the settings. Threads share it.

    :param settings: give a caller the general limits, and those of its team.
    """

    def __init__(self, plugins: Sequence[Loaded], settings: Settings) -> None:
        self._plugins = tuple(plugins)
        self._settings = settings
        #: By the id of what a plugin returned: that object, and the caller with its limits. While a plugin
        #: returns one object, the limits are one object, too (``web/call_limits.py``).
        self._known: dict[int, tuple[Caller, Caller]] = {}

    def __call__(self, key: str, header: Header) -> Caller | None:
        """Return the caller; ``None`` if no authenticator knows the key.

        :raises Unauthorized: one knows the key, and it is not valid.
        :raises PluginFailed: one failed, and its settings say that requests are then refused.
        """
        for plugin in self._plugins:
            plugin.enter()
            try:
                if (found := self._asked(plugin, key, header)) is not None:
                    return self._limited(found)
            except PluginFailed:
                if not plugin.passes:
                    raise
            finally:
                plugin.leave()
        return None

    def _limited(self, found: Caller) -> Caller:
        known = self._known.get(id(found))
        if known is not None and known[0] is found:  # another object may have had the same id
            return known[1]
        caller = limited(found, self._settings)
        if len(self._known) >= MOST_KNOWN:
            self._known = {}
        self._known[id(found)] = found, caller
        return caller

    @staticmethod
    def _asked(plugin: Loaded, key: str, header: Header) -> Caller | None:
        found: object = plugin.run(Hook.IDENTIFY, plugin.instance.identify, key, header)
        if found is None:
            return None
        if not isinstance(found, Caller) or not found.id:
            kind = type(found).__name__
            raise plugin.failure(Hook.IDENTIFY, f"it returned no Caller with an id but {kind}")
        return found


def limited(caller: Caller, settings: Settings) -> Caller:
    """The caller with what the settings add: general limits, and the limits and rules of its team."""
    team = settings.teams.get(caller.team, NO_OWNER_LIMITS)
    own = NO_OWNER_LIMITS if caller.owners is None else caller.owners.key_policy
    owners = Owners(caller.id, own, caller.team, team, settings.limits)
    rate, concurrent = caller.rate_limit, caller.max_concurrent
    return msgspec.structs.replace(
        caller,
        owners=owners if own or team or settings.limits else None,
        rate_limit=settings.rate_limit_per_minute if rate < 0 else rate,
        max_concurrent=settings.max_concurrent_per_key if concurrent < 0 else concurrent,
        request_tags=caller.request_tags.union(team.request_tags),
        models=with_aliases(caller.models, settings.models),
        content=caller.content and team.content,
    )


def check_teams(plugin: Loaded, settings: Settings) -> None:
    """Check the attribute ``teams`` of a plugin. A caller of an unknown team would have no limits.

    :raises ConfigError: the settings have no team of that name.
    """
    for team in sorted(getattr(plugin.instance, "teams", ())):
        if team not in settings.teams:
            hint = nearest(team, settings.teams) or f"add [{dotted('teams', team)}]"
            raise ConfigError(dotted("plugins", plugin.name), team, "a team of the settings", hint)
