"""``ledger``: checks, backs up, prunes and repairs the ledger of the settings."""

from __future__ import annotations

import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.schema import Settings
from ..model.calendar_windows import Calendar, zone
from .command import EX_CONFIG, FOUND, OK, Command, add_config, add_json, print_json
from .ledger_files import NoLedger, reading, settings_with_data
from .terminal import ProgressLine

if TYPE_CHECKING:
    from ..ledger.bookkeeper import Bookkeeper

_ACTIONS = {
    "check": "compare the sums with the charges, and look for damage",
    "backup": "copy the ledger and the issued keys into a directory, while the gateway serves",
    "prune": "delete charges beyond keep_days now; a running gateway does so once an hour",
    "rebuild": "compute the sums again, such as after a change of the time zone",
    "reprice": "price the charges whose price was unknown, with the prices of now",
}


def _arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    for name, summary in _ACTIONS.items():
        action = actions.add_parser(name, help=summary, allow_abbrev=False)
        if name == "backup":
            action.add_argument("directory", metavar="DIR", help="where to put the copy; made if missing")
        add_config(action)
        add_json(action)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    settings, data = settings_with_data(environ)
    actions: dict[str, Callable[[Settings, Path, Namespace], dict[str, Any]]] = {
        "check": _check,
        "backup": _backup,
        "prune": _work,
        "rebuild": _work,
        "reprice": _work,
    }
    try:
        with ProgressLine():
            told = actions[arguments.action](settings, data, arguments)
    except NoLedger as error:
        print(f"flask-gateway: {error}", file=sys.stderr)
        return FOUND
    if arguments.json:
        print_json(told)
    else:
        for name, value in told.items():
            print(f"{name}: {', '.join(value) or 'none' if isinstance(value, list) else value}")
    return FOUND if told.get("faults") else OK


def _check(settings: Settings, data: Path, arguments: Namespace) -> dict[str, Any]:
    from ..ledger.reports import disagreements, unpriced

    with reading(settings) as connection:
        faults = list(disagreements(connection))
        missing = [f"{upstream}/{model} ({count})" for upstream, model, count in unpriced(connection)]
    return {"faults": faults, "charges without a price": missing}


def _backup(settings: Settings, data: Path, arguments: Namespace) -> dict[str, Any]:
    from ..app.prices import TABLE
    from ..auth.key_store import KeyStore, KeyStoreError
    from ..ledger import database, user_digest
    from ..ledger.sqlite_file import copy

    directory = Path(arguments.directory)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NoLedger(f"{directory} cannot be made: {error.strerror}") from None
    copies: list[Path] = []
    local = settings.ledger.database is None
    if local:
        copies.append(directory / database.NAME)
        with reading(settings) as connection:
            copy(connection, copies[0])
    keys = KeyStore(data)
    if local and keys.exists():
        copies.append(directory / keys.path.name)
        try:
            with keys.reading() as connection:
                copy(connection, copies[-1])
        except KeyStoreError as error:
            raise NoLedger(f"the keys in {data} cannot be copied: {error}") from None
    for plain in (data / name for name in (TABLE, user_digest.NAME)):
        if plain.exists():
            copies.append(directory / plain.name)
            shutil.copy(plain, copies[-1])
    made: dict[str, Any] = {"copies": list(map(str, copies))}
    if not local:
        made["the ledger and the keys"] = "are in PostgreSQL: pg_dump copies them (docs/fleet.md)"
    return made


def _work(settings: Settings, data: Path, arguments: Namespace) -> dict[str, Any]:
    """Prune, rebuild or reprice: here, or in the gateway that keeps the ledger."""
    from ..app.prices import pricer
    from ..ledger.maintenance import Maintenance
    from ..ledger.pruning import Kept

    kept = Kept(settings.ledger.keep_days)
    try:
        with _alone(settings, data) as bookkeeper:
            work = Maintenance(_calendar(settings), kept, lambda: pricer(settings, data))
            return work.run(bookkeeper, arguments.action)
    except BlockingIOError:
        return _by_gateway(data, arguments.action)


def _by_gateway(data: Path, action: str) -> dict[str, Any]:
    from ..ledger.maintenance import PATIENCE, ask

    try:
        found = ask(data, action, PATIENCE)
    except OSError as error:
        raise NoLedger(
            f"{data} cannot be written: {error.strerror}. Run this as the user of the gateway"
        ) from None
    if found is None:
        raise NoLedger(
            f"the gateway that keeps the ledger in {data} has not done it within {PATIENCE:g} s. "
            "See its log, or stop it and try again"
        )
    if found.fault:
        raise NoLedger(f"the ledger in {data}: {found.fault}")
    return found.told


def _calendar(settings: Settings) -> Calendar:
    return Calendar(zone(settings.ledger.timezone), settings.ledger.week_starts)


@contextmanager
def _alone(settings: Settings, data: Path) -> Iterator[Bookkeeper]:
    """The bookkeeper, after it has read all journals.

    :raises BlockingIOError: a gateway serves, and keeps the ledger. :raises NoLedger: it cannot be used.
    """
    from ..ledger.bookkeeper import Bookkeeper
    from ..ledger.books import TROUBLE
    from ..ledger.places import ledger_of

    if not (data / "journal").is_dir():
        raise NoLedger(f"there is no ledger in {data}: no gateway has served with it yet")
    try:
        bookkeeper = Bookkeeper(data, _calendar(settings), place=ledger_of(settings.ledger))
        try:
            bookkeeper.turn()
            yield bookkeeper
        finally:
            bookkeeper.close()
    except BlockingIOError:
        raise
    except TROUBLE as error:
        raise NoLedger(f"the ledger in {data} cannot be used: {error}") from None


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway ledger check", "find damage, sums that differ, and models without a price"),
        ("flask-gateway ledger backup /var/backups/gateway", "copy ledger and keys while the gateway serves"),
    ),
    {
        OK: "done, and nothing is wrong",
        FOUND: "a fault was found, or the ledger cannot be used",
        EX_CONFIG: "a setting is invalid",
    },
    {
        "check": (
            ("flask-gateway ledger check", "find damage, and sums that differ"),
            ("flask-gateway ledger check --json", "for programs: the exit code is 1 at a fault"),
        ),
        "backup": (
            ("flask-gateway ledger backup /var/backups/gateway", "copy ledger and keys while it serves"),
            ("flask-gateway ledger backup copy --json", "list the copies, for programs"),
        ),
        "prune": (
            ("flask-gateway ledger prune", "delete what is older than keep_days"),
            ("flask-gateway ledger prune --json", "the same, with the number for programs"),
        ),
        "rebuild": (
            ("flask-gateway ledger rebuild", "after a change of timezone or week_starts"),
            ("flask-gateway ledger rebuild --config gateway.toml", "the ledger that this file names"),
        ),
        "reprice": (
            ("flask-gateway ledger reprice", "after `flask-gateway prices update`"),
            ("flask-gateway ledger reprice --config gateway.toml", "the ledger that this file names"),
        ),
    },
)
