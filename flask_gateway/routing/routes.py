"""Where a model can be asked, and in which order. Pure: names in, a route out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from ..model.errors import UnknownModel

#: A model name may go on behind an upstream's name at one of these: ``llama-3-8b`` is ``llama``'s.
BOUNDARIES = frozenset("-:./_")


class Target(NamedTuple):
    """Where a call can go: an upstream, and the name by which that upstream knows the model."""

    upstream: str
    model: str
    weight: int = 1


Tier = tuple[Target, ...]


class Route(msgspec.Struct, frozen=True):
    """All the places where a model can be asked.

    :param tiers: a later one is asked when an earlier one cannot answer.
    :param balance: how to choose within a tier: ``in_order``, ``round_robin`` or ``least_requests``.
    :param whole: whether its streams are held back until they are complete.
    """

    name: str
    tiers: tuple[Tier, ...]
    balance: str = "in_order"
    whole: bool = False

    def at(self, upstream: str) -> Route:
        """The part of it that asks that upstream."""
        tiers = (tuple(one for one in tier if one.upstream == upstream) for tier in self.tiers)
        return msgspec.structs.replace(self, tiers=tuple(tier for tier in tiers if tier))


class Routes:
    """The table of routes. Immutable, so shared by all threads without a lock.

    :param upstreams: the names of all upstreams.
    :param models: models configured by name.
    :param default: the upstream for every other model.
    :param fallbacks: by model name, further targets, each a tier of its own.
    :param providers: the upstreams whose own names are no models, as far as is known.
    """

    def __init__(
        self,
        upstreams: tuple[str, ...],
        models: Mapping[str, Route],
        default: str | None,
        fallbacks: Mapping[str, Tier] | None = None,
        providers: frozenset[str] = frozenset(),
    ) -> None:
        self._providers = providers
        self._upstreams = frozenset(upstreams)
        # The longest name first, so that the first one that fits is the most telling one.
        self._by_length = sorted(upstreams, key=len, reverse=True)
        self._models = dict(models)
        self._default = default
        self._fallbacks = dict(fallbacks or {})

    def route(self, model: str) -> Route:
        """The route of a model, its fallbacks behind it.

        A configured model; else the upstream of that exact name; else ``upstream/model``; else the
        longest upstream name that the model begins with, at a boundary; else the default.

        :raises UnknownModel: there is none.
        """
        route = self._models.get(model) or Route(model, ((self._target(model),),))
        behind = tuple((target,) for target in self._fallbacks.get(model, ()))
        return msgspec.structs.replace(route, tiers=route.tiers + behind) if behind else route

    def with_chain(self, model: str, chain: tuple[str, ...]) -> Route:
        """The first tier of a model, and behind it those of the models that the caller names.

        :raises UnknownModel: for one of them there is no route.
        """
        route = self.route(model)
        behind = tuple(self.route(name).tiers[0] for name in chain)
        return msgspec.structs.replace(route, tiers=route.tiers[:1] + behind)

    def _target(self, model: str) -> Target:
        if model in self._upstreams:
            return Target(model, model)
        upstream, slash, name = model.partition("/")
        if slash and name and upstream in self._upstreams:
            return Target(upstream, name)
        for upstream in self._by_length:
            if model.startswith(upstream) and model[len(upstream)] in BOUNDARIES:
                return Target(upstream, model)
        if self._default is not None:
            return Target(self._default, model)
        raise UnknownModel(
            f"The model '{model[:200]}' does not exist here, and there is no default upstream. "
            "GET /v1/models lists the models you may call; UPSTREAM/MODEL asks an upstream for its own.",
            param="model",
        )

    def listed(self, told: Mapping[str, Iterable[str]] = MappingProxyType({})) -> dict[str, str]:
        """The model names that can be listed, each with the upstream that is asked first.

        :param told: the models that upstreams say they have, by upstream. Such a model is listed by its own
            name if a call of that name asks that upstream for it, else as ``upstream/model``. The name of
            that upstream is not listed as a model unless it is one.
        """
        unless_told = {name: () if name in self._providers else (name,) for name in sorted(self._upstreams)}
        found = {name: name for name, models in unless_told.items() if name in told.get(name, models)}
        for upstream, models in told.items():
            for model in models:
                name = model if self._asks(model, upstream, model) else f"{upstream}/{model}"
                if self._asks(name, upstream, model):
                    found[name] = upstream
        return found | {name: route.tiers[0][0].upstream for name, route in sorted(self._models.items())}

    def _asks(self, name: str, upstream: str, model: str) -> bool:
        """Whether a call of that name asks that upstream for that model."""
        if name in self._models:
            return False
        try:
            return self._target(name)[:2] == (upstream, model)
        except UnknownModel:
            return False

    def configured(self) -> Iterator[Target]:
        """Every target that stands in the configuration, once."""
        tiers = [tier for route in self._models.values() for tier in route.tiers] + [
            *self._fallbacks.values()
        ]
        seen = {(target.upstream, target.model): target for tier in tiers for target in tier}
        yield from seen.values()
