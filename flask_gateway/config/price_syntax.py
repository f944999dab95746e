"""Parses prices in the file: ``"free"``, or US dollars per million units by the names of the units.

A table of prices replaces what the tables of prices know of a model, from its date on. A discount alone
takes a part off the price in the tables.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation

from ..model.money import MILLIONTHS, MoneyError, nano_dollars, pico_per_unit
from ..model.price_override import PriceOverride
from .errors import InvalidValue, nearest
from .value_types import BaseType

#: Units that are priced by the million, by their names in ``model/units.py``.
PER_MILLION = (
    "input",
    "cached",
    "write_5m",
    "write_1h",
    "input_audio",
    "cached_audio",
    "input_image",
    "output",
    "reasoning",
    "output_audio",
    "output_image",
    "characters",
)
#: Units that are priced one by one, by the names of the settings.
PER_ONE = {
    "per_request": "requests",
    "per_search": "searches",
    "per_image": "images",
    "per_second": "seconds",
}
_NAMES = (*PER_MILLION, *PER_ONE, "discount", "from")


class Price(BaseType, frozen=True):
    """The price of a model: ``"free"``, or a table."""

    def check(self, value: object) -> PriceOverride:
        if value == "free":
            return PriceOverride(free=True)
        if not isinstance(value, dict) or not value:
            raise InvalidValue(self.expected)
        for name in value:
            if name not in _NAMES:
                raise InvalidValue(f"prices by {', '.join(_NAMES)}", nearest(name, _NAMES))
        rates = {str(PER_ONE.get(name, name)): _rate(name, value[name]) for name in value if name in _RATES}
        price = PriceOverride(
            rates=rates, discount=_discount(value.get("discount", "0")), begins=_begins(value.get("from"))
        )
        if not price.rates and not price.discount:
            raise InvalidValue(self.expected, "it names no price and no discount")
        return price


_RATES = frozenset((*PER_MILLION, *PER_ONE))
PRICE = Price('"free", or a table such as { input = "2.50", output = "10" }, per million tokens')


def _exact(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        hint = "write it in quotes: a float is not exact" if isinstance(value, float) else None
        raise InvalidValue(f"{name} in US dollars", hint)
    return str(value)


def _rate(name: str, value: object) -> int:
    """The price of a unit, pico-dollars."""
    text = _exact(name, value)
    try:
        return 1000 * nano_dollars(text) if name in PER_ONE else pico_per_unit(text)
    except MoneyError as error:
        raise InvalidValue(f"{name} in US dollars", str(error)) from None


def _discount(value: object) -> int:
    expected = 'a discount from "0" to "1", such as "0.10"'
    if not isinstance(value, str):
        raise InvalidValue(expected)
    try:
        parts = Decimal(value) * MILLIONTHS
    except InvalidOperation:
        raise InvalidValue(expected) from None
    if not (0 <= parts <= MILLIONTHS) or parts != parts.to_integral_value():
        raise InvalidValue(expected)
    return int(parts)


def _begins(value: object) -> int:
    """The moment from which a price applies, epoch seconds. A date begins at midnight UTC."""
    if value is None:
        return 0
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    if isinstance(value, date):
        return int(datetime.combine(value, time(), UTC).timestamp())
    raise InvalidValue("from as a date, such as 2026-12-01")


def shown(price: PriceOverride) -> str:
    """Return a price as ``check`` shows it."""
    if price.free:
        return "free"
    units = {unit: name for name, unit in PER_ONE.items()}
    parts = [f"{units.get(unit, unit)} {dollars_of(unit, rate)}" for unit, rate in price.rates.items()]
    parts += [f"discount {Decimal(price.discount) / MILLIONTHS:f}"] if price.discount else []
    parts += [f"from {datetime.fromtimestamp(price.begins, UTC):%Y-%m-%d %H:%M}"] if price.begins else []
    return ", ".join(parts)


def dollars_of(unit: str, rate: int) -> str:
    """Return the price of a unit as the file has it: by the million, or by one.

    :param rate: pico-dollars a unit.
    """
    scale = 10**12 if unit in PER_ONE.values() else 10**6
    return f"{Decimal(rate) / scale:f}"
