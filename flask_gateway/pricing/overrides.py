"""Makes the price of a model from an override: rates of one's own, a discount, and the date from which."""

from __future__ import annotations

import msgspec

from ..model.money import MILLIONTHS
from ..model.price_override import PriceOverride
from .rates import FREE, ModelPrice, Period, Rates, Tier

#: The ``source`` of a price that a setting made.
SETTING = "setting"


def overridden(override: PriceOverride, base: ModelPrice | None) -> ModelPrice | None:
    """Return the price of a model with an override.

    :param base: its price in the tables. :return: ``None`` if a discount has no price to be taken off.
    """
    before = base.periods if base is not None and override.begins else ()
    if override.free:
        own: tuple[Period, ...] = FREE.periods
    elif override.rates:
        own = (Period(_reduced(Rates(**override.rates), override.discount)),)
    elif base is None:
        return None
    else:
        own = tuple(_period(period, override.discount) for period in base.periods)
    begun = tuple(_from(period, override.begins) for period in own)
    return ModelPrice((*before, *begun), SETTING)


def _from(period: Period, begins: int) -> Period:
    return msgspec.structs.replace(period, begins=max(period.begins, begins)) if begins else period


def _period(period: Period, discount: int) -> Period:
    tiers = tuple(Tier(tier.above, _reduced(tier.rates, discount), tier.at) for tier in period.tiers)
    return msgspec.structs.replace(period, rates=_reduced(period.rates, discount), tiers=tiers)


def _reduced(rates: Rates, discount: int) -> Rates:
    """The rates with a discount, each rounded up to a pico-dollar."""
    known = {name: rate for name, rate in msgspec.structs.asdict(rates).items() if rate is not None}
    kept = MILLIONTHS - discount
    return Rates(**{name: -(-rate * kept // MILLIONTHS) for name, rate in known.items()})
