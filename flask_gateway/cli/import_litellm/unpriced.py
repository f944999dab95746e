"""Gives models the prices that budgets need: a budget refuses a call without a known price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ...config.price_syntax import PER_MILLION, PER_ONE, dollars_of
from ...pricing.rates import ModelPrice
from ...pricing.table import shipped
from .deployments import Deployment
from .report import Report
from .routes import ImportedCandidate, Model
from .upstreams import ImportedUpstream

#: LiteLLM's names of providers that the table of prices calls otherwise.
_PROVIDERS = {
    "gemini": "google",
    "xai": "x-ai",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "cohere_chat": "cohere",
    "azure_ai": "azure",
    "azure_text": "azure",
    "text-completion-openai": "openai",
    "moonshot": "moonshotai",
    "voyage": "voyageai",
}
FREE = "free"
Pair = tuple[str, str]


class ModelPricer:
    """Prices candidates.

    :param deployments: each with its upstream and model.
    :param has_budgets: whether a budget covers the calls.
    :param now: epoch seconds, at which the prices in the table are taken.
    """

    def __init__(
        self,
        upstreams: list[ImportedUpstream],
        deployments: Sequence[tuple[Pair, Deployment]],
        has_budgets: bool,
        now: float,
        report: Report,
    ) -> None:
        self._upstreams = {one.name: one for one in upstreams}
        self._deployments = deployments
        self._first = dict(reversed(deployments))
        self._has_budgets = has_budgets
        self._now = now
        self._report = report
        self._bases: dict[Pair, dict[str, str]] = {}

    def price(self, models: list[Model]) -> None:
        """Price every candidate of the models that has no price of its own."""
        for pair, one in self._deployments:
            if one.base_model and (rates := self._base(one)):
                self._bases.setdefault(pair, rates)
        for model in models:
            model.tiers = [tuple(self._priced(one, model) for one in tier) for tier in model.tiers]

    def _priced(self, one: ImportedCandidate, model: Model) -> ImportedCandidate:
        deployment = self._first.get((one.upstream, one.model))
        line, at = (deployment.line, deployment.at) if deployment else (model.line, f"models {model.name}")
        if isinstance(one.price, str):
            return one
        if one.price:
            return self._completed(one, one.price, line, at)
        if rates := self._bases.get((one.upstream, one.model)):
            return msgspec.structs.replace(one, price=rates)
        return one if not self._has_budgets or self._is_known(one) else self._unknown(one, line, at)

    def report_wildcards(self, wildcards: list[Deployment]) -> None:
        """Say what a budget does to models that no table of the file names."""
        for one in wildcards:
            text = "a budget refuses its models without a known price (403): write [prices] (docs/money.md)"
            self._report.changed(one.line, one.at, text)

    def _base(self, one: Deployment) -> dict[str, str]:
        """The rates of the model that a deployment names as its ``base_model``; empty if it has its own."""
        setting = f"{one.at}.model_info.base_model"
        rates = self._rates_of(*_split(one.base_model))
        if one.price:
            self._report.mapped(one.base_line, setting, "the deployment has a price, and that one counts")
            return {}
        if not rates:
            text = "the table of prices does not know it: write price into [models.NAME] (docs/money.md)"
            self._report.left_out(one.base_line, setting, text)
            return {}
        text = "price of the candidate is what the table says of it now, without tiers and later changes"
        self._report.changed(one.base_line, setting, text)
        return rates

    def _completed(
        self, one: ImportedCandidate, price: Mapping[str, str], line: int, at: str
    ) -> ImportedCandidate:
        """The candidate with all that a budget needs of its price."""
        missing = [name for name in ("input", "output") if name not in price]
        if not self._has_budgets or not missing:
            return one
        text = f"price.{' and price.'.join(missing)} = 0, as LiteLLM counts: a budget needs both"
        self._report.changed(line, at, text)
        return msgspec.structs.replace(one, price={**price, **dict.fromkeys(missing, "0")})

    def _unknown(self, one: ImportedCandidate, line: int, at: str) -> ImportedCandidate:
        provider = self._upstreams[one.upstream].place.provider
        if rates := self._rates_of(provider, one.model):
            text = f"price is that of {provider}/{one.model} in the table, as LiteLLM counts: check it"
            self._report.changed(line, at, text)
            return msgspec.structs.replace(one, price=rates)
        text = (
            'price = "free": no price is known here, so no budget counts it; write one if it costs something'
        )
        self._report.changed(line, at, text)
        return msgspec.structs.replace(one, price=FREE)

    def _is_known(self, one: ImportedCandidate) -> bool:
        """Whether the gateway finds the price itself, by the upstream's address."""
        url = self._upstreams[one.upstream].place.url
        provider = shipped().provider_of(url) if url else None
        return provider is not None and shipped().find(provider, one.model) is not None

    def _rates_of(self, provider: str, model: str) -> dict[str, str]:
        """The rates of a model in the table, as the file has them; empty if it does not know the model."""
        periods = shipped().find(_PROVIDERS.get(provider, provider), model)
        rates = ModelPrice(periods).rates(0, self._now) if periods else None
        if rates is None or rates.input is None:
            return {}
        found: dict[str, str] = {}
        for name in (*PER_MILLION, *PER_ONE):
            unit = PER_ONE.get(name, name)
            if (rate := getattr(rates, unit)) is not None:
                found[name] = dollars_of(unit, rate)
        return {**found, "output": found.get("output", "0")}


def _split(base: str) -> tuple[str, str]:
    """The provider and the name of a ``base_model``. LiteLLM takes a name alone as OpenAI's."""
    provider, slash, model = base.partition("/")
    return (provider, model) if slash else ("openai", base)
