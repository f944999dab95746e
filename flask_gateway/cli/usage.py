"""``usage``: shows what calls used and cost, by day, key, team, model and more."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from ..model.calendar_windows import zone
from .command import EX_CONFIG, FOUND, OK, USAGE, Command, add_config, add_json, print_json
from .ledger_files import NoLedger, print_csv, print_table, reading, settings_with_data
from .terminal import ProgressLine


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--by",
        metavar="LIST",
        default="day",
        help="day, key, team, model, upstream, source, with commas; or user or tag, alone or with day",
    )
    parser.add_argument("--since", metavar="DATE", help="the first day, YYYY-MM-DD (default: this month's)")
    parser.add_argument("--until", metavar="DATE", help="the day after the last (default: tomorrow)")
    parser.add_argument("--csv", action="store_true", help="print CSV, for spreadsheets")
    add_config(parser)
    add_json(parser)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    from ..ledger.reports import ReportError, days, usage, with_unknown

    settings, _ = settings_with_data(environ)
    timezone = zone(settings.ledger.timezone)
    by = [] if arguments.by == "all" else arguments.by.split(",")
    try:
        since, until = days(arguments.since, arguments.until, timezone, time.time())
        with ProgressLine(), reading(settings) as connection:
            rows = with_unknown(usage(connection, by, since, until, timezone))
    except ReportError as error:
        print(f"flask-gateway: {error}", file=sys.stderr)
        return USAGE
    except NoLedger as error:
        print(f"flask-gateway: {error}", file=sys.stderr)
        return FOUND
    if arguments.json:
        print_json({"usage": rows})
    else:
        (print_csv if arguments.csv else print_table)(rows)
    return OK


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway usage --by model,key", "show what each key spent on each model this month"),
        (
            "flask-gateway usage --by day,team --since 2026-11-01 --until 2026-12-01 --csv",
            "the same of November by day and team, for a spreadsheet",
        ),
    ),
    {OK: "shown", FOUND: "there is no ledger", EX_CONFIG: "a setting is invalid"},
)
