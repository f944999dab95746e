"""``prices``: shows what the models of the settings cost, and updates the operator's table of prices."""

from __future__ import annotations

import gzip
import json
import os
import sys
import zlib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from ..config.schema import Settings
from .command import EX_CONFIG, FOUND, OK, Command, add_config, add_json, print_json
from .ledger_files import print_table, settings_with_data
from .terminal import ProgressLine

#: A table that is older, days, is worth an update.
OLD = 60


def _arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(
        title="actions", metavar="show|update|check", required=True, dest="action"
    )
    showing = actions.add_parser(
        "show", help="show the price of each model of the settings", allow_abbrev=False
    )
    showing.add_argument("model", metavar="UPSTREAM/MODEL", nargs="?", help="only this model")
    updating = actions.add_parser(
        "update", help="take a newer table into the data directory", allow_abbrev=False
    )
    updating.add_argument(
        "file", metavar="FILE", help="a table.json.gz as the package ships it, or data.json of genai-prices"
    )
    updating.add_argument("--yes", action="store_true", help="write it; without this, only show what changes")
    checking = actions.add_parser(
        "check", help="find models of the settings without a price, and an old table", allow_abbrev=False
    )
    for action in (showing, updating, checking):
        add_config(action)
        add_json(action)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    settings, data = settings_with_data(environ)
    if arguments.action == "show":
        return _show(settings, data, arguments)
    return _update(data, arguments) if arguments.action == "update" else _check(settings, data, arguments)


def _show(settings: Settings, data: Path, arguments: Namespace) -> int:
    from ..app.prices import price_rows

    with ProgressLine():
        rows = list(price_rows(settings, data, arguments.model))
    print_json({"prices": rows}) if arguments.json else print_table(rows)
    return OK if all(row["source"] for row in rows) else FOUND


def _update(data: Path, arguments: Namespace) -> int:
    from ..app.prices import TABLE, tables_in
    from ..pricing.table import decode

    try:
        with ProgressLine():
            text, left_out = _table_in(Path(arguments.file))
            new = decode(text)
    except (OSError, ValueError, RecursionError) as error:
        print(f"flask-gateway: {arguments.file} is no table of prices: {error}", file=sys.stderr)
        return FOUND
    old = {name: entry for _, table in reversed(tables_in(data)) for name, entry in _all(table)}
    changes = [name for name, entry in _all(new) if old.get(name) != entry]
    if arguments.yes:
        waiting = data / f"{TABLE}.new"
        waiting.write_bytes(text)
        os.replace(waiting, data / TABLE)
    told = {
        "version": new.version,
        "made": new.made,
        "changed": changes,
        "left_out": left_out,
        "written": arguments.yes,
    }
    if arguments.json:
        print_json(told)
    else:
        print("\n".join(changes) or "no price changes")
        if left_out:
            print("left out: " + "; ".join(left_out))
        print(
            "written; a running gateway takes it over within 2 s"
            if arguments.yes
            else "not written: add --yes"
        )
    return OK


def _table_in(file: Path) -> tuple[bytes, list[str]]:
    """The table in a file, and the models that it does not take from there.

    :raises ValueError: the file is no table. :raises OSError: it cannot be read, or is damaged.
    """
    from ..pricing.genai_prices import compile_json

    text = _unpacked(file.read_bytes())
    if not text.lstrip().startswith(b"["):
        return text, []
    made = datetime.fromtimestamp(file.stat().st_mtime, UTC).date()
    table, left_out = compile_json(text, "genai-prices data.json", made)
    return json.dumps(table).encode(), left_out


def _unpacked(content: bytes) -> bytes:
    """:raises ValueError: it begins as a file of gzip, and is none."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error) as error:
        raise ValueError(str(error)) from None


def _all(table: Any) -> Iterator[tuple[str, Any]]:
    """The models of a table by provider and name, with what it says of each."""
    for name, provider in table.providers.items():
        yield from ((f"{name}/{model}", entry) for model, entry in provider.models.items())


def _check(settings: Settings, data: Path, arguments: Namespace) -> int:
    from ..app.prices import price_rows, tables_in

    _, table = tables_in(data)[0]
    age = (datetime.now(UTC).date() - date.fromisoformat(table.made)).days
    with ProgressLine():
        rows = price_rows(settings, data, None)
        missing = [f"{row['upstream']}/{row['model']}" for row in rows if not row["source"]]
    if arguments.json:
        print_json({"made": table.made, "age_days": age, "old": age > OLD, "without_price": missing})
    else:
        print(
            f"the table of prices is of {table.made}, {age} days old" + (": update it" if age > OLD else "")
        )
        print(f"models without a price: {', '.join(missing) or 'none'}")
    return FOUND if missing or age > OLD else OK


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway prices show", "show what the models of gateway.toml cost, and which source says so"),
        (
            "flask-gateway prices update data.json --yes",
            "take over newer prices, as genai-prices publishes them",
        ),
    ),
    {
        OK: "done",
        FOUND: "a price is unknown, the table is old, or the file is no table",
        EX_CONFIG: "a setting is invalid",
    },
    {
        "show": (
            ("flask-gateway prices show", "a line for each model of the settings, and which source says so"),
            ("flask-gateway prices show openai/gpt-4o --json", "one model, for programs"),
        ),
        "update": (
            ("flask-gateway prices update data.json", "show what would change"),
            ("flask-gateway prices update data.json --yes", "take the table over"),
        ),
        "check": (
            ("flask-gateway prices check", "find models without a price, and an old table"),
            ("flask-gateway prices check --config new.toml", "with the models of a file"),
        ),
    },
)
