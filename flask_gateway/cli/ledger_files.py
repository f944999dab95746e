"""Opens the ledger of the settings for the commands ``usage``, ``ledger`` and ``prices``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ..config.errors import ConfigError
from ..config.load import load
from ..config.schema import Settings


class NoLedger(Exception):
    """There is no ledger to read. The text says why, and what to do."""


def settings_with_data(environ: Mapping[str, str]) -> tuple[Settings, Path]:
    """Return the settings and their data directory.

    :raises ConfigError: the settings are invalid, or name no data directory.
    """
    settings = load(environ)
    if settings.ledger.data is None:
        raise ConfigError("ledger.data", None, "a directory that has the ledger", "set data in [ledger]")
    return settings, Path(settings.ledger.data)


@contextmanager
def reading(settings: Settings) -> Iterator[Any]:
    """A connection that reads the ledger. The gateway may serve meanwhile.

    :raises NoLedger: there is none, or it cannot be read.
    """
    from ..ledger import books, database
    from ..ledger.places import ledger_of

    data, remote = Path(settings.ledger.data or ""), settings.ledger.database is not None
    if not remote and not (data / database.NAME).exists():
        raise NoLedger(f"there is no ledger in {data}: no gateway has served with it yet")
    try:
        with closing(ledger_of(settings.ledger).read()) as connection:
            yield connection
    except books.TROUBLE as error:
        where = "PostgreSQL" if remote else str(data)
        raise NoLedger(f"the ledger in {where} cannot be read: {error}") from None


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows in columns."""
    if not rows:
        print("nothing")
        return
    names = list(rows[0])
    cells = [names, *([_text(row[name]) for name in names] for row in rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(names))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as CSV."""
    from ..ledger.reports import as_csv

    print(as_csv(rows), end="")


def _text(value: object) -> str:
    return "" if value is None else str(value)
