"""Finds the candidates of a call: its route's targets in balanced order, each with its guards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from ..config.schema import MASK, Timeouts
from ..guards.breaker import Breaker
from ..guards.bulkhead import UpstreamBulkhead, upstream_key
from ..guards.leases import ConcurrencyLeases
from ..guards.slots_ahead import Foreseen, SlotsAhead
from ..model.call import OPENAI, BodyOverrides, Call, Caller, Continues, Operation
from ..model.errors import UnknownModel, UnsupportedOperation
from ..model.protocols import Service
from ..routing.dispatcher import Candidate
from ..routing.load_balancing import Balancer
from ..routing.routes import Route, Routes, Target, Tier
from ..streaming.resume import Continuer

#: Returns the service that translates calls of one operation, given the settings' fields for a candidate.
Translate = Callable[[BodyOverrides | None], Service]


Operations = tuple[str, ...]
#: A reason, how long it lasts, and the operations that are taken and translated, as CandidateStatus has them.
TargetStatus = tuple[str, float | None, Operations, Operations]
#: The status of targets, by upstream and model.
Known = dict[tuple[str, str], TargetStatus]


class Endpoint(msgspec.Struct, frozen=True):
    """A target with its service, its breaker and its limits.

    :param model: the one model it serves; ``None``: every other model of the upstream.
    :param clocks: its timeouts.
    :param limits: the most calls in flight, by the name they are counted under; 0 means no limit.
    :param speaks: the operations that its upstream takes.
    :param translated: the operations that are translated for it.
    :param continues: how it resumes an answer that another upstream began; ``None``: it cannot.
    :param bulkheads: those that count its calls in flight.
    """

    upstream: str
    model: str | None
    service: Service
    breaker: Breaker
    clocks: Timeouts
    limits: Mapping[str, int]
    continues: Continues | None = None
    speaks: tuple[Operation, ...] = OPENAI
    translated: Mapping[Operation, Translate] = {}
    bulkheads: tuple[UpstreamBulkhead, ...] = ()

    def candidate(self, operation: Operation, target: Target) -> Candidate | None:
        """The candidate for calls of an operation; ``None`` if they can neither be sent nor translated."""
        if operation in self.speaks:
            return Candidate(self.service, target.model, target.overrides)
        translate = self.translated.get(operation)
        return None if translate is None else Candidate(translate(target.overrides), target.model)


class CandidateStatus(msgspec.Struct, frozen=True):
    """A candidate of a route, and whether a call would reach it.

    :param reason: ``chosen``, ``next``, ``open``, ``taken out``, ``cooling``, ``full``, or for a target
        that is asked after all others ``credential refused``; or ``not allowed``.
    :param retry_after: seconds until that may change; ``None`` if that is not known.
    :param operations: those that its upstream takes.
    :param translated: those that are translated for it. The others are not sent to it.
    """

    tier: int
    upstream: str
    model: str
    reason: str
    retry_after: float | None = None
    operations: tuple[str, ...] = ()
    translated: tuple[str, ...] = ()


class Candidates:
    """Yields the candidates of a call, in order. Immutable, except for the state of its guards.

    :param endpoints: by upstream and model; under ``None`` for models that are not configured.
    :param ahead: has the slots that calls have taken already; ``None``: they take none ahead.
    """

    def __init__(
        self,
        routes: Routes,
        balancer: Balancer,
        leases: ConcurrencyLeases,
        endpoints: Mapping[tuple[str, str | None], Endpoint],
        ahead: SlotsAhead | None = None,
    ) -> None:
        self._routes = routes
        self._balancer = balancer
        self._leases = leases
        self._endpoints = dict(endpoints)
        self._ahead = ahead

    def __call__(self, call: Call) -> Iterator[Candidate]:
        """:raises UnknownModel: the model, or one of the caller's own fallbacks, has no route.
        :raises UnsupportedOperation: no target takes the operation.
        """
        if call.direct is not None:
            yield Candidate(self._endpoints[call.pinned or "", None].service, call.model)
            return
        route = self._route(call)
        # With a single target there is nothing to reorder, so skip the credential check.
        alone = len(route.tiers) == len(route.tiers[0]) == 1
        behind, found, ahead = [], False, self._ahead
        for tier in self._balancer.ordered(route, None if ahead is None else _first(ahead, call)):
            for endpoint, candidate in self._native_first(tier, call.operation):
                found = True
                if alone or not endpoint.breaker.credential_refused:
                    yield candidate
                    if ahead is not None:
                        ahead.give_back(call)
                else:
                    behind.append(candidate)
        yield from behind
        if not found:
            raise _unsupported(call, route)

    @property
    def have_bulkheads(self) -> bool:
        """Whether the calls in flight of some upstream are counted."""
        return any(endpoint.bulkheads for endpoint in self._endpoints.values())

    def foresee(self, call: Call) -> Foreseen | None:
        """The order in which a call asks its first tier, and the bulkheads of the upstream that is first.

        :returns: ``None``: that is decided later. No bulkheads: the upstream may refuse the call.
        """
        if call.direct is not None or call.pinned is not None or call.whole:
            return None
        try:
            route = self._route(call)
        except UnknownModel:
            return None
        order = next(self._balancer.ordered(route))
        alone = len(route.tiers) == len(route.tiers[0]) == 1
        for endpoint, candidate in self._native_first(order, call.operation):
            if alone or not endpoint.breaker.credential_refused:
                refuses = endpoint.breaker.status(call.caller.id, candidate.model).retry_after is not None
                return Foreseen(order, () if refuses else endpoint.bulkheads)
        return Foreseen(order, ())

    def _native_first(self, tier: Tier, operation: Operation) -> Iterator[tuple[Endpoint, Candidate]]:
        """The candidates of a tier: those that take the operation, then those it is translated for."""
        across = []
        for target in tier:
            endpoint = self._endpoint(target)
            if operation in endpoint.speaks:
                yield endpoint, Candidate(endpoint.service, target.model, target.overrides)
            elif operation in endpoint.translated:
                across.append((endpoint, target))
        for endpoint, target in across:
            candidate = endpoint.candidate(operation, target)
            if candidate is not None:
                yield endpoint, candidate

    def explain(self, caller: Caller, model: str, known: Known | None = None) -> list[CandidateStatus]:
        """The status of each target for a call of that caller now. It sends nothing and takes no turn.

        A caller that may not call the model learns nothing about its route, not even whether it exists.

        :param known: what this caller's last explanations found, a moment ago. It is used, and added to.
        """
        if not caller.may_call(model):
            return [CandidateStatus(1, MASK, MASK, "not allowed")]
        known = {} if known is None else known
        statuses, chosen = [], False
        for number, tier in enumerate(self._routes.route(model).tiers, 1):
            for target in tier:
                place = target.upstream, target.model
                if place not in known:
                    known[place] = self._look(caller, target)
                reason, wait, *operations = known[place]
                if not reason:
                    reason, chosen = ("next" if chosen else "chosen"), True
                statuses.append(CandidateStatus(number, *place, reason, wait, *operations))
        return statuses

    def _look(self, caller: Caller, target: Target) -> TargetStatus:
        """Why a target would refuse a call of that caller (empty if it would not), and for how long; the
        operations that its upstream takes, and those that are translated for it."""
        endpoint = self._endpoint(target)
        reason, wait = self._reason(caller, target)
        return reason, wait, tuple(sorted(endpoint.speaks)), tuple(sorted(endpoint.translated))

    def visible(self, models: Iterable[str]) -> set[tuple[str, str | None]]:
        """The endpoints that serve these models, by upstream and model."""
        visible: set[tuple[str, str | None]] = set()
        for model in models:
            try:
                tiers = self._routes.route(model).tiers
            except UnknownModel:
                continue
            endpoints = (self._endpoint(target) for tier in tiers for target in tier)
            visible.update((endpoint.upstream, endpoint.model) for endpoint in endpoints)
        return visible

    def clocks(self, upstream: str) -> Timeouts:
        """The timeouts of an upstream, but for models with their own."""
        return self._endpoints[upstream, None].clocks

    def upstreams(self, call: Call) -> list[list[str]]:
        """The names of the upstreams that may serve a call, by tier.

        :raises UnknownModel: the model, or one of the caller's own fallbacks, has no route.
        """
        return [[target.upstream for target in tier] for tier in self._route(call).tiers]

    def targets(self, call: Call) -> list[tuple[str, str]]:
        """The upstreams that may serve a call, each with its name for the model.

        :raises UnknownModel: the model, or one of the caller's own fallbacks, has no route.
        """
        if call.direct is not None:
            return [(call.pinned or "", call.model)]
        return [(target.upstream, target.model) for tier in self._route(call).tiers for target in tier]

    def takes(self, model: str, operation: Operation) -> bool:
        """Whether an upstream of the model takes the operation as it is."""
        try:
            tiers = self._routes.route(model).tiers
        except UnknownModel:
            return False
        return any(operation in self._endpoint(target).speaks for tier in tiers for target in tier)

    def asked_at(self, call: Call, upstream: str) -> Call | None:
        """The call as one upstream is asked; ``None`` if that does not serve the model.

        :raises UnknownModel: the model has no route.
        """
        for tier in self._route(call).tiers:
            for target in tier:
                if target.upstream == upstream:
                    return call.asking(target.model, target.overrides)
        return None

    def continuers(self, call: Call, broken: str) -> list[Continuer]:
        """The services that can resume an answer.

        :param broken: the upstream that began the answer; it comes last.
        """
        continuers: list[Continuer] = []
        if call.direct is not None:
            return continuers
        for tier in self._route(call).tiers:
            for target in tier:
                endpoint = self._endpoint(target)
                candidate = endpoint.candidate(call.operation, target)
                if endpoint.continues is not None and candidate is not None:
                    service, model, overrides = candidate
                    continuers.append(Continuer(service, model, endpoint.continues, overrides))
        return sorted(continuers, key=lambda continuer: continuer.service.name == broken)

    def whole(self, model: str) -> bool:
        """Whether the gateway holds the model's streams back until they are complete."""
        try:
            return self._routes.route(model).whole
        except UnknownModel:  # the service raises it again later, where it is recorded
            return False

    def _route(self, call: Call) -> Route:
        model, chain = call.model, call.fallbacks
        route = self._routes.route(model) if chain is None else self._routes.with_chain(model, chain)
        return route if call.pinned is None else route.at(call.pinned)

    def _endpoint(self, target: Target) -> Endpoint:
        exact = self._endpoints.get((target.upstream, target.model))
        return exact or self._endpoints[target.upstream, None]

    def _reason(self, caller: Caller, target: Target) -> tuple[str, float | None]:
        """Why a target would refuse a call of that caller, and for how long; empty if it would not."""
        endpoint = self._endpoint(target)
        status = endpoint.breaker.status(caller.id, target.model)
        if status.taken_out:
            return "taken out", status.taken_out
        if status.retry_after is not None:
            return ("cooling" if status.cooling else "open"), status.retry_after
        for name, limit in endpoint.limits.items():
            if limit and self._leases.taken(upstream_key(name)) >= limit:
                return "full", None
        if status.credential_refused:
            return "credential refused", None
        return "", None


def _first(ahead: SlotsAhead, call: Call) -> Tier | None:
    """The first tier of a call in the order that was foreseen."""
    if call.pinned is None:
        order: Tier | None = ahead.order_of(call)
        return order
    ahead.give_back(call)
    return None


def _unsupported(call: Call, route: Route) -> UnsupportedOperation:
    names = sorted({target.upstream for tier in route.tiers for target in tier})
    which = ", ".join(f"'{name}'" for name in names[:8])
    return UnsupportedOperation(
        f"The model '{call.model}' is not offered at /v1/{call.operation}: its upstreams do not take that "
        f"operation ({which}). GET /v1/routes/{call.model} lists what they take; the operator sets it with "
        "'kind' or 'speaks' of the upstream.",
        param="model",
    )
