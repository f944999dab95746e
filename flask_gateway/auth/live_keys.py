"""Finds the callers of keys of the settings and of issued keys (``model.protocols.KeySource``)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import msgspec

from ..config.errors import InvalidValue
from ..config.limits_syntax import key_limits_of, team_limits_of
from ..config.schema import KeySettings, Settings
from ..model.call import Caller
from ..model.errors import KeyDisabled, KeyExpired, KeysUnavailable
from ..model.limits import OwnerLimits
from .api_keys import ApiKeyTable, caller_of
from .issued_keys import IssuedKeys
from .key_rows import Grants, KnownKey
from .key_tables import KeyRow

log = logging.getLogger(__name__)

#: The most callers of issued keys that a process keeps ready.
_READY = 10_000


class LiveKeys:
    """The keys of the settings, and the issued keys as they are now. A reload makes another one.

    :param clock: epoch seconds.
    """

    def __init__(
        self,
        fixed: ApiKeyTable,
        issued: IssuedKeys,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fixed, self._issued, self._settings, self._clock = fixed, issued, settings, clock
        self.seed = fixed.seed
        self._told_teams: set[str] = set()
        #: Callers by digest, each with what it was made from.
        self._ready: dict[bytes, tuple[KnownKey, Mapping[str, str], Caller]] = {}

    @property
    def version(self) -> int:
        return hash((self._fixed.version, self._issued.version))

    def __len__(self) -> int:
        # Issued keys come and go, so there may always be more than one caller.
        return len(self._fixed) + max(1, len(self._issued))

    def lookup(self, digest: bytes, /) -> Caller | None:
        """Return the caller of a digest; ``None`` if it is unknown, revoked or ended.

        :raises Unauthorized: the key is disabled or has expired. Only its holder hears of that.
        :raises KeysUnavailable: it is unknown, and the newest keys cannot be read.
        """
        caller = self._fixed.lookup(digest)
        if caller is not None:
            return caller
        known = self._issued.find(digest)
        if known is None:
            return None
        now = self._clock()
        if known.ends_at and now >= known.ends_at:
            return None
        if known.disabled:
            raise KeyDisabled("This API key is disabled. Ask the operator to enable it.")
        if known.expires_at and now >= known.expires_at:
            raise KeyExpired("This API key has expired. Ask the operator for another one.")
        ready = self._ready.get(digest)
        if ready is not None and ready[0] is known and ready[1] is self._issued.teams:
            return ready[2]
        return self._prepared(digest, known)

    def _prepared(self, digest: bytes, known: KnownKey) -> Caller:
        teams = self._issued.teams
        self._refuse_lost_team(known.grants.team)
        try:
            caller = issued_caller(known, teams, self._settings)
        except (InvalidValue, msgspec.MsgspecError) as error:
            log.error("flask-gateway: key %s: its limits or its team's cannot be read: %s", known.id, error)
            raise KeysUnavailable(
                "The gateway cannot read the limits of this key; its operator finds the cause in the log.",
                retry_after=5.0,
            ) from None
        if len(self._ready) >= _READY:
            self._ready.clear()
        self._ready[digest] = known, teams, caller
        return caller

    def _refuse_lost_team(self, team: str) -> None:
        """Refuse a key whose team is set nowhere any more: without the team's limits it would have none.

        :raises KeysUnavailable: so it is.
        """
        if not team or team in self._settings.teams or team in self._issued.teams:
            return
        if team not in self._told_teams:  # there are at most as many as keys
            self._told_teams.add(team)
            log.error(
                "flask-gateway: the team %r is set nowhere, so its issued keys are refused; set [teams.%s] "
                "again, or move the keys: flask-gateway keys list --team %s",
                *(team, team, team),
            )
        raise KeysUnavailable(
            f"The team '{team}' of this key is not set any more. The operator sets it again, or gives the "
            "key another one.",
            retry_after=5.0,
        )


def issued_caller(known: KnownKey, teams: Mapping[str, str], settings: Settings) -> Caller:
    """Make the caller of an issued key.

    :param teams: the limits of the teams in the database, as JSON. Teams of the settings come first.
    """
    grants = known.grants
    limits = key_limits_of(msgspec.json.decode(grants.limits))
    models = msgspec.json.decode(grants.models, type=frozenset[str] | None)
    key = KeySettings(
        id=known.id,
        digest=b"",
        rate_limit_per_minute=limits.requests,
        max_concurrent=limits.concurrent,
        models=models,
        team=grants.team,
        tags=msgspec.json.decode(grants.tags, type=dict[str, str]),
        policy=limits.policy,
    )
    return caller_of(key, settings, {**_teams(grants.team, teams), **settings.teams})


def caller_of_row(row: KeyRow, teams: Mapping[str, str], settings: Settings) -> Caller:
    """Make the caller of a row of the database, in whatever state the key is."""
    grants = Grants(row.team, row.tags, row.models, row.limits)
    return issued_caller(KnownKey(row.number, row.id, False, 0, 0, grants), teams, settings)


def _teams(name: str, teams: Mapping[str, str]) -> dict[str, OwnerLimits]:
    return {name: team_limits_of(msgspec.json.decode(teams[name]))} if name in teams else {}
