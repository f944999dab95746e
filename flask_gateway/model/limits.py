"""Defines the limits of subjects: requests, tokens, calls at once, and budgets of money.

A **subject** is that which a limit is for: ``key:ID``, ``team:ID``, the same with ``/model:M``,
``user:OWNER/NAME``, ``model:M`` or ``all``. A call has those of them that have limits, and all must have
room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from .calendar_windows import Window
from .units import Units

#: The most budgets of one subject: one for each window.
MOST_BUDGETS = len(Window)
#: The subject that every call belongs to.
ALL = "all"


class Budget(msgspec.Struct, frozen=True):
    """An amount of money for a window.

    :param amount: nano-dollars.
    :param strict: refuse a call where what was used cannot be known, and hold the ceiling of its cost.
    """

    amount: int
    window: Window
    strict: bool = False


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one subject. 0 and no budgets: no limit.

    :param requests: in any 60 s. :param tokens: input and output, in any 60 s.
    :param concurrent: calls in flight at once.
    :param budgets: at most one for each window.
    """

    requests: int = 0
    tokens: int = 0
    concurrent: int = 0
    budgets: tuple[Budget, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.requests or self.tokens or self.concurrent or self.budgets)

    @property
    def strict(self) -> bool:
        return any(budget.strict for budget in self.budgets)


#: No limits at all.
UNLIMITED = Limits()


class SubjectLimits(NamedTuple):
    """A subject and its limits, for one call."""

    subject: str
    limits: Limits


class Estimate(NamedTuple):
    """The tokens that a call is expected to use, before it is sent.

    :param input: of the prompt. :param output: of the answer.
    :param most_input: the ceiling of the prompt's. :param most_output: the ceiling of the answer's.
    :param units: of a call on sound or pictures, which may be billed by others than tokens.
    """

    input: int
    output: int
    most_input: int
    most_output: int
    units: Units | None = None


class SubjectsByKind(NamedTuple):
    """The subjects that have limits of each kind."""

    concurrent: tuple[SubjectLimits, ...]
    requests: tuple[SubjectLimits, ...]
    tokens: tuple[SubjectLimits, ...]
    budgets: tuple[SubjectLimits, ...]

    @classmethod
    def of(cls, subjects: Iterable[SubjectLimits]) -> SubjectsByKind:
        """Sort subjects by the kinds of their limits."""
        all_of_them = tuple(subjects)
        kinds = ("concurrent", "requests", "tokens", "budgets")
        return cls(*(tuple(one for one in all_of_them if getattr(one.limits, kind)) for kind in kinds))


class CallLimits(msgspec.Struct):
    """The limits of one call. The first guard that needs the estimate notes it here.

    :param subjects: those of the call that have limits, in the order in which they are asked.
    :param learned: whether the length of its answer has been noted for later estimates.
    :param sorted: the subjects by kind. Calls of one key and model share it.
    """

    subjects: tuple[SubjectLimits, ...]
    estimate: Estimate | None = None
    learned: bool = False
    sorted: SubjectsByKind | None = None

    def by_kind(self) -> SubjectsByKind:
        """Sort the subjects by kind, and keep the result."""
        self.sorted = found = self.sorted or SubjectsByKind.of(self.subjects)
        return found


class OwnerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one owner: a key or a team.

    :param own: of the owner itself.
    :param models: of the owner's calls of one model, by the name that callers use.
    :param users: of each end user of the owner; ``None``: end users have no limits and are not told apart.
    :param named_users: of end users by name, instead of ``users``.
    :param require_user: whether a call without an end user is refused.
    :param content: whether logs, traces and caches may keep what its calls and answers say.
    :param user_from_metadata: whether Anthropic's ``metadata.user_id`` may name the end user. Coding agents
        put telemetry there.
    :param request_tags: the names of tags that requests may bring.
    :param key_defaults: of a team: the limits of its new keys, as ``[keys.X]`` has them.
    """

    own: Limits = UNLIMITED
    models: Mapping[str, Limits] = {}
    users: Limits | None = None
    named_users: Mapping[str, Limits] = {}
    require_user: bool = False
    content: bool = True
    user_from_metadata: bool = False
    request_tags: tuple[str, ...] = ()
    key_defaults: Mapping[str, Any] = {}

    def __bool__(self) -> bool:
        return bool(self.own or self.models or self.users is not None or self.require_user)

    def user(self, name: str) -> Limits:
        return self.named_users.get(name) or self.users or UNLIMITED


#: An owner without limits.
NO_OWNER_LIMITS = OwnerLimits()


class Owners(NamedTuple):
    """The owners whose limits apply to a call: its key, the key's team, and the gateway itself.

    :param team: the name of the team, empty if the key has none.
    """

    key: str
    key_policy: OwnerLimits
    team: str
    team_policy: OwnerLimits
    general: OwnerLimits

    def subjects(self, model: str, user: str, shown: str = "") -> Iterator[SubjectLimits]:
        """The subjects of a call that have limits, in the order in which they are asked.

        :param user: the name of the end user, empty if the call has none or it is not told apart.
        :param shown: the name in the subject, where that is another one.
        """
        for subject, limits in self._all(model, user, shown or user):
            if limits:
                yield SubjectLimits(subject, limits)

    def of_owners(self) -> Iterator[SubjectLimits]:
        """The subjects of the key and its team that have limits, for whatever model."""
        for subject, policy in (
            (f"key:{self.key}", self.key_policy),
            (f"team:{self.team}", self.team_policy),
        ):
            named = {subject: policy.own}
            named |= {f"{subject}/model:{model}": limits for model, limits in policy.models.items()}
            yield from (SubjectLimits(name, limits) for name, limits in named.items() if limits)

    def _all(self, model: str, user: str, shown: str) -> Iterator[tuple[str, Limits]]:
        key, team = f"key:{self.key}", f"team:{self.team}"
        yield key, self.key_policy.own
        yield f"{key}/model:{model}", self.key_policy.models.get(model, UNLIMITED)
        if self.team:
            yield team, self.team_policy.own
            yield f"{team}/model:{model}", self.team_policy.models.get(model, UNLIMITED)
        if user:
            yield user_subject(self.team or self.key, shown), self.user_limits(user)
        yield f"model:{model}", self.general.models.get(model, UNLIMITED)
        yield ALL, self.general.own

    def user_limits(self, user: str) -> Limits:
        """The limits of an end user: the team's, if it has some for users, else the key's."""
        owner = self.team_policy if self.team and self.team_policy.users is not None else self.key_policy
        return owner.user(user)

    @property
    def names_users(self) -> bool:
        """Whether end users are told apart."""
        return self.key_policy.users is not None or self.team_policy.users is not None or self.needs_user

    @property
    def user_from_metadata(self) -> bool:
        """Whether Anthropic's ``metadata.user_id`` may name the end user."""
        return self.key_policy.user_from_metadata or self.team_policy.user_from_metadata

    @property
    def needs_user(self) -> bool:
        """Whether a call without an end user is refused."""
        return self.key_policy.require_user or self.team_policy.require_user


def words_of(subject: str) -> str:
    """Word a subject for the caller, as the beginning of a sentence."""
    kind, _, name = subject.partition(":")
    owner, _, model = name.partition("/model:")
    whole = {"key": "This key", "team": f"The team '{owner}'", "model": f"The model '{name}'"}.get(kind)
    if whole is None:
        whole = f"The end user '{name.partition('/')[2]}'" if kind == "user" else "The gateway"
    return f"{whole}, for the model '{model}'," if model else whole


def user_subject(owner: str, user: str) -> str:
    """The subject of an end user. Two teams' users of one name are two."""
    return f"user:{owner}/{user}"
