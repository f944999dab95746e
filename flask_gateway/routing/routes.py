"""Finds the route of a model: the upstreams that serve it, in order. It does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from ..config.schema import Balance
from ..model.call import BodyOverrides, fits_any
from ..model.errors import UnknownModel

#: A model name may begin with an upstream's name and one of these: ``llama-3-8b`` belongs to ``llama``.
BOUNDARIES = frozenset("-:./_")
#: Every name.
ANY_NAME = frozenset({"*"})
#: How many routes are remembered.
MOST_ROUTES = 1024


class Target(NamedTuple):
    """An upstream, and the name by which that upstream knows the model.

    :param overrides: fields of the body that the settings write; ``None``: there are none.
    """

    upstream: str
    model: str
    weight: int = 1
    overrides: BodyOverrides | None = None


Tier = tuple[Target, ...]


class Route(msgspec.Struct, frozen=True):
    """The targets of a model.

    :param tiers: a later tier is asked when no target of an earlier one can answer.
    :param balance: which target of a tier comes first.
    :param whole: whether the gateway holds its streams back until they are complete.
    """

    name: str
    tiers: tuple[Tier, ...]
    balance: Balance = Balance.IN_ORDER
    whole: bool = False

    def at(self, upstream: str) -> Route:
        """The route reduced to that upstream."""
        tiers = (tuple(target for target in tier if target.upstream == upstream) for tier in self.tiers)
        return msgspec.structs.replace(self, tiers=tuple(tier for tier in tiers if tier))


class Routes:
    """The table of routes. Immutable, so shared by all threads without a lock.

    :param upstreams: the names of all upstreams.
    :param models: models configured by name.
    :param default: the upstream for every other model.
    :param fallbacks: by model name, further targets, each a tier of its own.
    :param unlisted: the names without a model of their own that are routed, ``*`` matching any text.
    :param providers: upstreams whose own names are not model names, unless the upstream lists them.
    """

    def __init__(
        self,
        upstreams: tuple[str, ...],
        models: Mapping[str, Route],
        default: str | None,
        fallbacks: Mapping[str, Tier] | None = None,
        providers: frozenset[str] = frozenset(),
        unlisted: frozenset[str] = ANY_NAME,
    ) -> None:
        self._providers = providers
        self._upstreams = frozenset(upstreams)
        # The longest name first, so that the first match is the most specific one.
        self._by_length = sorted(upstreams, key=len, reverse=True)
        self._models = dict(models)
        self._default = default
        self._unlisted = unlisted
        self._fallbacks = dict(fallbacks or {})
        #: Returns the route of a model, and raises ``UnknownModel``: see :meth:`_found`. Callers ask for any
        #: model, so it remembers a bounded number.
        self.route: Callable[[str], Route] = lru_cache(maxsize=MOST_ROUTES)(self._found)

    def _found(self, model: str) -> Route:
        """The route of a model, followed by its fallbacks. Callers use :attr:`route`, which remembers it.

        The first match counts: a configured model; the upstream of that exact name; ``upstream/model``; the
        longest upstream name that the model begins with, at a boundary; the default upstream. A model that is
        not configured must be among the names that are routed.

        :raises UnknownModel: nothing matches.
        """
        route = self._models.get(model) or Route(model, ((self._target(model),),))
        # An alias has the fallbacks of its model.
        chain = self._fallbacks.get(model) or self._fallbacks.get(route.name, ())
        fallbacks = tuple((target,) for target in chain)
        return msgspec.structs.replace(route, tiers=route.tiers + fallbacks) if fallbacks else route

    def name(self, model: str) -> str:
        """The name of the configured model that an alias stands for; any other name as it is."""
        route = self._models.get(model)
        return model if route is None else route.name

    def with_chain(self, model: str, chain: tuple[str, ...]) -> Route:
        """The first tier of a model, followed by the first tiers of the models that the caller names.

        :raises UnknownModel: one of them has no route.
        """
        route = self.route(model)
        fallbacks = tuple(self.route(name).tiers[0] for name in chain)
        return msgspec.structs.replace(route, tiers=route.tiers[:1] + fallbacks)

    def _is_routed(self, model: str) -> bool:
        """Whether a name without a model of its own may reach an upstream."""
        return model in self._unlisted or model in self._fallbacks or fits_any(model, self._unlisted)

    def _target(self, model: str) -> Target:
        if not self._is_routed(model):
            listed = "GET /v1/models lists the models you may call."
            raise UnknownModel(f"The model '{model[:200]}' does not exist here. {listed}", param="model")
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

    def listed(self, catalog: Mapping[str, Iterable[str]] = MappingProxyType({})) -> dict[str, str]:
        """The model names to list, each with the upstream that is asked first.

        :param catalog: the models that upstreams list, by upstream. Such a model is listed by its own name if
            a call of that name reaches that upstream and model, else as ``upstream/model``. The upstream's
            name is not listed as a model unless the upstream lists it.
        """
        own_names = {name: () if name in self._providers else (name,) for name in sorted(self._upstreams)}
        listed = {name: name for name, models in own_names.items() if name in catalog.get(name, models)}
        listed = {name: name for name in listed if self._is_routed(name)}
        for upstream, models in catalog.items():
            for model in models:
                name = model if self._reaches(model, upstream, model) else f"{upstream}/{model}"
                if self._reaches(name, upstream, model):
                    listed[name] = upstream
        return listed | {name: route.tiers[0][0].upstream for name, route in sorted(self._models.items())}

    def _reaches(self, name: str, upstream: str, model: str) -> bool:
        """Whether a call of that name goes to that upstream and model."""
        if name in self._models:
            return False
        try:
            return self._target(name)[:2] == (upstream, model)
        except UnknownModel:
            return False

    def configured(self) -> Iterator[Target]:
        """Every target in the configuration, once."""
        tiers = [tier for route in self._models.values() for tier in route.tiers] + [
            *self._fallbacks.values()
        ]
        seen = {(target.upstream, target.model): target for tier in tiers for target in tier}
        yield from seen.values()
