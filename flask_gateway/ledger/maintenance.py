"""Does the operator's work on the ledger: prune, rebuild, reprice. One process writes to the ledger.

Where no gateway serves, the command does it. Otherwise the command leaves a request in the data directory.
The bookkeeper of the running gateway does the work between two turns, and leaves the answer.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ..model.calendar_windows import Calendar
from ..model.money import dollars
from .bookkeeper import Bookkeeper
from .pruning import Kept
from .repair import Price, rebuild, reprice

#: Files in the data directory.
REQUEST, ANSWER = "maintenance.request", "maintenance.answer"
#: How long the command waits for a running gateway, seconds.
PATIENCE = 120.0


class WorkRequest(msgspec.Struct, frozen=True):
    """:param id: random; the answer has it, too. :param action: ``prune``, ``rebuild`` or ``reprice``."""

    id: str
    action: str


class WorkAnswer(msgspec.Struct, frozen=True):
    """:param told: the figures of the work. :param fault: why it was not done; empty: it was."""

    id: str
    told: dict[str, Any] = {}
    fault: str = ""


class Maintenance(NamedTuple):
    """The work, with the settings of those who do it."""

    calendar: Calendar
    kept: Kept
    price: Callable[[], Price]

    def run(self, bookkeeper: Bookkeeper, action: str) -> dict[str, Any]:
        """Do the work.

        :returns: figures for the operator.
        :raises LedgerError: it cannot be done; nothing was changed. :raises sqlite3.Error: the disk refuses.
        """
        if action == "prune":
            deleted = 0
            while step := bookkeeper.prune(self.kept, at_once=True):
                deleted += step
            return {"deleted": deleted}
        if action == "rebuild":
            return {"charges": rebuild(bookkeeper.connection, self.calendar)}
        count, cost = reprice(bookkeeper.connection, self.calendar, self.price())
        return {"priced": count, "cost": dollars(cost)}


def is_requested(data: Path) -> bool:
    """Whether a command has left a request."""
    return (data / REQUEST).exists()


def requested(data: Path) -> WorkRequest | None:
    """Take the request of a command, if there is one. It is taken once."""
    path = data / REQUEST
    try:
        text = path.read_bytes()
        path.unlink()
        return msgspec.json.decode(text, type=WorkRequest)
    except (OSError, msgspec.MsgspecError):
        return None


def answer(data: Path, found: WorkAnswer) -> None:
    """Leave the answer for the command.

    :raises OSError: the disk refuses.
    """
    _write(data / ANSWER, msgspec.json.encode(found))


def ask(data: Path, action: str, patience: float) -> WorkAnswer | None:
    """Have the running gateway do the work, and wait for it. ``None``: it does not answer.

    :raises OSError: this user cannot write the directory.
    """
    request, deadline = WorkRequest(secrets.token_hex(8), action), time.monotonic() + patience
    _write(data / REQUEST, msgspec.json.encode(request))
    while time.monotonic() < deadline:
        time.sleep(0.05)
        try:
            found = msgspec.json.decode((data / ANSWER).read_bytes(), type=WorkAnswer)
        except (OSError, msgspec.MsgspecError):
            continue
        if found.id == request.id:
            (data / ANSWER).unlink(missing_ok=True)
            return found
    (data / REQUEST).unlink(missing_ok=True)
    return None


def _write(path: Path, text: bytes) -> None:
    waiting = path.with_suffix(path.suffix + ".new")
    fd = os.open(waiting, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(text)
    waiting.replace(path)
