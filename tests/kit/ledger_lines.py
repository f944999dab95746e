"""Provides lines for journals of the ledger."""

from __future__ import annotations

from typing import Any

from flask_gateway.ledger.lines import Opened, Settled
from flask_gateway.model.calendar_windows import Calendar
from flask_gateway.model.units import Units

#: 2026-11-27 00:00 UTC.
NOW = 1795737600
CALENDAR = Calendar()


def opened(n: int, **more: Any) -> Opened:
    return Opened(**{"n": n, "id": f"call-{n}", "at": NOW, "key": "key_a", **more})


def settled(n: int, **more: Any) -> Settled:
    units = Units(input=10, output=2)
    values = {"n": n, "id": f"call-{n}", "at": NOW, "key": "key_a", "model": "m", "upstream": "up", "cost": n}
    return Settled(**{**values, "units": units, **more})
