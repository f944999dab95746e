"""Checks limits against each other and against the ledger: each must be one that the gateway can keep."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..model.limits import NO_OWNER_LIMITS as NONE
from ..model.limits import Limits, OwnerLimits
from .admins import OF_ENVIRONMENT
from .errors import ConfigError, Mistakes, dotted, nearest
from .options import ADMIN_KEY
from .schema import MASK, KeySettings, Settings


def refuse_unkept_limits(settings: Settings, mistakes: Mistakes) -> None:
    """Refuse teams that are not set, and budgets without a directory in which to keep what was used."""
    for key in settings.keys:
        if key.team and key.team not in settings.teams:
            hint = nearest(key.team, settings.teams) or f"write [teams.{key.team}]"
            setting = dotted("keys", key.id, "team")
            mistakes.add(ConfigError(setting, key.team, "the name of a team that is set", hint))
    if settings.ledger.data is not None:
        return
    for setting, limits in _all_limits(settings):
        if limits.budgets:
            hint = 'set data in [ledger], such as data = "/var/lib/flask-gateway"'
            mistakes.add(ConfigError(f"{setting}.budgets", None, "a directory to keep what was used", hint))


def refuse_unusable_admins(settings: Settings, mistakes: Mistakes) -> None:
    """Refuse admins whose key or name is another's, and admins where there is no directory for keys."""
    taken = {key.digest for key in settings.keys} | {settings.metrics_digest}
    names = set[str]()
    for number, admin in enumerate(settings.admins):
        of_environment = admin.name == OF_ENVIRONMENT and not number
        setting = ADMIN_KEY.variable if of_environment else dotted("admins", admin.name)
        if admin.digest in taken:
            mistakes.add(ConfigError(setting, MASK, "a key that is used for nothing else"))
        if admin.name in names:
            hint = f"the admin of {ADMIN_KEY.variable} has it"
            mistakes.add(ConfigError(setting, None, "a name of its own", hint))
        if settings.ledger.data is None:
            hint = 'set data in [ledger], such as data = "/var/lib/flask-gateway"'
            mistakes.add(ConfigError(setting, MASK, "a directory to keep the keys in", hint))
        taken.add(admin.digest)
        names.add(admin.name)


def refuse_unused_prices(settings: Settings, mistakes: Mistakes) -> None:
    """Refuse prices of upstreams that are not set, and prices where no ledger is kept."""
    names = {upstream.name for upstream in settings.upstreams}
    for pair in settings.prices:
        upstream, slash, model = pair.partition("/")
        if upstream not in names or not (slash and model):
            hint = nearest(upstream, names) if slash else 'such as [prices."openai/gpt-4o"]'
            setting = dotted("prices", pair)
            mistakes.add(ConfigError(setting, None, "an upstream that is set, a slash, and its model", hint))
    if settings.ledger.data is None:
        for setting in _prices(settings):
            hint = 'set data in [ledger], such as data = "/var/lib/flask-gateway"'
            mistakes.add(ConfigError(setting, None, "a directory to keep the ledger in", hint))


def _prices(settings: Settings) -> Iterator[str]:
    """The settings of prices."""
    yield from (dotted("prices", pair) for pair in settings.prices)
    yield from (dotted("upstreams", one.name, "prices") for one in settings.upstreams if one.prices)
    for model in settings.models:
        if any(candidate.price for tier in model.tiers for candidate in tier):
            yield dotted("models", model.name, "price")


def refused_of_key(policy: OwnerLimits, settings: Settings) -> str:
    """The reason why an issued key cannot have those limits; empty if it can. It is that of the settings."""
    return _refused(msgspec.structs.replace(settings, keys=(_key_with(policy),), teams={}, limits=NONE))


def refused_of_team(policy: OwnerLimits, settings: Settings) -> str:
    """The reason why a team cannot have those limits; empty if it can."""
    return _refused(msgspec.structs.replace(settings, keys=(), teams={"it": policy}, limits=NONE))


def _key_with(policy: OwnerLimits) -> KeySettings:
    return KeySettings(id="it", digest=b"", policy=policy)


def _refused(settings: Settings) -> str:
    mistakes = Mistakes()
    refuse_unkept_limits(settings, mistakes)
    try:
        mistakes.raise_found()
    except ConfigError as error:
        return "; ".join(line.replace("keys.it.", "").replace("teams.it.", "") for line in error.lines())
    return ""


def _all_limits(settings: Settings) -> Iterator[tuple[str, Limits]]:
    yield from _of_policy("limits", settings.limits)
    for key in settings.keys:
        yield from _of_policy(dotted("keys", key.id), key.policy)
    for name, policy in settings.teams.items():
        yield from _of_policy(dotted("teams", name), policy)


def _of_policy(setting: str, policy: OwnerLimits) -> Iterator[tuple[str, Limits]]:
    yield setting, policy.own
    yield from ((f"{setting}.model_limits", limits) for limits in policy.models.values())
    yield from ((f"{setting}.user_limits", limits) for limits in policy.named_users.values())
    if policy.users is not None:
        yield f"{setting}.users", policy.users
