"""Makes the routes from the settings."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..config.schema import CandidateSettings, ModelSettings, Settings, UpstreamSettings
from ..model.call import BodyOverrides
from ..routing.routes import Route, Routes, Target, Tier


def configured_routes(settings: Settings) -> Routes:
    """The routes to upstreams, models and fallbacks that the settings name."""
    return Routes(
        upstreams=tuple(upstream.name for upstream in settings.upstreams),
        models=dict(_named_routes(settings)),
        default=settings.default_upstream,
        fallbacks={name: _tier(chain) for name, chain in settings.fallbacks.items()},
        unlisted=frozenset(settings.unlisted_models),
        providers=frozenset(upstream.name for upstream in settings.upstreams if _is_provider(upstream)),
    )


def _is_provider(upstream: UpstreamSettings) -> bool:
    """Whether the upstream is an account at a provider of many models, such as
    ``openai=https://api.openai.com``. Self-hosted servers are usually named after the model they serve."""
    return (upstream.api_key or upstream.key_command) is not None and upstream.url.startswith("https://")


def _named_routes(settings: Settings) -> Iterator[tuple[str, Route]]:
    for model in settings.models:
        route = _route(model)
        yield from ((name, route) for name in (model.name, *model.aliases))


def _route(model: ModelSettings) -> Route:
    tiers = tuple(_tier(tier) for tier in model.tiers)
    return Route(model.name, tiers, model.balance, model.whole)


def _tier(candidates: tuple[CandidateSettings, ...]) -> Tier:
    return tuple(
        Target(candidate.upstream, candidate.model, candidate.weight, _overrides(candidate))
        for candidate in candidates
    )


def _overrides(candidate: CandidateSettings) -> BodyOverrides | None:
    if not (candidate.set or candidate.default):
        return None
    fixed, default = (
        {name: msgspec.Raw(value) for name, value in fields.items()}
        for fields in (candidate.set, candidate.default)
    )
    return BodyOverrides(fixed, default)
