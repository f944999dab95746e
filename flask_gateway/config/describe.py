"""Prints the effective settings with every secret masked, and names the settings that differ."""

from __future__ import annotations

from collections.abc import Iterator

from ..model.calendar_windows import WEEKDAYS
from ..model.call import ANTHROPIC, Operation
from ..model.limits import NO_OWNER_LIMITS, Limits, OwnerLimits
from ..model.money import dollars
from .cache_settings import CacheMode, CacheSettings
from .errors import dotted, one_line
from .kinds import DEFAULT, KeyCommand
from .load import Resolved
from .options import SCALARS, written
from .plugins import shown_plugin
from .price_syntax import shown
from .schema import (
    MASK,
    CandidateSettings,
    KeySettings,
    LedgerSettings,
    ModelSettings,
    Settings,
    UpstreamSettings,
    mask_url,
)
from .traces import host_of
from .warnings import Origin

#: The settings that are tables in the file, and the field that names each table.
_TABLES = {"keys": "id", "upstreams": "name", "models": "name", "admins": "name", "plugins": "name"}


def describe(resolved: Resolved) -> Iterator[str]:
    """Yield one line per setting: ``name = value  (from environment | file | default)``."""
    for path, value, origin in rows(resolved):
        yield one_line(f"{path} = {value}  (from {origin})")


def changed(before: Settings, after: Settings) -> Iterator[str]:
    """Yield the names of the settings that differ, as in the file, without values."""
    for name in Settings.__struct_fields__:
        old, new = getattr(before, name), getattr(after, name)
        if old == new or name == "warnings":
            continue
        if name not in _TABLES:
            yield name
            continue
        olds, news = ({getattr(one, _TABLES[name]): one for one in ones} for ones in (old, new))
        differ = [one for one in {**olds, **news} if olds.get(one) != news.get(one)]
        yield from (one_line(dotted(name, one)) for one in differ)
        if not differ:  # only the order differs, and the first of two matches wins
            yield name


def rows(resolved: Resolved) -> Iterator[tuple[str, str, Origin]]:
    """Yield the name, the value and the origin of each setting, with secrets masked."""
    settings, origins = resolved.settings, resolved.origins
    for name, value in resolved.server.items():
        if value is not None:
            yield name, str(value), origins[name]
    for option in SCALARS:
        value = getattr(settings, option.name)
        shown = mask_url(value) if option.name == "state" else _plain(value)
        yield option.name, shown, origins[option.name]
    yield from ((name, value, origins.get(name, Origin.ENVIRONMENT)) for name, value in _operators(settings))
    for upstream in settings.upstreams:
        path = dotted("upstreams", upstream.name)
        yield path, _effective_url(upstream), origins[path]
        if upstream.api_key is not None:
            yield f"{path}.api_key", MASK, origins[f"{path}.api_key"]
        if upstream.key_command is not None:
            yield f"{path}.api_key_command", _shown_command(upstream.key_command), Origin.FILE
        yield f"{path}.max_in_flight", str(upstream.max_in_flight), origins[f"{path}.max_in_flight"]
        yield from (
            (f"{path}.{name}", value, origins.get(f"{path}.{name}", Origin.FILE))
            for name, value in _file_only(upstream, settings)
        )
    for model in settings.models:
        yield dotted("models", model.name), _tiers(model), Origin.FILE
    for name, chain in settings.fallbacks.items():
        yield dotted("fallbacks", name), _tier(chain), origins["fallbacks"]
    yield from ((name, value, origins.get(name, Origin.FILE)) for name, value in _shared_limits(settings))
    for key in settings.keys:
        path = dotted("keys", key.id)
        yield path, MASK, origins[path]
        yield from ((f"{path}.{name}", value, origins[path]) for name, value in _limits(key))


def _operators(settings: Settings) -> Iterator[tuple[str, str]]:
    """Where traces go, and the keys that are no callers'."""
    if settings.traces is not None:
        traces = settings.traces
        share = f", ratio {traces.ratio:g}" if traces.sampler.endswith("ratio") else ""
        yield "traces", f"{host_of(traces)}, {traces.sampler}{share}"
    if settings.metrics_digest is not None:
        yield "metrics_key", MASK
    for admin in settings.admins:
        yield dotted("admins", admin.name), f"{MASK}, role {admin.role}"


def _tiers(model: ModelSettings) -> str:
    """The model's candidates in the order of their tiers, with balance policy, stream mode and aliases."""
    text = ", then ".join(_tier(tier) for tier in model.tiers)
    text += f", {model.balance}" if any(len(tier) > 1 for tier in model.tiers) else ""
    text += ", streams whole" if model.whole else ""
    if model.cache.mode is not CacheMode.OFF:
        cache = model.cache
        text += f", cached ({cache.mode}, {cache.seconds:g} s, shared by {cache.share})"
    return text + (f", also called {' and '.join(model.aliases)}" if model.aliases else "")


def _tier(tier: tuple[CandidateSettings, ...]) -> str:
    return " or ".join(f"{one.model} at {one.upstream}" + _more(one) for one in tier)


def _more(candidate: CandidateSettings) -> str:
    """The candidate's weight and the names of the body fields that it sets, in brackets."""
    more = [f"weight {candidate.weight}"] if candidate.weight != 1 else []
    if candidate.max_output_tokens:
        more.append(f"at most {candidate.max_output_tokens} tokens")
    more += [f"sets {', '.join(candidate.set)}"] if candidate.set else []
    more += [f"defaults for {', '.join(candidate.default)}"] if candidate.default else []
    more += [f"price {shown(candidate.price)}"] if candidate.price else []
    return f" ({'; '.join(more)})" if more else ""


def _limits(key: KeySettings) -> Iterator[tuple[str, str]]:
    """The settings of one key that differ from the general ones."""
    if key.rate_limit_per_minute is not None:
        yield "rate_limit_per_minute", str(key.rate_limit_per_minute)
    if key.models is not None:
        yield "models", ", ".join(sorted(key.models))
    if key.max_concurrent is not None:
        yield "concurrent", str(key.max_concurrent)
    if key.team:
        yield "team", key.team
    if key.tags:
        yield "tags", ", ".join(f"{name}={value}" for name, value in key.tags.items())
    yield from ((name.removeprefix("."), value) for name, value in _policy("", key.policy))


def _shared_limits(settings: Settings) -> Iterator[tuple[str, str]]:
    """The ledger, the prices, and the limits that are not of a key."""
    yield from ((f"ledger.{name}", value) for name, value in _ledger(settings.ledger))
    cache, usual = settings.cache, CacheSettings()
    for name in CacheSettings.__struct_fields__:
        if getattr(cache, name) != getattr(usual, name):
            yield f"cache.{name}", _plain(getattr(cache, name))
    yield from ((dotted("plugins", one.name), shown_plugin(one)) for one in settings.plugins)
    yield from ((dotted("prices", pair), shown(price)) for pair, price in settings.prices.items())
    yield from _policy("limits", settings.limits)
    for team, policy in settings.teams.items():
        yield dotted("teams", team), "a team"
        yield from _policy(dotted("teams", team), policy)


def _ledger(ledger: LedgerSettings) -> Iterator[tuple[str, str]]:
    """The settings of the ledger that are not the default."""
    for name in LedgerSettings.__struct_fields__:
        value = getattr(ledger, name)
        if value != getattr(LedgerSettings(), name):
            yield name, WEEKDAYS[value] if name == "week_starts" else _plain(value)


def _policy(path: str, policy: OwnerLimits) -> Iterator[tuple[str, str]]:
    """The limits of an owner, a line for each subject."""
    if policy == NO_OWNER_LIMITS:
        return
    named = {
        path: policy.own,
        **{f"{path}.{dotted('model_limits', name)}": limits for name, limits in policy.models.items()},
        **{f"{path}.{dotted('user_limits', name)}": limits for name, limits in policy.named_users.items()},
    }
    if policy.users is not None:
        named[f"{path}.users"] = policy.users
    for name, limits in named.items():
        yield from ((f"{name}.{limit}", value) for limit, value in _subject(limits))
    for names in ("request_tags", "key_defaults"):
        if getattr(policy, names):
            yield f"{path}.{names}", ", ".join(getattr(policy, names))
    for flag in ("require_user", "user_from_metadata"):
        if getattr(policy, flag):
            yield f"{path}.{flag}", "true"
    if not policy.content:
        yield f"{path}.content", "false"


def _subject(limits: Limits) -> Iterator[tuple[str, str]]:
    for name in ("requests", "tokens", "concurrent"):
        if getattr(limits, name):
            yield name, str(getattr(limits, name))
    for budget in limits.budgets:
        yield f"budgets.{budget.window}", dollars(budget.amount) + (" strict" if budget.strict else "")


def _file_only(upstream: UpstreamSettings, general: Settings) -> Iterator[tuple[str, str]]:
    """The settings of an upstream, usually of the file, where they are not the general ones."""
    yield from _kind(upstream)
    if not upstream.stream_usage:
        yield "stream_usage", "false"
    if upstream.list_models:
        yield "list_models", "true"
    named = {"prices": upstream.prices, "provider": upstream.provider, "continues": upstream.continues}
    yield from ((name, str(value)) for name, value in named.items() if value is not None)
    for name in ("ca_file", "client_cert", "proxy"):
        value = getattr(upstream, name)
        if value not in (None, getattr(general, name)):
            yield name, str(value)
    if upstream.proxy is None and general.proxy is not None:
        yield "proxy", "none"
    if upstream.clocks is not None:
        for clock in upstream.clocks.__struct_fields__:
            yield f"{clock}_seconds", _plain(getattr(upstream.clocks, clock))


def _kind(upstream: UpstreamSettings) -> Iterator[tuple[str, str]]:
    """Yield the kind of an upstream and its operations, where they are set."""
    if upstream.kind != DEFAULT:
        yield "kind", upstream.kind
    if upstream.speaks is not None:
        yield "speaks", ", ".join(sorted(upstream.speaks))
    if upstream.raw:
        yield "raw", ", ".join(map(str, upstream.raw))
    for name in upstream.quirks.__struct_fields__ if upstream.quirks is not None else ():
        value = getattr(upstream.quirks, name)
        if value != getattr(upstream.of_kind.quirks, name):
            yield name, written(value)


def _effective_url(upstream: UpstreamSettings) -> str:
    """The URL of chat calls, with the path that the gateway appends; of messages, if it takes no chat."""
    if upstream.url.startswith("mock:"):
        return upstream.url
    first = Operation.CHAT if Operation.CHAT in upstream.operations else min(upstream.operations)
    if first in ANTHROPIC:
        return upstream.of_kind.anthropic_url_of(upstream.url, first, "MODEL", stream=False)
    return upstream.of_kind.url_of(upstream.url, first)


def _shown_command(command: KeyCommand) -> str:
    """The program, without its arguments, which may be secrets."""
    return f"{command.arguments[0]} …, used for {command.seconds:g} s unless the key says how long"


def _plain(value: object) -> str:
    if value is None or value == ():
        return "none"
    return ", ".join(value) if isinstance(value, tuple) else written(value)
