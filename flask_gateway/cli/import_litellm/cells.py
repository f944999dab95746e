"""Reads tables of LiteLLM's database, as CSV with a header or as a list of objects in JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping

from .report import Report

_EMPTY = frozenset({"", "null", "none", "\\n", "{}", "[]", "0", "0.0"})
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class UnreadableTable(Exception):
    """The file is not such a table."""


def rows_of(text: str, column: str = "token") -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table, each with the number of its line in CSV, or of its object in JSON.

    :param column: the column that each row must have.
    :raises UnreadableTable: the file has no such column, or is neither CSV nor a list in JSON.
    """
    return _json_rows(text, column) if text.lstrip().startswith("[") else _csv_rows(text, column)


def _csv_rows(text: str, column: str) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""))
        if column not in (rows.fieldnames or ()):
            raise UnreadableTable(f"its first line must name the columns, {column} among them")
        for row in rows:
            cells = {name: value for name, value in row.items() if isinstance(name, str)}
            yield rows.line_num, {name: value for name, value in cells.items() if isinstance(value, str)}
    except csv.Error:
        raise UnreadableTable("it is not a table in CSV") from None


def _json_rows(text: str, column: str) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        raise UnreadableTable("it is neither CSV nor a list in JSON") from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or column not in row:
            raise UnreadableTable(f"each object must have a {column}")
        yield number, {name: _cell(value) for name, value in row.items()}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def is_empty(cell: str) -> bool:
    """Whether a cell holds nothing, as PostgreSQL, JSON or CSV writes it."""
    return cell.lower() in _EMPTY


def listed(cell: str) -> list[str] | None:
    """The items of a list as PostgreSQL or JSON writes it; ``None`` if it is neither."""
    if is_empty(cell):
        return []
    if cell.startswith("[") and cell.endswith("]"):
        try:
            items = json.loads(cell)
        except (ValueError, RecursionError):
            return None
        return [item for item in items if isinstance(item, str)]
    if cell.startswith("{") and cell.endswith("}"):
        row = next(csv.reader([cell[1:-1]], escapechar="\\"), [])
        return [item.strip() for item in row]
    return [item.strip() for item in cell.split(",")]


def is_true(cell: str) -> bool:
    return cell.lower() in ("t", "true", "1", "yes")


def free_name(given: str, otherwise: str, taken: set[str]) -> str:
    """A name for the file that is not ``taken``, made of the given one."""
    wanted = _NAME.sub("-", given).strip("._-")[:56] or otherwise
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    return name


def count_of(
    column: str, cells: Mapping[str, str], line: int, at: str, report: Report, most: int = 10_000_000
) -> int | None:
    """A positive whole number; ``None``: the cell is empty, or holds something else, which is reported."""
    given = cells.get(column, "").removesuffix(".0")
    if given != "0" and is_empty(given):
        return None
    if given.isascii() and given.isdecimal() and 0 < int(given[:15]) <= most:
        return int(given[:15])
    report.left_out(line, f"{at}.{column}", "it is not a positive whole number")
    return None
