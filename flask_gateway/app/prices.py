"""Builds the prices in force: overrides of the settings, then the operator's table, then the shipped one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from ..config.price_syntax import dollars_of
from ..config.schema import Settings
from ..ledger.repair import Price, Priced
from ..model.price_override import PriceOverride
from ..model.units import Units
from ..pricing.overrides import overridden
from ..pricing.rates import ModelPrice, Rates, amount
from ..pricing.table import FREE_PROVIDER, Prices, PriceTable, decode, shipped

log = logging.getLogger(__name__)

#: The name of the operator's table in the data directory.
TABLE = "prices.json"


def tables_in(data: Path) -> list[tuple[str, PriceTable]]:
    """Return the tables in the order in which they are asked. A table that is none is logged and left out."""
    tables = [("shipped", shipped())]
    try:
        tables.insert(0, ("operator", decode((data / TABLE).read_bytes())))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        log.error("the prices in %s cannot be used: %s. The shipped ones apply.", data / TABLE, error)
    return tables


def prices_of(settings: Settings, tables: list[tuple[str, PriceTable]]) -> Prices:
    """Return the prices of the settings over those tables."""
    known = Prices({}, tables)
    providers = providers_of(settings, known)
    overrides: dict[tuple[str, str], ModelPrice] = {}
    for (upstream, model), price in overrides_of(settings).items():
        made = overridden(price, known.price(upstream, providers.get(upstream), model))
        if made is None:
            log.warning("the price of %s/%s is a discount, but no table knows its price", upstream, model)
        else:
            overrides[upstream, model] = made
    return Prices(overrides, tables)


def providers_of(settings: Settings, prices: Prices) -> dict[str, str | None]:
    """The provider whose prices each upstream has: as set, else by its URL."""
    return {one.name: one.prices or prices.provider_of(one.url) for one in settings.upstreams}


def overrides_of(settings: Settings) -> Mapping[tuple[str, str], PriceOverride]:
    """The prices that the settings name, by upstream and model. A candidate's wins; of two, the first."""
    own = reversed(list(_of_candidates(settings)))
    named = {(*_pair(name),): price for name, price in settings.prices.items()}
    return {**named, **dict(own)}


def _pair(name: str) -> tuple[str, str]:
    upstream, _, model = name.partition("/")
    return upstream, model


def _of_candidates(settings: Settings) -> Iterator[tuple[tuple[str, str], PriceOverride]]:
    for model in settings.models:
        for candidate in (one for tier in model.tiers for one in tier):
            if candidate.price is not None:
                yield (candidate.upstream, candidate.model), candidate.price


def unknown_providers(settings: Settings, tables: list[tuple[str, PriceTable]]) -> Iterator[tuple[str, str]]:
    """Yield the upstreams that name a provider which no table knows, with that name."""
    known = {FREE_PROVIDER, *(name for _, table in tables for name in table.providers)}
    for upstream in settings.upstreams:
        if upstream.prices is not None and upstream.prices not in known:
            yield upstream.name, upstream.prices


def pricer(settings: Settings, data: Path) -> Price:
    """Return the function that prices a charge with the prices in force now."""
    prices = prices_of(settings, tables_in(data))
    providers = providers_of(settings, prices)

    def price(upstream: str, model: str, units: Units, moment: float) -> Priced | None:
        known = prices.price(upstream, providers.get(upstream), model)
        rates = known.rates(units.input, moment) if known is not None else None
        cost = None if rates is None else amount(units, rates)
        return None if rates is None or cost is None else Priced(cost, rates.digest)

    return price


def price_rows(settings: Settings, data: Path, only: str | None) -> Iterator[dict[str, str]]:
    """Yield what the models of the settings cost now, and which source says so.

    :param only: one model, as ``upstream/model``.
    """
    prices = prices_of(settings, tables_in(data))
    providers, now = providers_of(settings, prices), datetime.now(UTC).timestamp()
    pairs = {(one.upstream, one.model) for model in settings.models for tier in model.tiers for one in tier}
    pairs |= set(overrides_of(settings))
    if only is not None:
        upstream, _, model = only.partition("/")
        pairs = {(upstream, model)}
    for upstream, model in sorted(pairs):
        price = prices.price(upstream, providers.get(upstream), model)
        rates = price.rates(0, now) if price is not None else None
        yield {
            "upstream": upstream,
            "model": model,
            "source": price.source if price is not None and rates is not None else "",
            "price": ", ".join(_parts(rates)) if rates is not None else "unknown",
        }


def _parts(rates: Rates) -> Iterator[str]:
    for name in rates.__struct_fields__:
        rate = getattr(rates, name)
        if rate is not None:
            yield f"{name} {dollars_of(name, rate)}"
