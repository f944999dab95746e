"""Finds the limits of a subject of a journal's line: its caller is gone, but it names key and team."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..auth.live_keys import issued_caller
from ..config.errors import InvalidValue
from ..config.limits_syntax import team_limits_of
from ..config.schema import Settings
from ..ledger.lines import Settled
from ..model.limits import NO_OWNER_LIMITS, UNLIMITED, Limits, OwnerLimits, Owners

if TYPE_CHECKING:
    from ..auth.issued_keys import IssuedKeys


class LineLimits:
    """The limits of one configuration, and of the issued keys as they are now.

    :param issued: ``None``: there are none.
    """

    def __init__(self, settings: Settings, issued: IssuedKeys | None) -> None:
        self._settings = settings
        self._issued = issued
        self._keys = {key.id: key for key in settings.keys}

    def of(self, line: Settled, subject: str) -> Limits:
        """The limits of a subject that the line has a cost for."""
        owners = self._owners(line)
        model = line.model
        if line.source == "adjustment":  # of one subject, which stands in the place of the upstream's model
            model = line.upstream_model.partition("model:")[2]
        return dict(owners.subjects(model, line.user)).get(subject, UNLIMITED)

    def _owners(self, line: Settled) -> Owners:
        key = self._keys.get(line.key)
        known = self._issued.of_id(line.key) if self._issued is not None and key is None else None
        try:
            if known is not None and self._issued is not None:
                return issued_caller(known, self._issued.teams, self._settings).owners or self._nobody(line)
            policy = key.policy if key is not None else NO_OWNER_LIMITS
            return Owners(line.key, policy, line.team, self._team(line.team), self._settings.limits)
        except (InvalidValue, msgspec.MsgspecError):  # the next call of the key complains
            return self._nobody(line)

    def _team(self, name: str) -> OwnerLimits:
        made = self._issued.teams.get(name) if self._issued is not None else None
        if name in self._settings.teams or made is None:
            return self._settings.teams.get(name, NO_OWNER_LIMITS)
        return team_limits_of(msgspec.json.decode(made))

    def _nobody(self, line: Settled) -> Owners:
        return Owners(line.key, NO_OWNER_LIMITS, line.team, NO_OWNER_LIMITS, self._settings.limits)
