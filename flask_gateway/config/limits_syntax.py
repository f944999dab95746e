"""Parses limits in the file: of keys, teams, models and end users, and the settings of the ledger."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from ..model.calendar_windows import WEEKDAYS, Window, zone
from ..model.limits import MOST_BUDGETS, Budget, Limits, OwnerLimits
from ..model.money import MoneyError, nano_dollars
from .errors import InvalidValue, nearest
from .schema import LedgerSettings
from .secrets import Variable
from .value_types import BaseType, Flag, OneOf, TextLine, ValueType, WholeNumber

_TAG = re.compile(r"[A-Za-z0-9_.-]{1,32}")
#: The most tags of a key, and the longest value of one, characters.
MOST_TAGS = 16
MOST_TAG_VALUE = 64


class KeyLimits(NamedTuple):
    """The limits of a key.

    :param requests: in any 60 s; 0: unlimited; ``None``: the general limit.
    :param concurrent: calls at once; 0 and ``None`` as for requests.
    """

    requests: int | None
    concurrent: int | None
    policy: OwnerLimits


class Money(BaseType, frozen=True):
    """An amount in US dollars: text, or a number without decimals. No float holds money."""

    def check(self, value: object) -> int:
        if not isinstance(value, str | int) or isinstance(value, bool):
            hint = "write it in quotes: a float is not exact" if isinstance(value, float | Decimal) else None
            raise InvalidValue(self.expected, hint)
        try:
            amount = nano_dollars(value)
        except MoneyError as error:
            raise InvalidValue(self.expected, str(error)) from None
        if amount == 0:
            raise InvalidValue(f"{self.expected}, above 0")
        return amount


class Zone(BaseType, frozen=True):
    """The name of a time zone that this system knows."""

    def parse(self, text: str) -> str:
        try:
            zone(text)
        except ValueError as error:
            raise InvalidValue(self.expected, str(error)) from None
        return text


class Shares(BaseType, frozen=True):
    """A list of shares of a budget at which somebody is alerted."""

    def check(self, value: object) -> tuple[float, ...]:
        if not isinstance(value, list) or len(value) > 8:
            raise InvalidValue(self.expected)
        if not all(isinstance(share, int | float) and 0 < share <= 1 for share in value):
            raise InvalidValue(self.expected)
        return tuple(sorted(float(share) for share in value))


class Tags(BaseType, frozen=True):
    """A table of tags: short names with short values."""

    def check(self, value: object) -> dict[str, str]:
        if not isinstance(value, dict) or len(value) > MOST_TAGS:
            raise InvalidValue(self.expected)
        for name, text in value.items():
            if not _TAG.fullmatch(name) or not isinstance(text, str) or len(text) > MOST_TAG_VALUE:
                raise InvalidValue(self.expected)
        return dict(value)


class Budgets(BaseType, frozen=True):
    """A list of budgets, each a table with ``amount`` and ``window``."""

    def check(self, value: object) -> tuple[Budget, ...]:
        if not isinstance(value, list) or not value:
            raise InvalidValue(self.expected)
        budgets = tuple(map(self._budget, value))
        if len({budget.window for budget in budgets}) < len(budgets) or len(budgets) > MOST_BUDGETS:
            raise InvalidValue(self.expected, "a window may have one budget")
        return budgets

    def _budget(self, table: object) -> Budget:
        if not isinstance(table, dict) or not {"amount", "window"} <= table.keys():
            raise InvalidValue(self.expected)
        fields = _checked(table, _BUDGET)
        return Budget(fields["amount"], Window(fields["window"]), fields.get("strict", False))


class LimitsTable(BaseType, frozen=True):
    """A table of limits."""

    def check(self, value: object) -> Limits:
        if not isinstance(value, dict):
            raise InvalidValue(self.expected)
        return limits_of(_checked(value, LIMITS))


class LimitsTables(LimitsTable, frozen=True):
    """A table of names, each with a table of limits."""

    def check(self, value: object) -> dict[str, Limits]:  # type: ignore[override]
        if not isinstance(value, dict) or not value:
            raise InvalidValue(self.expected)
        return {_NAMED.parse(name): LimitsTable.check(self, table) for name, table in value.items()}


class Users(LimitsTable, frozen=True):
    """``true``: end users are told apart; or a table: the limits of each."""

    def check(self, value: object) -> Limits:
        return Limits() if value is True else super().check(value)


class TagNames(BaseType, frozen=True):
    """A list of names of tags."""

    def check(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > MOST_TAGS:
            raise InvalidValue(self.expected)
        if not all(isinstance(name, str) and _TAG.fullmatch(name) for name in value):
            raise InvalidValue(self.expected)
        return tuple(value)


class KeyDefaults(BaseType, frozen=True):
    """A table of limits of a key, kept as it is written: it becomes part of the limits of new keys."""

    def check(self, value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            raise InvalidValue(self.expected)
        key_limits_of(value)
        return dict(value)


def _checked(table: Mapping[str, object], kinds: Mapping[str, ValueType]) -> dict[str, Any]:
    for name in table:
        if name not in kinds:
            raise InvalidValue(f"one of {', '.join(kinds)}", nearest(name, kinds))
    return {name: kinds[name].check(value) for name, value in table.items()}


_NAMED = TextLine("a name")
_BUDGET: Mapping[str, ValueType] = {
    "amount": Money('an amount in US dollars, such as "50" or "0.25"'),
    "window": OneOf("day, week, month or total", tuple(Window)),
    "strict": Flag("true or false"),
}
BUDGETS = Budgets('a list such as [{ amount = "50", window = "month" }]')
#: The limits of a subject, by their names in the file.
LIMITS: Mapping[str, ValueType] = {
    "requests": WholeNumber("a whole number of requests per minute, 0 for unlimited"),
    "tokens": WholeNumber("a whole number of tokens per minute, 0 for unlimited", high=10**12),
    "concurrent": WholeNumber("a whole number of calls at once, 0 for unlimited"),
    "budgets": BUDGETS,
}
_TABLE = "a table of limits, such as { tokens = 1000 }"
#: The limits of an owner, a key or a team: of its own calls, by model and by end user.
POLICY: Mapping[str, ValueType] = {
    **LIMITS,
    "model_limits": LimitsTables('a table such as { "gpt-4o" = { tokens = 1000 } }'),
    "users": Users(f"true, or {_TABLE}"),
    "user_limits": LimitsTables('a table such as { "alice" = { tokens = 1000 } }'),
    "require_user": Flag("true or false"),
    "content": Flag("true or false"),
    "user_from_metadata": Flag("true or false"),
    "request_tags": TagNames(f"a list of at most {MOST_TAGS} names of tags"),
}
#: The same of a team, and the limits that its new keys get.
TEAM: Mapping[str, ValueType] = {**POLICY, "key_defaults": KeyDefaults(_TABLE)}
_VARIABLE = Variable("the name of an environment variable")
LEDGER: Mapping[str, ValueType] = {
    "data": TextLine("the path of a directory"),
    "timezone": Zone("a time zone such as Europe/Berlin"),
    "week_starts": OneOf("a day of the week, such as monday", WEEKDAYS),
    "alerts": Shares("a list of shares of a budget, such as [0.8, 1.0]"),
    "tell_cost": Flag("true or false"),
    "keep_days": WholeNumber("a whole number of days, at least 1", 1, 3650),
    "users": OneOf("names or digest", ("names", "digest")),
    "webhook_env": _VARIABLE,
    "database_env": _VARIABLE,
    "webhook_secret_env": _VARIABLE,
}
TAGS = Tags(f'a table of at most {MOST_TAGS} tags, such as {{ env = "prod" }}')


def limits_of(fields: Mapping[str, Any]) -> Limits:
    """The limits among checked fields."""
    return Limits(**{name: fields[name] for name in LIMITS if name in fields})


def policy_of(fields: Mapping[str, Any]) -> OwnerLimits:
    """The policy among checked fields of a key or a team."""
    return OwnerLimits(
        own=limits_of(fields),
        models=fields.get("model_limits", {}),
        users=fields.get("users"),
        named_users=fields.get("user_limits", {}),
        require_user=fields.get("require_user", False),
        content=fields.get("content", True),
        user_from_metadata=fields.get("user_from_metadata", False),
        request_tags=fields.get("request_tags", ()),
        key_defaults=fields.get("key_defaults", {}),
    )


def key_limits_of(table: Mapping[str, object]) -> KeyLimits:
    """The limits of a key, as ``[keys.X]`` has them.

    :raises InvalidValue: one of them is none.
    """
    fields = _checked(table, POLICY)
    # A key's own requests and calls at once are counted by guards that every key has.
    own = {name: value for name, value in fields.items() if name not in ("requests", "concurrent")}
    return KeyLimits(fields.get("requests"), fields.get("concurrent"), policy_of(own))


def team_limits_of(table: Mapping[str, object]) -> OwnerLimits:
    """The limits of a team, as ``[teams.X]`` has them.

    :raises InvalidValue: one of them is none.
    """
    return policy_of(_checked(table, TEAM))


def ledger_of(fields: Mapping[str, Any], folder: Path) -> LedgerSettings:
    """The ledger of checked fields. A relative directory is relative to the file."""
    values = {name: value for name, value in fields.items() if not name.endswith("_env")}
    if "data" in values:
        values["data"] = str(folder / values["data"])
    if "week_starts" in values:
        values["week_starts"] = WEEKDAYS.index(values["week_starts"])
    return LedgerSettings(**values)
