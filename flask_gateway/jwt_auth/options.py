"""Checks the options of the authenticator: ``[plugins.NAME.options]``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..config.errors import ConfigError, InvalidValue, nearest
from ..config.limits_syntax import POLICY, TAGS, key_limits_of
from ..config.value_types import UPSTREAM_NAME, BaseType, Name, Seconds, TextLine, TextLines, ValueType
from .accounts import Grant, GroupAccounts
from .claims import ClaimRules
from .current_keys import Ages
from .key_set import ALGORITHMS
from .provider import KeyProvider, checked_url

#: systemd's variables with directories of ours, the first of which keeps the keys: systemd.exec(5).
_DIRECTORIES = ("STATE_DIRECTORY", "CACHE_DIRECTORY")


class _Url(BaseType, frozen=True):
    def parse(self, text: str) -> str:
        checked_url(text)
        return text


class _Texts(TextLines, frozen=True):
    """One text, or a list of them."""

    def check(self, value: object) -> frozenset[str]:
        return super().check([value] if isinstance(value, str) else value)


class _Algorithms(_Texts, frozen=True):
    def check(self, value: object) -> frozenset[str]:
        names = super().check(value)
        for name in names - ALGORITHMS.keys():
            secret = name.upper().startswith("HS") or name.lower() == "none"
            why = "tokens are verified with public keys alone" if secret else nearest(name, ALGORITHMS)
            raise InvalidValue(self.expected, why)
        return names


class _Claims(BaseType, frozen=True):
    """A table of claims with the values that they must have."""

    def check(self, value: object) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(v, str | int) for v in value.values()):
            raise InvalidValue(self.expected)
        return dict(value)


class _Grant(BaseType, frozen=True):
    """A team, models and limits."""

    def check(self, value: object) -> Grant:
        if not isinstance(value, dict):
            raise InvalidValue(self.expected)
        own = {name: _OWN[name].check(value[name]) for name in _OWN if name in value}
        limits = key_limits_of({name: item for name, item in value.items() if name not in _OWN})
        return Grant(
            own.get("team", ""),
            own.get("models"),
            limits.requests,
            limits.concurrent,
            own.get("tags", {}),
            limits.policy,
        )


class _Groups(_Grant, frozen=True):
    """A table of groups, each with a table of its limits."""

    def check(self, value: object) -> dict[str, Grant]:  # type: ignore[override]
        if not isinstance(value, dict) or not value:
            raise InvalidValue(self.expected)
        return {name: super(_Groups, self).check(table) for name, table in value.items()}


_OWN: Mapping[str, ValueType] = {
    "team": Name(UPSTREAM_NAME),
    "models": TextLines("a list of names of models, in which * stands for any text"),
    "tags": TAGS,
}
_LIMITS = f"a table with some of {', '.join((*_OWN, *POLICY))}"
_OPTIONS: Mapping[str, ValueType] = {
    "issuer": _Url("the https:// URL that the tokens have as 'iss'"),
    "audience": _Texts("the 'aud' of tokens for this gateway, or a list of them"),
    "algorithms": _Algorithms(f"some of {', '.join(ALGORITHMS)}"),
    "jwks_url": _Url("the https:// URL of the key set"),
    "ca_file": TextLine("the path of a file with certificates"),
    "keep": TextLine("the path of a directory that exists"),
    "prefix": Name(UPSTREAM_NAME),
    "subject": TextLine("the name of a claim"),
    "groups_claim": TextLine("the name of a claim"),
    "require": _Claims("a table of claims with a text, a whole number or a boolean each"),
    "leeway_seconds": Seconds("a number of seconds", 0.0, 600.0),
    "refresh_seconds": Seconds("a number of seconds", 30.0, 86400.0),
    "stale_seconds": Seconds("a number of seconds", 60.0, 31 * 86400.0),
    "revoked": TextLines("a list of subjects and ids of tokens"),
    "groups": _Groups(f"tables of groups, each {_LIMITS}"),
    "default": _Grant(_LIMITS),
}


class JwtOptions(NamedTuple):
    """The checked options.

    :param keep: the directory for the file of keys; ``None``: keys are not kept.
    """

    rules: ClaimRules
    algorithms: frozenset[str]
    provider: KeyProvider
    ages: Ages
    keep: Path | None
    accounts: GroupAccounts


def options_of(table: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> JwtOptions:
    """Check the table of options.

    :raises ConfigError: one of them is unknown, missing or unfit.
    """
    found = {name: _checked(name, value) for name, value in table.items()}
    for name in ("issuer", "audience"):
        if name not in found:
            raise ConfigError(name, None, _OPTIONS[name].expected, "it is missing")
    if not {"groups", "default"} & found.keys():
        raise ConfigError("groups", None, _OPTIONS["groups"].expected, "nobody could call without one")
    algorithms = found.get("algorithms", frozenset({"RS256"}))
    issuer, url = found["issuer"], found.get("jwks_url", "")
    return JwtOptions(
        ClaimRules(
            issuer,
            found["audience"],
            found.get("leeway_seconds", 60.0),
            found.get("subject", "sub"),
            found.get("groups_claim", "groups"),
            found.get("require", {}),
        ),
        algorithms,
        KeyProvider(issuer, url, algorithms, found.get("ca_file", "")),
        Ages(found.get("refresh_seconds", 600.0), found.get("stale_seconds", 86400.0)),
        _directory(found.get("keep"), environ),
        GroupAccounts(
            found.get("prefix") or _prefix(issuer),
            found.get("groups", {}),
            found.get("default"),
            found.get("revoked", frozenset()),
        ),
    )


def _checked(name: str, value: object) -> Any:
    if name not in _OPTIONS:
        hint = nearest(name, _OPTIONS) or f"known are {', '.join(_OPTIONS)}"
        raise ConfigError(name, None, "a known option", hint)
    try:
        return _OPTIONS[name].check(value)
    except InvalidValue as unfit:
        raise ConfigError(name, _OPTIONS[name].show(value), unfit.expected, unfit.hint) from None


def _directory(named: str | None, environ: Mapping[str, str]) -> Path | None:
    """The directory for the file of keys: the named one, or the first that systemd made."""
    if named is not None:
        if not Path(named).is_dir():
            raise ConfigError("keep", named, _OPTIONS["keep"].expected)
        return Path(named)
    made = (environ.get(name, "").partition(":")[0] for name in _DIRECTORIES)
    return next((Path(path) for path in made if path and Path(path).is_dir()), None)


def _prefix(issuer: str) -> str:
    """Host and path of the issuer, since a subject is unique within its issuer only."""
    parts = checked_url(issuer)
    return ".".join([parts.netloc.replace(":", "."), *filter(None, parts.path.split("/"))])
