"""Reads the TOML file and checks each value by itself. ``load.py`` compares values with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..model.limits import NO_OWNER_LIMITS, OwnerLimits
from ..model.price_override import PriceOverride
from .admins import Role
from .body_fields import BODY_FIELDS
from .cache import CACHE, MODEL_CACHE, cache_of, model_cache_of
from .cache_settings import CacheSettings
from .errors import ConfigError, InvalidValue, Mistakes, dotted, nearest
from .file_egress import FileEgress, egress_of, only_one
from .file_upstream import UPSTREAM, FileUpstream, upstream_of
from .hints import for_field
from .kinds import DEFAULT, KINDS
from .limits_syntax import LEDGER, LIMITS, POLICY, TAGS, TEAM, LimitsTables, ledger_of, limits_of, policy_of
from .options import FILE_SCALARS, SECRET_PATH, VARIABLE
from .plugins import PLUGIN, FilePlugin, plugin_of
from .price_syntax import PRICE
from .route_syntax import BALANCE, CHAIN, TIERS, candidates_of, former_names, with_body_fields
from .schema import MASK, Balance, CandidateSettings, LedgerSettings, ModelSettings
from .secrets import USABLE_KEY, Digest, Forbidden, SecretRef
from .toml_document import parse
from .value_types import (
    UPSTREAM_NAME,
    Name,
    OneOf,
    TextLine,
    TextLines,
    ValueType,
    WholeNumber,
)
from .webhook import FileWebhook

#: The variables of secrets that [ledger] may name.
_LEDGER_VARIABLES = ("webhook_env", "webhook_secret_env", "database_env")
_TABLES = ("upstreams", "models", "keys", "teams", "limits", "ledger", "prices", "admins", "cache", "plugins")
#: The two names of the value of ``stream`` that buffers a stream until it is complete.
_BUFFERED = ("whole", "buffered")
_NAME = Name(UPSTREAM_NAME)
_MODEL_NAME = TextLine("the name of a model")

_MODEL: Mapping[str, ValueType] = {
    "upstream": _NAME,
    "model": _MODEL_NAME,
    "fallbacks": CHAIN,
    "tiers": TIERS,
    "balance": BALANCE,
    "stream": OneOf("live, whole or buffered", ("live", *_BUFFERED)),
    "aliases": TextLines("a list of one or more further names of the model"),
    "set": BODY_FIELDS,
    "default": BODY_FIELDS,
    "price": PRICE,
    **MODEL_CACHE,
}
_KEY: Mapping[str, ValueType] = {
    "key_env": VARIABLE,
    "key_file": SECRET_PATH,
    "sha256": Digest("the SHA-256 digest of a key, as 64 hex digits"),
    "rate_limit_per_minute": WholeNumber("a whole number of requests per minute, 0 for unlimited"),
    "models": TextLines(
        "a list of one or more names of models, in which * stands for any text and ? for one character"
    ),
    "key": Forbidden("no secret in the file", "name its place with key_env or key_file, or give its sha256"),
    "team": _NAME,
    "tags": TAGS,
    **POLICY,
}
_ADMIN: Mapping[str, ValueType] = {
    **{name: _KEY[name] for name in ("key_env", "key_file", "sha256", "key")},
    "role": OneOf("admin or viewer", tuple(Role)),
}
_GENERAL: Mapping[str, ValueType] = {
    **LIMITS,
    "models": LimitsTables('a table such as { "gpt-4o" = { requests = 100 } }'),
}


class FileKey(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's key; ``held`` is its digest, or a reference to the key."""

    name: str
    held: bytes | SecretRef
    rate_limit_per_minute: int | None
    models: frozenset[str] | None
    max_concurrent: int | None = None
    team: str = ""
    tags: Mapping[str, str] = {}
    policy: OwnerLimits = NO_OWNER_LIMITS


class FileAdmin(msgspec.Struct, frozen=True, kw_only=True):
    """An admin; ``held`` is the digest of its key, or a reference to the key."""

    name: str
    held: bytes | SecretRef
    role: Role


class FileSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings in the file. ``scalars`` holds only those that the file sets."""

    scalars: Mapping[str, Any] = {}
    state: SecretRef | None = None
    egress: FileEgress = FileEgress()
    upstreams: tuple[FileUpstream, ...] = ()
    models: tuple[ModelSettings, ...] = ()
    keys: tuple[FileKey, ...] = ()
    admins: tuple[FileAdmin, ...] = ()
    teams: Mapping[str, OwnerLimits] = {}
    limits: OwnerLimits = NO_OWNER_LIMITS
    ledger: LedgerSettings = LedgerSettings()
    webhook: FileWebhook = FileWebhook()
    prices: Mapping[str, PriceOverride] = {}
    cache: CacheSettings = CacheSettings()
    plugins: tuple[FilePlugin, ...] = ()
    warnings: tuple[str, ...] = ()

    def variables(self) -> Iterator[str]:
        """The environment variables that the file names as sources of secrets."""
        return (ref.place for ref in self._refs() if ref.folder is None)

    def files(self) -> Iterator[Path]:
        """The files that it names as sources of secrets or certificates."""
        yield from (ref.folder / ref.place for ref in self._refs() if ref.folder is not None)
        for egress in self._egress():
            yield from egress.files()

    def _egress(self) -> Iterator[FileEgress]:
        yield from (self.egress, *(upstream.egress for upstream in self.upstreams))

    def _refs(self) -> Iterator[SecretRef]:
        keys = [key.held for key in self.keys] + [admin.held for admin in self.admins]
        urls = (upstream.url_ref for upstream in self.upstreams)
        proxies = (egress.proxy for egress in self._egress())
        for ref in (
            self.state,
            *self.webhook,
            *(upstream.api_key for upstream in self.upstreams),
            *urls,
            *proxies,
            *keys,
            *(ref for plugin in self.plugins for ref in plugin.refs.values()),
        ):
            if isinstance(ref, SecretRef):
                yield ref


def read_file(path: str) -> FileSettings:
    """Read the settings in the file.

    :raises ConfigError: the file has mistakes; the error holds all of them.
    """
    document, mistakes, folder = parse(path), Mistakes(), Path(path).parent
    top = {name: value for name, value in document.items() if name not in _TABLES}
    scalars = _fields((), top, FILE_SCALARS, mistakes, also=_TABLES)
    state, upstreams, models, keys = None, list[FileUpstream](), list[ModelSettings](), list[FileKey]()
    egress = FileEgress()
    with mistakes:
        state = _state(scalars)
    with mistakes:
        egress = egress_of((), scalars, folder)
    for name, table in _entries(document, "upstreams", _NAME, mistakes):
        with mistakes:
            upstreams.append(_upstream(name, table, folder, mistakes))
    for name, table in _entries(document, "models", _MODEL_NAME, mistakes):
        with mistakes:
            models.append(_model(name, table, mistakes))
    for name, table in _entries(document, "keys", _NAME, mistakes):
        with mistakes:
            keys.append(_key(name, table, folder, mistakes))
    admins = list[FileAdmin]()
    for name, table in _entries(document, "admins", _NAME, mistakes):
        with mistakes:
            admins.append(_admin(name, table, folder, mistakes))
    plugins = list[FilePlugin]()
    for name, table in _entries(document, "plugins", _NAME, mistakes):
        with mistakes:
            plugins.append(plugin_of(name, _fields(("plugins", name), table, PLUGIN, mistakes)))
    teams = {
        name: policy_of(_fields(("teams", name), table, TEAM, mistakes))
        for name, table in _entries(document, "teams", _NAME, mistakes)
    }
    limits = _fields(("limits",), document.get("limits", {}), _GENERAL, mistakes)
    ledger = _fields(("ledger",), document.get("ledger", {}), LEDGER, mistakes)
    names = document.get("prices", {})
    prices = _fields(
        ("prices",), names, dict.fromkeys(names if isinstance(names, dict) else (), PRICE), mistakes
    )
    cache = _fields(("cache",), document.get("cache", {}), CACHE, mistakes)
    mistakes.raise_found()
    return FileSettings(
        warnings=tuple(former_names(document.get("models"))),
        state=state,
        egress=egress,
        scalars={name: value for name, value in scalars.items() if not name.endswith("_env")},
        upstreams=tuple(upstreams),
        models=tuple(models),
        keys=tuple(keys),
        admins=tuple(admins),
        teams=teams,
        limits=OwnerLimits(own=limits_of(limits), models=limits.get("models", {})),
        ledger=ledger_of(ledger, folder),
        webhook=FileWebhook(*(_variable_of(ledger, name) for name in _LEDGER_VARIABLES)),
        prices=prices,
        cache=cache_of(cache, folder),
        plugins=tuple(plugins),
    )


def _variable_of(ledger: Mapping[str, Any], name: str) -> SecretRef | None:
    return SecretRef(dotted("ledger", name), ledger[name]) if name in ledger else None


def files(path: str) -> tuple[Path, ...]:
    """The file itself, and as far as it can be read, those that it names as places of secrets."""
    try:
        return (Path(path), *read_file(path).files())
    except ConfigError:
        return (Path(path),)


def _fields(
    path: tuple[str, ...],
    table: object,
    kinds: Mapping[str, ValueType],
    mistakes: Mistakes,
    also: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the valid values of one table, and add the others to ``mistakes``.

    :param also: further valid names, for the hint.
    """
    if not isinstance(table, dict):
        raise ConfigError(dotted(*path), MASK, f"a table, written [{dotted(*path)}]")
    fields = {}
    for name, value in table.items():
        with mistakes:
            fields[name] = _value(path, name, value, kinds, also)
    return fields


def _value(
    path: tuple[str, ...], name: str, value: object, kinds: Mapping[str, ValueType], also: tuple[str, ...]
) -> Any:
    setting = dotted(*path, name)
    if name not in kinds:
        known = [*(known for known, kind in kinds.items() if not isinstance(kind, Forbidden)), *also]
        # [models.gpt-4.1] without quotes is a table "1" inside "gpt-4".
        dot = "put a name that has a dot in quotes" if isinstance(value, dict) and path else None
        hint = for_field(path, name) or nearest(name, known) or dot or f"known are {', '.join(known)}"
        # A text may be a secret under a mistyped name. A number is not.
        shown = value if isinstance(value, int | float) else MASK
        raise ConfigError(setting, shown, "a known setting", hint)
    try:
        return kinds[name].check(value)
    except InvalidValue as unfit:
        raise ConfigError(setting, kinds[name].show(value), unfit.expected, unfit.hint) from None


def _entries(
    document: Mapping[str, object], section: str, kind: ValueType, mistakes: Mistakes
) -> Iterator[tuple[str, object]]:
    """Yield the tables of a section with their names. Invalid names are mistakes."""
    tables = document.get(section, {})
    if not isinstance(tables, dict):
        mistakes.add(ConfigError(section, MASK, f"tables, each written [{section}.NAME]"))
        return
    for name, table in tables.items():
        try:
            kind.parse(name)
        except InvalidValue as unfit:
            mistakes.add(ConfigError(dotted(section, name), None, unfit.expected, "as the last part"))
            continue
        yield name, table


def _misses(table: object, names: tuple[str, ...], kinds: Mapping[str, ValueType]) -> bool:
    """Whether a table has none of the fields, and no unknown field that may be a misspelling of one."""
    return (
        isinstance(table, dict) and not any(name in table for name in names) and table.keys() <= kinds.keys()
    )


def _upstream(name: str, table: object, folder: Path, mistakes: Mistakes) -> FileUpstream:
    path = ("upstreams", name)
    fields = _fields(path, table, UPSTREAM, mistakes)
    kind = KINDS[fields.get("kind", DEFAULT)]
    if _misses(table, ("url", "url_env"), UPSTREAM) and not kind.url:
        raise ConfigError(dotted(*path, "url"), None, UPSTREAM["url"].expected, "it is missing")
    only_one(path, fields, ("url", "url_env"))
    only_one(path, fields, ("url", "url_path"))
    place = only_one(path, fields, ("api_key_env", "api_key_file"))
    only_one(path, fields, ("api_key_command", "api_key_env"))
    only_one(path, fields, ("api_key_command", "api_key_file"))
    url_ref = _ref(path, "url_env", fields["url_env"], folder) if "url_env" in fields else None
    api_key = _ref(path, place, fields[place], folder) if place else None
    return upstream_of(name, fields, url_ref, api_key, folder)


def _model(name: str, table: object, mistakes: Mistakes) -> ModelSettings:
    path = ("models", name)
    fields = _fields(path, table, _MODEL, mistakes)
    tiers: tuple[tuple[CandidateSettings, ...], ...] = ()
    if "tiers" in fields:
        only_one(path, fields, ("tiers", "upstream"))
        only_one(path, fields, ("tiers", "model"))
        only_one(path, fields, ("tiers", "price"))
        tiers = tuple(candidates_of(tier, name) for tier in fields["tiers"])
    elif "upstream" in fields:
        tiers = ((_only(fields, name),),)
    elif _misses(table, ("upstream", "tiers"), _MODEL):
        raise ConfigError(dotted(*path, "upstream"), None, "the name of an upstream", "it is missing")
    fallbacks = candidates_of(fields.get("fallbacks", ()), name)
    tiers = (*tiers, *((one,) for one in fallbacks))
    return ModelSettings(
        name=name,
        tiers=tuple(tuple(with_body_fields(one, fields) for one in tier) for tier in tiers),
        aliases=tuple(sorted(fields.get("aliases", ()))),
        whole=fields.get("stream") in _BUFFERED,
        cache=model_cache_of(fields),
        **({"balance": Balance(fields["balance"])} if "balance" in fields else {}),
    )


def _only(fields: Mapping[str, Any], name: str) -> CandidateSettings:
    """The one candidate of a model that names its upstream."""
    model, price = fields.get("model", name), fields.get("price")
    return CandidateSettings(upstream=fields["upstream"], model=model, price=price)


def _key(name: str, table: object, folder: Path, mistakes: Mistakes) -> FileKey:
    path = ("keys", name)
    fields = _fields(path, table, _KEY, mistakes)
    held = _held(path, table, fields, _KEY, folder)
    requests = only_one(path, fields, ("rate_limit_per_minute", "requests"))
    # A key's own requests and calls at once are counted by guards that every key has.
    own = {name: value for name, value in fields.items() if name not in ("requests", "concurrent")}
    return FileKey(
        name=name,
        held=held,
        rate_limit_per_minute=fields[requests] if requests else None,
        models=fields.get("models"),
        max_concurrent=fields.get("concurrent"),
        team=fields.get("team", ""),
        tags=fields.get("tags", {}),
        policy=policy_of(own),
    )


def _admin(name: str, table: object, folder: Path, mistakes: Mistakes) -> FileAdmin:
    path = ("admins", name)
    fields = _fields(path, table, _ADMIN, mistakes)
    held = _held(path, table, fields, _ADMIN, folder)
    return FileAdmin(name=name, held=held, role=Role(fields.get("role", Role.ADMIN)))


def _held(
    path: tuple[str, ...],
    table: object,
    fields: Mapping[str, Any],
    kinds: Mapping[str, ValueType],
    folder: Path,
) -> bytes | SecretRef:
    """The digest of a key, or the reference to it; empty when it was refused."""
    places = ("key_env", "key_file", "sha256")
    place = only_one(path, fields, places)
    if _misses(table, (*places, "key"), kinds):
        raise ConfigError(dotted(*path), None, f"key_env, key_file or sha256, for {USABLE_KEY}")
    if place in ("key_env", "key_file"):
        return _ref(path, place, fields[place], folder)
    return fields.get(place or "") or b""


def _state(scalars: Mapping[str, Any]) -> SecretRef | None:
    place = only_one((), scalars, ("state", "state_env"))
    # A redis URL has its password before the "@" or in the query.
    if place == "state" and ("@" in scalars["state"] or "password" in scalars["state"].lower()):
        raise ConfigError(
            "state", MASK, "no secret in the file", "name a variable that holds the URL in state_env"
        )
    return SecretRef("state_env", scalars["state_env"]) if place == "state_env" else None


def _ref(path: tuple[str, ...], field: str, value: str, folder: Path) -> SecretRef:
    return SecretRef(dotted(*path, field), value, folder if field.endswith("_file") else None)
