"""Opens files of SQLite, finds the steps that bring their tables up to date, and copies them."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from importlib.resources import files
from pathlib import Path


class ClosingConnection(sqlite3.Connection):
    """Closes with its last reference. Python 3.13 warns about a connection that is left open."""

    def __del__(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # it was never opened
            self.close()


def connect(path: Path, patience: float) -> sqlite3.Connection:
    """Open a database that exists, without transactions of Python's own. Threads may share it in turn.

    :param patience: how long a statement waits for a lock of another connection, seconds.
    :raises sqlite3.Error: there is none.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=patience,
        factory=ClosingConnection,
    )


def pending_steps(
    connection: sqlite3.Connection, path: Path, package: str | None, error: type[Exception]
) -> tuple[int, list[str]]:
    """Return the version of the tables, and the steps that they have not had, in order.

    The steps are the numbered files in the package's folder ``sql``. Each is one transaction and sets
    ``user_version`` to its number.

    :raises Exception: ``error``, if the tables are of a newer version.
    """
    folder = files(package or "").joinpath("sql")
    steps = [entry.read_text() for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(steps):
        raise error(
            f"{path} has tables of version {version}, and this gateway knows {len(steps)}. "
            "Install the version that wrote it, or restore a backup."
        )
    return version, steps[version:]


def copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copy a database to a file that only its owner may read, in steps of 100 pages, while others write.

    A copy that fails leaves the file of an earlier one as it is.

    :raises sqlite3.Error: the copy cannot be written, or the database cannot be read.
    :raises OSError: its directory cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    with closing(sqlite3.connect(unfinished)) as target:
        connection.backup(target, pages=100, sleep=0.01)
    unfinished.rename(path)
