"""Defines the override of a model's price, as the settings have it and ``pricing`` applies it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class PriceOverride(msgspec.Struct, frozen=True, kw_only=True):
    """The price of a model, in place of the one in the tables of prices.

    :param rates: pico-dollars a unit, by the names of ``model.units.Units``.
    :param discount: taken off, in millionths: of the rates, or without any of the price in the tables.
    :param begins: epoch seconds from which it applies; before, the tables do.
    """

    free: bool = False
    rates: Mapping[str, int] = {}
    discount: int = 0
    begins: int = 0
