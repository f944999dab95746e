"""Turns the identity in a token into a caller, by the table of groups in the settings. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

from ..model.call import Caller
from ..model.errors import AccountNotAllowed, KeyRevoked
from ..model.limits import NO_OWNER_LIMITS, OwnerLimits, Owners
from ..plugin import AS_SET
from .claims import Identity

#: Subjects that are shown as they are. Others could look like the name of another subject of limits.
_PLAIN = re.compile(r"(?!sha256-)[A-Za-z0-9._@+|-]{1,64}").fullmatch


class Grant(NamedTuple):
    """The rights and limits of the members of a group.

    :param requests: in any 60 s; 0: unlimited; ``None``: the general limit.
    :param concurrent: calls at once, as ``requests``.
    """

    team: str = ""
    models: frozenset[str] | None = None
    requests: int | None = None
    concurrent: int | None = None
    tags: Mapping[str, str] = {}
    policy: OwnerLimits = NO_OWNER_LIMITS


class GroupAccounts(NamedTuple):
    """The table.

    :param prefix: begins the ids of callers, so that no subject of the provider can be the key of another.
    :param groups: in the order in which they are looked for. :param default: for callers in none of them;
        ``None``: they are refused.
    :param revoked: subjects, and ids of tokens, that are refused.
    """

    prefix: str
    groups: Mapping[str, Grant]
    default: Grant | None = None
    revoked: frozenset[str] = frozenset()

    def caller_of(self, identity: Identity) -> Caller:
        """:raises KeyRevoked: the operator has revoked the account or the token.
        :raises AccountNotAllowed: the account is in no group that may call.
        """
        if not self.revoked.isdisjoint((identity.subject, identity.token)):
            raise KeyRevoked("The operator has revoked this token or its account.")
        member = frozenset(identity.groups)
        found = (grant for name, grant in self.groups.items() if name in member)
        grant = next(found, self.default)
        if grant is None:
            raise AccountNotAllowed(
                "Your account is in none of the groups that may use this gateway. "
                "Ask its operator which group you need."
            )
        return _caller(f"{self.prefix}:{_shown(identity.subject)}", grant)

    @property
    def teams(self) -> frozenset[str]:
        """The teams that the table names."""
        grants = [*self.groups.values(), *([self.default] if self.default else [])]
        return frozenset(grant.team for grant in grants if grant.team)


def _caller(name: str, grant: Grant) -> Caller:
    return Caller(
        id=name,
        rate_limit=AS_SET if grant.requests is None else grant.requests,
        models=grant.models,
        max_concurrent=AS_SET if grant.concurrent is None else grant.concurrent,
        owners=Owners(name, grant.policy, grant.team, NO_OWNER_LIMITS, NO_OWNER_LIMITS),
        team=grant.team,
        tags=grant.tags,
        request_tags=frozenset(grant.policy.request_tags),
        content=grant.policy.content,
    )


def _shown(subject: str) -> str:
    """The subject for ids, logs and reports: as it is, or a digest of it."""
    if _PLAIN(subject):
        return subject
    return f"sha256-{sha256(subject.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
