"""Provides what a ledger shows its figures to, and books that a test turns by hand."""

from __future__ import annotations

from pathlib import Path

from flask_gateway.ledger.books import Books
from kit.ledger_lines import CALENDAR, NOW


class NotedFigures:
    """Notes the figures of a ledger."""

    def __init__(self) -> None:
        self.lost = 0
        self.degraded = False
        self.lag = 0.0

    def ledger_lost(self, lines: int) -> None:
        self.lost += lines

    def ledger_state(self, degraded: bool, lag: float) -> None:
        self.degraded, self.lag = degraded, lag


def books_in(data: Path, figures: NotedFigures | None = None) -> Books:
    return Books(data, CALENDAR, figures or NotedFigures(), lambda: NOW)
