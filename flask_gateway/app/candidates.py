"""Where a call can be answered right now: the routes, balanced, with what stands before each target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from ..config.schema import MASK, Timeouts
from ..guards.breaker import Breaker
from ..guards.bulkhead import upstream_key
from ..guards.leases import ConcurrencyLeases
from ..model.call import Call, Caller, Continues
from ..model.errors import UnknownModel
from ..model.protocols import Service
from ..routing.dispatcher import Candidate
from ..routing.load_balancing import Balancer
from ..routing.routes import Route, Routes, Target


class Endpoint(msgspec.Struct, frozen=True):
    """A target with what guards it.

    :param model: the one model it is for; ``None``: whatever the upstream is asked for.
    :param clocks: how long it may take.
    :param limits: calls under way at once, by what they are counted under; 0 means without limit.
    :param continues: how it goes on with an answer that another has begun; ``None``: it cannot.
    """

    upstream: str
    model: str | None
    service: Service
    breaker: Breaker
    clocks: Timeouts
    limits: Mapping[str, int]
    continues: Continues | None = None


class CandidateStatus(msgspec.Struct, frozen=True):
    """A candidate of a route, and why it is asked or not: ``chosen``, ``next``, ``open``, ``cooling``,
    ``full``, ``credential refused`` (asked after all others) or ``not allowed``. ``retry_after``: seconds
    until that may change, if that is known."""

    tier: int
    upstream: str
    model: str
    reason: str
    retry_after: float | None = None


class Candidates:
    """The candidates of a call, in order. Immutable but for the state behind its guards.

    :param places: by upstream and model; under ``None`` for models that are not configured.
    """

    def __init__(
        self,
        routes: Routes,
        balancer: Balancer,
        slots: ConcurrencyLeases,
        places: Mapping[tuple[str, str | None], Endpoint],
    ) -> None:
        self._routes = routes
        self._balancer = balancer
        self._slots = slots
        self._places = dict(places)

    def __call__(self, call: Call) -> Iterator[Candidate]:
        """:raises UnknownModel: there is no route for the model, or for one of the caller's own chain."""
        route = self._route(call)
        # Whom nobody could be asked before need not be looked at.
        alone = len(route.tiers) == len(route.tiers[0]) == 1
        denied = []
        for tier in self._balancer.ordered(route):
            for target in tier:
                place = self._place(target)
                candidate = Candidate(place.service, target.model)
                if alone or not place.breaker.denied:
                    yield candidate
                else:
                    denied.append(candidate)
        yield from denied

    def explain(self, caller: Caller, model: str) -> list[CandidateStatus]:
        """What a call of that caller would meet now, target by target. Asks nobody, takes no turn.

        A caller that may not call the model is shown nothing of its route, nor whether there is one.
        """
        if not caller.may_call(model):
            return [CandidateStatus(1, MASK, MASK, "not allowed")]
        found, chosen = [], False
        for number, tier in enumerate(self._routes.route(model).tiers, 1):
            for target in tier:
                reason, wait = self._reason(caller, target)
                if not reason:
                    reason, chosen = ("next" if chosen else "chosen"), True
                found.append(CandidateStatus(number, target.upstream, target.model, reason, wait))
        return found

    def visible(self, models: Iterable[str]) -> set[tuple[str, str | None]]:
        """The places where these models are asked, by upstream and model."""
        found: set[tuple[str, str | None]] = set()
        for model in models:
            try:
                tiers = self._routes.route(model).tiers
            except UnknownModel:
                continue
            places = (self._place(target) for tier in tiers for target in tier)
            found.update((place.upstream, place.model) for place in places)
        return found

    def upstreams(self, call: Call) -> list[list[str]]:
        """The names of the upstreams where a call can be answered, by tier.

        :raises UnknownModel: as above.
        """
        return [[target.upstream for target in tier] for tier in self._route(call).tiers]

    def continuers(self, call: Call, broken: str) -> list[tuple[Service, str, Continues]]:
        """Who could go on with an answer, and how it is told to; ``broken``, who has begun it, comes last."""
        found = []
        for tier in self._route(call).tiers:
            for target in tier:
                place = self._place(target)
                if place.continues is not None:
                    found.append((place.service, target.model, place.continues))
        return sorted(found, key=lambda one: one[0].name == broken)

    def whole(self, model: str) -> bool:
        """Whether the model's streams are held back until they are complete."""
        try:
            return self._routes.route(model).whole
        except UnknownModel:  # which is said later, and counted
            return False

    def _route(self, call: Call) -> Route:
        model, chain = call.model, call.fallbacks
        route = self._routes.route(model) if chain is None else self._routes.with_chain(model, chain)
        return route if call.pinned is None else route.at(call.pinned)

    def _place(self, target: Target) -> Endpoint:
        return self._places.get((target.upstream, target.model)) or self._places[target.upstream, None]

    def _reason(self, caller: Caller, target: Target) -> tuple[str, float | None]:
        """Why a target would refuse a call of that caller; empty when it would not."""
        place = self._place(target)
        status = place.breaker.status(caller.id, target.model)
        if status.retry_after is not None:
            return ("cooling" if status.cooling else "open"), status.retry_after
        for name, limit in place.limits.items():
            if limit and self._slots.taken(upstream_key(name)) >= limit:
                return "full", None
        if status.credential_refused:
            return "credential refused", None
        return "", None
