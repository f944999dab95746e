"""Looks up the caller of an API key. The table holds SHA-256 digests only, never keys."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from ..config.aliases import with_aliases
from ..config.schema import KeySettings, Settings
from ..model.call import Caller
from ..model.errors import Unauthorized
from ..model.limits import NO_OWNER_LIMITS, OwnerLimits, Owners
from ..model.protocols import KeySource


class ApiKeyTable:
    """The callers by the SHA-256 digests of their keys (``model.protocols.KeySource``).

    Immutable, so all threads share it without a lock. A reload makes another table.
    """

    def __init__(self, by_digest: Mapping[bytes, Caller]) -> None:
        self._by_digest = dict(by_digest)
        #: Looks up a digest: the method of the dictionary itself, which costs no call of ours.
        self.lookup = self._by_digest.get
        self.seed = sha256(b"".join(self._by_digest)).digest()
        self.version = int.from_bytes(sha256(repr(_listed(by_digest)).encode()).digest()[:8], "big")

    def __len__(self) -> int:
        return len(self._by_digest)


def _listed(by_digest: Mapping[bytes, Caller]) -> list[tuple[bytes, bytes]]:
    """Everything that a look-up may answer, in an order that does not depend on the process."""
    return sorted(
        (digest, msgspec.json.encode(caller, order="deterministic")) for digest, caller in by_digest.items()
    )


def keys_of(settings: Settings) -> ApiKeyTable:
    """The keys of the settings, each with its limits."""
    return ApiKeyTable({key.digest: caller_of(key, settings, settings.teams) for key in settings.keys})


def caller_of(key: KeySettings, settings: Settings, teams: Mapping[str, OwnerLimits]) -> Caller:
    """The caller of a key, with the limits of its team and those of all calls.

    :param teams: the limits of teams by name.
    """
    rate_limit, concurrent = key.rate_limit_per_minute, key.max_concurrent
    team = teams.get(key.team, NO_OWNER_LIMITS)
    owners = Owners(key.id, key.policy, key.team, team, settings.limits)
    return Caller(
        id=key.id,
        rate_limit=settings.rate_limit_per_minute if rate_limit is None else rate_limit,
        models=with_aliases(key.models, settings.models),
        max_concurrent=settings.max_concurrent_per_key if concurrent is None else concurrent,
        owners=owners if owners.key_policy or owners.team_policy or owners.general else None,
        team=key.team,
        tags=key.tags,
        request_tags=frozenset(key.policy.request_tags + team.request_tags),
        content=key.policy.content and team.content,
    )


def identify(keys: KeySource, key: str) -> Caller:
    """The caller that the key belongs to.

    The look-up compares digests, and nobody can choose a key by the beginning of its digest. So the time that
    it takes reveals nothing about known keys.

    :raises Unauthorized: the key is unknown.
    """
    caller = keys.lookup(sha256(key.encode("utf-8", "surrogateescape")).digest())
    if caller is None:
        raise Unauthorized(
            "This API key is not known here. Check it for typing errors, or ask the operator for one."
        )
    return caller
