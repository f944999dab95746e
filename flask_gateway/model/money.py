"""Converts money: US dollars as text, nano-dollars for amounts, pico-dollars for the price of one unit.

No float holds money. Amounts stay below 2**53 nano-dollars (9 million dollars), so a store that counts in
double precision, as Redis's Lua does, counts exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

#: Nano-dollars in a dollar.
NANO = 10**9
#: Parts of a whole in which a discount is kept.
MILLIONTHS = 10**6
#: Pico-dollars a unit in a dollar per million units.
_PICO_PER_MILLION = 10**6
#: The largest amount that a setting may name, nano-dollars: one million dollars.
MOST = 10**6 * NANO
#: The largest price that a setting may name, US dollars per million units.
_MOST_PRICE = 10**6

_DECIMAL = re.compile(r"\d{1,7}(?:\.\d+)?|\.\d+", re.ASCII)


class MoneyError(ValueError):
    """An amount or a price that is not one. The text says what was expected."""


def nano_dollars(amount: str | int | Decimal) -> int:
    """Return an amount in nano-dollars.

    :param amount: US dollars: decimal text such as ``"12.50"``, an integer or a Decimal. A float is refused.
    :raises MoneyError: it is not a number, is negative, is over a million, or has more than 9 decimals.
    """
    value = _decimal(amount)
    scaled = value * NANO
    if scaled != scaled.to_integral_value():
        raise MoneyError(f"{amount} has more than 9 decimals; a nano-dollar is the smallest amount")
    if scaled > MOST:
        raise MoneyError(f"{amount} is more than a million US dollars")
    return int(scaled)


def dollars(nano: int) -> str:
    """Return an amount as text in US dollars, with all 9 decimals: ``"0.000315000"``."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, rest = divmod(nano, NANO)
    return f"{sign}{whole}.{rest:09d}"


def pico_per_unit(price: str | int | Decimal) -> int:
    """Return a price in pico-dollars a unit.

    :param price: US dollars per million units, as a list of prices gives them: ``"2.50"``.
    :raises MoneyError: it is not a number, is negative, is over a million, or has more than 6 decimals.
    """
    scaled = _decimal(price) * _PICO_PER_MILLION
    if scaled != scaled.to_integral_value():
        raise MoneyError(f"{price} has more than 6 decimals; a price is in US dollars per million units")
    if scaled > _MOST_PRICE * _PICO_PER_MILLION:
        raise MoneyError(f"{price} is more than a million US dollars per million units")
    return int(scaled)


def cost(parts: Iterable[tuple[int, int]]) -> int:
    """Return what units cost, in nano-dollars, rounded up once over all parts.

    :param parts: pairs of units and their price in pico-dollars a unit. Negative units count as none.
    """
    pico = sum(units * price for units, price in parts if units > 0)
    return -(-pico // 1000)


def _decimal(number: str | int | Decimal) -> Decimal:
    """Read a number that is neither negative nor written with an exponent."""
    text = _plain(number)
    if not _DECIMAL.fullmatch(text):
        raise MoneyError(f'{number!r} is no amount; expected US dollars in decimals, such as "12.50"')
    return Decimal(text)


def _plain(number: object) -> str:
    """Write an exact number without an exponent, and anything else as the empty text."""
    if isinstance(number, Decimal):
        return f"{number:f}"
    exact = isinstance(number, str | int) and not isinstance(number, bool)
    return str(number) if exact else ""
