"""Makes the models: tiers of candidates from groups of deployments, their orders, shares and fallbacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import gcd
from typing import Any

import msgspec

from .deployments import Deployment
from .report import Report
from .sections import Alias, FallbackChain, Found
from .upstreams import Upstreams, matching
from .values import shown

#: The largest weight of a candidate.
MOST_WEIGHT = 1000
#: The weights of the orders of a group that is one tier of another model: an earlier order nearly always
#: comes first, and the later ones follow when it cannot answer.
_FIRST, _MIDDLE, _LAST = 1000, 30, 1


class ImportedCandidate(msgspec.Struct, frozen=True):
    """A candidate of a model. Its fields are those of the file. :param price: by unit, or ``free``."""

    upstream: str
    model: str
    weight: int = 1
    max_in_flight: int = 0
    clocks: Mapping[str, float] = {}
    set: Mapping[str, Any] = {}
    default: Mapping[str, Any] = {}
    price: Mapping[str, str] | str = {}

    def is_at(self, other: ImportedCandidate) -> bool:
        """Whether both ask the same upstream for the same model with the same fields."""
        return msgspec.structs.replace(self, weight=other.weight) == other


Tier = tuple[ImportedCandidate, ...]


class Model(msgspec.Struct):
    """A model of the result. :param line: of its first entry in the input."""

    name: str
    line: int
    tiers: list[Tier]
    aliases: list[str] = []


class RouteBuilder:
    """Builds the models, one after another.

    :param groups: the deployments by ``model_name``, in the order of the file.
    """

    def __init__(
        self, groups: Mapping[str, Sequence[Deployment]], upstreams: Upstreams, found: Found, report: Report
    ) -> None:
        self._groups = groups
        self._upstreams = upstreams
        self._found = found
        self._report = report
        self._aliases: dict[str, str] = {}
        self._chains = {chain.group: chain for chain in found.fallbacks}

    def models(self) -> list[Model]:
        models = {name: self._model(name, group) for name, group in self._groups.items()}
        for alias in self._found.aliases:
            self._alias(alias, models)
        for chain in self._found.fallbacks:
            self._report_chain(chain, models)
        for model in models.values():
            self._add_fallbacks(model)
        for chain in self._found.context_fallbacks:
            self._add_context(chain, models)
        _report_clocks(models.values(), self._report)
        return list(models.values())

    # ------------------------------------------------------------ one group

    def _model(self, name: str, group: Sequence[Deployment]) -> Model:
        orders = sorted({_order(one) for one in group})
        tiers = [self._tier([one for one in group if _order(one) == order]) for order in orders]
        for one in group:
            upstream, tier = self._upstreams.of(one), orders.index(_order(one)) + 1
            where = f", tier {tier}" if len(tiers) > 1 else ""
            self._report.mapped(one.line, one.at, f"upstream {upstream}, model {one.model}{where}")
            self._report_order(one, tier)
        return Model(name, group[0].line, tiers)

    def _report_order(self, one: Deployment, tier: int) -> None:
        if one.order is not None:
            self._report.mapped(one.line_of("order"), f"{one.at}.litellm_params.order", f"tier {tier}")

    def _tier(self, group: Sequence[Deployment]) -> Tier:
        weights = self._weights(group)
        candidates: list[ImportedCandidate] = []
        for one, weight in zip(group, weights, strict=True):
            candidate = self._candidate(one, weight)
            same = next((other for other in candidates if candidate.is_at(other)), None)
            if same is None:
                candidates.append(candidate)
            else:
                self._report.mapped(one.line, one.at, "the same place and model as an entry before")
        return tuple(candidates)

    def _candidate(self, one: Deployment, weight: int) -> ImportedCandidate:
        return ImportedCandidate(
            upstream=self._upstreams.of(one),
            model=one.model,
            weight=weight,
            max_in_flight=one.max_in_flight or self._found.max_in_flight or 0,
            clocks=one.clocks,
            set=one.set,
            default=one.default,
            price=one.price,
        )

    def _weights(self, group: Sequence[Deployment]) -> list[int]:
        """The weights of a tier: by ``weight``, else by ``rpm``, else by ``tpm``."""
        name = next(
            (name for name in ("weight", "rpm", "tpm") if any(name in one.shares for one in group)), None
        )
        if name is None or len(group) < 2:
            self._report_limits(group, None)
            return [1] * len(group)
        known = [one.shares[name] for one in group if name in one.shares]
        missing = 0.0 if self._found.is_shuffled or name == "weight" else sum(known) / len(known)
        weights = _ratio([one.shares.get(name, missing) for one in group])
        ratio = ":".join(map(str, weights))
        for one in group:
            if name in one.shares:
                self._report.mapped(one.line_of(name), f"{one.at}.litellm_params.{name}", f"weights {ratio}")
            else:
                share = "the mean share" if missing else "next to no share, as in LiteLLM"
                self._report.changed(
                    one.line, one.at, f"no {name}, where others of its name have one: {share}"
                )
        self._report_limits(group, name)
        return weights

    def _report_limits(self, group: Sequence[Deployment], used: str | None) -> None:
        for one in group:
            for name in one.shares.keys() - {used}:
                text = {
                    "weight": "the only candidate of its tier has no share",
                    "rpm": "requests in [limits] models limits a model; max_in_flight limits a candidate",
                    "tpm": "tokens in [limits] models limits a model; max_in_flight limits a candidate",
                }[name]
                add = self._report.mapped if name == "weight" else self._report.left_out
                add(one.line_of(name), f"{one.at}.litellm_params.{name}", text)

    # ------------------------------------------------------------ aliases and fallbacks

    def _alias(self, alias: Alias, models: dict[str, Model]) -> None:
        target = self._resolved(alias.model)
        if not alias.name.strip() or not alias.name.isprintable() or len(alias.name) > 256:
            self._report.left_out(alias.line, alias.setting, "its name cannot be used")
        elif alias.name in models or alias.name in self._aliases:
            self._report.left_out(alias.line, alias.setting, "another model has this name")
        elif target in models:
            models[target].aliases.append(alias.name)
            self._aliases[alias.name] = target
            self._report.mapped(alias.line, alias.setting, f"an alias of {target}")
        elif found := matching(target, self._upstreams.wildcards):
            models[alias.name] = Model(alias.name, alias.line, [(ImportedCandidate(*found),)])
            self._report.mapped(alias.line, alias.setting, f"a model: {found[1]} at {found[0]}")
        else:
            self._report.left_out(alias.line, alias.setting, "the model that it stands for is not there")

    def _report_chain(self, chain: FallbackChain, models: Mapping[str, Model]) -> None:
        known = chain.group == "*" or self._resolved(chain.group) in models
        if not known:
            text = "no model has this name" if "*" not in chain.group else "a wildcard has no fallbacks here"
            self._report.left_out(chain.line, chain.setting, text)
            return
        usable = [name for name in chain.models if self._fallback_tier(name)]
        for name in set(chain.models) - set(usable):
            self._report.left_out(chain.line, chain.setting, f"its fallback {name} is not there")
        whom = "models without fallbacks of their own" if chain.group == "*" else chain.group
        if usable:
            self._report.mapped(chain.line, chain.setting, f"tiers behind {whom}: {', '.join(usable)}")

    def _add_fallbacks(self, model: Model) -> None:
        for name in self._chain(model.name):
            _append(model, self._fallback_tier(name))

    def _chain(self, group: str) -> list[str]:
        """The groups behind a group: its own fallbacks, then theirs, as LiteLLM asks them. Cycles are cut."""
        order: list[str] = []
        waiting = [group]
        for name in waiting:
            chain = self._chains.get(name) or self._chains.get("*")
            for following in chain.models if chain else ():
                resolved = self._resolved(following)
                if resolved not in order and resolved != group:
                    order.append(resolved)
                    waiting.append(resolved)
        return order

    def _resolved(self, name: str) -> str:
        return self._aliases.get(name, name)

    def _fallback_tier(self, name: str) -> Tier:
        """The candidates of a group as one tier; empty if there is no such model."""
        group = self._groups.get(self._resolved(name))
        if group is None:
            found = matching(name, self._upstreams.wildcards)
            return (ImportedCandidate(*found),) if found else ()
        orders = sorted({_order(one) for one in group})
        if len(orders) == 1:
            return self._quiet_tier(group)
        tier = []
        for one in group:
            ends = {orders[0]: _FIRST, orders[-1]: _LAST}
            tier.append(self._candidate(one, ends.get(_order(one), _MIDDLE)))
        return tuple(sorted(tier, key=lambda candidate: -candidate.weight))

    def _quiet_tier(self, group: Sequence[Deployment]) -> Tier:
        """The tier of a group whose findings are already in the report."""
        return RouteBuilder(self._groups, self._upstreams, self._found, Report())._tier(group)

    def _add_context(self, chain: FallbackChain, models: Mapping[str, Model]) -> None:
        wanted = list(models.values()) if chain.group == "*" else [models.get(self._resolved(chain.group))]
        tiers = [tier for name in chain.models if (tier := self._fallback_tier(name))]
        if wanted == [None] or not tiers:
            self._report.left_out(
                chain.line, chain.setting, "no model has this name, or none of its fallbacks"
            )
            return
        for model in wanted:
            for tier in tiers if model is not None else ():
                _append(model, tier)
        text = "further tiers: asked after a refusal of length, and after every other failure as well"
        self._report.changed(chain.line, chain.setting, f"{text}: {', '.join(chain.models)}")


def _append(model: Model | None, tier: Tier) -> None:
    """Add a tier, without the candidates that the model already has."""
    assert model is not None
    known = [candidate for own in model.tiers for candidate in own]
    new = tuple(one for one in tier if not any(one.is_at(other) for other in known))
    if new:
        model.tiers.append(new if len(new) > 1 else (msgspec.structs.replace(new[0], weight=1),))


def _order(one: Deployment) -> float:
    return one.order if one.order is not None else float("inf")


def _ratio(values: Sequence[float]) -> list[int]:
    """Whole numbers from 1 to ``MOST_WEIGHT`` in the ratio of the values, of which one is above 0."""
    largest = max(values)
    if not all(values):  # the least that there is, for what has no share
        return [max(1, round(value * MOST_WEIGHT / largest)) for value in values]
    parts = 1 if all(value.is_integer() for value in values) else 1000
    scaled = [round(value * parts) or 1 for value in values]
    common = gcd(*scaled)
    weights = [value // common for value in scaled]
    if max(weights) > MOST_WEIGHT:
        weights = [round(value * MOST_WEIGHT / largest) for value in values]
    return [max(1, weight) for weight in weights]


def _report_clocks(models: Iterator[Model] | Any, report: Report) -> None:
    """Report candidates of one upstream and model that differ in timeouts or limit: the first counts."""
    seen: dict[tuple[str, str], tuple[Any, ...]] = {}
    reported: set[tuple[str, str]] = set()
    for model in models:
        for candidate in (one for tier in model.tiers for one in tier):
            if not (candidate.clocks or candidate.max_in_flight):
                continue
            own = (candidate.clocks, candidate.max_in_flight)
            place = (candidate.upstream, candidate.model)
            first = seen.setdefault(place, own)
            if first != own and place not in reported:
                reported.add(place)
                where = f"{candidate.model} at {candidate.upstream}"
                clocks = ", ".join(f"{name} {shown(value)}" for name, value in first[0].items())
                text = f"timeouts and limit of {where} differ from an entry before, whose count: {clocks}"
                report.changed(model.line, f"model_list {model.name}", text)
