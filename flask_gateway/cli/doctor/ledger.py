"""Checks the ledger: its directory, the file system, SQLite, how far it is read, and missing prices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ...config.schema import LedgerSettings
from ...model.calendar_windows import zone
from .finding import Diagnosis, fail, ok, warn

#: File systems of other machines: their locks do not end with the process that holds them.
REMOTE = frozenset(("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs"))
#: Journals that a bookkeeper has not read yet, bytes: a second of a busy gateway has less.
BEHIND = 8 * 1024 * 1024


def check_all(ledger: LedgerSettings) -> Iterator[Diagnosis]:
    if ledger.data is None:
        return
    data = Path(ledger.data)
    if not data.is_dir():
        yield fail(f"ledger: {data} is no directory", "make it, for the user of the gateway, with mode 0700")
        return
    yield directory(data, os.access(data, os.W_OK), data.stat().st_mode & 0o777)
    today = datetime.now(zone(ledger.timezone))
    yield ok(
        f"ledger: in {ledger.timezone} it is {today:%Y-%m-%d %H:%M}; days of budgets begin there at midnight"
    )
    yield file_system(data, Path("/proc/mounts").read_text())
    yield from _books(ledger, data)


def directory(data: Path, writable: bool, mode: int) -> Diagnosis:
    if not writable:
        return warn(f"ledger: this user cannot write {data}", "run doctor as the user of the gateway")
    if mode & 0o077:
        return warn(f"ledger: others may read {data}", f"chmod 700 {data}")
    return ok(f"ledger: {data} can be written, and by nobody else")


def file_system(data: Path, mounts: str) -> Diagnosis:
    """:param mounts: the content of ``/proc/mounts``."""
    kind = kind_of(data, mounts)
    if kind in REMOTE:
        return fail(f"ledger: {data} is on {kind}", "use a local disk: its locks end with their process")
    return ok(f"ledger: {data} is on a local file system ({kind or 'unknown'})")


def kind_of(path: Path, mounts: str) -> str:
    """The kind of the file system that a path is on; empty if it is not known.

    :param mounts: the content of ``/proc/mounts``.
    """
    kind, longest = "", -1
    for line in mounts.splitlines():
        _, point, name, *_ = line.split(" ")
        if path.resolve().is_relative_to(point) and len(point) > longest:
            kind, longest = name, len(point)
    return kind


def _books(ledger: LedgerSettings, data: Path) -> Iterator[Diagnosis]:
    from ...ledger import books, database
    from ...ledger.places import ledger_of
    from ...ledger.reports import unpriced

    if ledger.database is None:
        yield ok(f"ledger: SQLite {database.VERSION}, with one writer")
    where = data / database.NAME if ledger.database is None else "PostgreSQL"
    sizes = {path.name: path.stat().st_size for path in data.glob("journal/*")}
    try:
        connection = ledger_of(ledger).read()
        try:
            missing = [f"{upstream}/{model}" for upstream, model, _ in unpriced(connection)]
            read = database.places(connection)
        finally:
            connection.close()
    except books.TROUBLE as error:
        yield warn(f"ledger: {where} cannot be read: {error}", "start the gateway, or its database")
        return
    waiting = sum(size - read.get(name, 0) for name, size in sizes.items())
    if waiting > BEHIND:
        yield fail(f"ledger: {waiting} bytes of the journals wait", "see the log of the gateway")
    if missing:
        remedy = "set prices (docs/money.md), then flask-gateway ledger reprice"
        yield warn(f"ledger: models without a price: {', '.join(missing[:5])}", remedy)
