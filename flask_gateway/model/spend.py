"""Keeps what one call holds and costs: amounts held in accounts, accounts that have the cost, and legs.

Where no ledger is kept, calls have no :class:`Spend`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from .units import Units

#: Where the units and the cost of a leg are from.
CostSource = Literal["reported", "estimated", "lost", "adjustment"]


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """An amount that a call holds in the account of one subject.

    :param holder: the process that holds it, as the account knows it.
    :param epoch: when the account's row of that holder began.
    :param amount: nano-dollars.
    """

    subject: str
    holder: int
    epoch: int
    amount: int


class Applied(msgspec.Struct, frozen=True, array_like=True):
    """The account to which a cost was applied: its mark when that happened, or 0 where there was no
    account."""

    subject: str
    mark: int


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of one upstream's part of an answer. A resumed stream has several.

    :param model: the upstream's name for the model.
    :param cost: nano-dollars, rounded up; ``None`` where the price is unknown.
    :param rates: the digest of the rates in force; empty where the price is unknown.
    """

    upstream: str
    model: str
    units: Units
    cost: int | None
    source: CostSource = "reported"
    rates: str = ""


def total(legs: tuple[Leg, ...]) -> int | None:
    """Return the cost of all legs, nano-dollars; ``None`` if one is unknown."""
    cost = 0
    for leg in legs:
        if leg.cost is None:
            return None
        cost += leg.cost
    return cost


class BooksUnknown(Exception):
    """The ledger cannot be read now."""


class AccountClosed(Exception):
    """There is no account of a subject. The changes that ``guards.openings`` names next open it."""


class Spend(msgspec.Struct):
    """The money of one call. One thread at a time changes it.

    :param number: of the call in its worker's journal; 0 until every guard has admitted the call.
    :param tags: for reports.
    :param model: the configured name of the model, where the caller used an alias; empty: the caller's name.
    :param holds: set by the guard that reserves.
    :param applied: set by the guard that settles: the accounts that have the cost.
    :param deferred: those of the holds that the bookkeeper settles, with the call's line.
    :param at: epoch seconds at which the cost counts; ``None``: when the call's line is written. A guard that
        settles an account sets it, so that account and ledger count in the same window.
    :param legs: set once, when the call has ended (``ledger/costing.py``).
    """

    number: int = 0
    tags: Mapping[str, str] = {}
    model: str = ""
    holds: tuple[Hold, ...] = ()
    applied: tuple[Applied, ...] = ()
    deferred: tuple[Hold, ...] = ()
    at: float | None = None
    legs: tuple[Leg, ...] | None = None

    @property
    def cost(self) -> int | None:
        """The cost of all legs, nano-dollars; ``None`` where one is unknown or the call has not ended."""
        return None if self.legs is None else total(self.legs)
