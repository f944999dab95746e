"""Serves ``/ui/health``: the state of the workers, the store, the ledger and the disk, and all notes."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple

from flask import Response, request
from msgspec.structs import asdict

from ...app.build import Gateway
from ...ledger import books, database
from ...ledger.places import ledger_of
from ...model.errors import Overloaded
from ...state import split_state
from ...telemetry.exposition import degraded_ledgers, live_calls, live_streams
from ...telemetry.metric_families import directory, trouble
from ...telemetry.notes import Note
from ...telemetry.processes import workers
from ..request_state import gateway
from .rendering import as_json, html_length, page, query, render, within
from .shown import shown_bytes, shown_seconds

#: The most notes on the page.
_NOTES = 200
#: Words of the notes about trouble of a part, and how far apart they are while it lasts, seconds.
_PHRASES = {
    "ledger": (" cannot be written (", " cannot be kept now ("),
    "disk": ("No space left on device", "disk is full"),
    "store": ("state is degraded",),
    "settings": ("the change is refused",),
}
_APART = 200.0
#: Among how many requests those are counted that found the gateway full, and for how long, seconds.
_LOOK, _LATELY = 300, 60.0
#: The most bytes of all notes there.
_MOST_HTML = 50_000
#: Less free space than this on the ledger's disk is a warning, bytes.
LEAST_DISK = 500_000_000
#: How long after the start the bookkeeper may take to make the ledger, seconds.
_OPENS = 10.0


class PartHealth(NamedTuple):
    """One thing that was looked at. ``good``: whether nothing needs to be done.

    :param since: when the trouble began by the notes, seconds since the epoch; ``None``: that is not known.
    """

    subject: str
    good: bool
    said: str
    since: float | None = None


def findings(here: Gateway, now: float) -> Iterator[PartHealth]:
    """Look at each part of the gateway. :param now: seconds since the epoch."""
    for subject, look in CHECKS.items():
        try:
            good, said = look(here, now)
            yield PartHealth(subject, good, said, None if good else _since(here, subject, now))
        except Exception as error:  # noqa: BLE001  # one part that cannot be looked at must not hide the others
            yield PartHealth(subject, False, f"cannot be looked at: {type(error).__name__}")


def _since(here: Gateway, subject: str, now: float) -> float | None:
    phrases = _PHRASES.get(subject)
    return began(here.rings.notes(), phrases, now) if here.rings and phrases else None


def began(notes: Iterable[Note], phrases: tuple[str, ...], now: float) -> float | None:
    """When a trouble began that is logged again and again while it lasts, seconds since the epoch.

    :param notes: the newest first. :param phrases: each of its notes has one of them.
    """
    since, latest = None, now
    for note in notes:
        if latest - note.at > _APART:
            break
        if any(phrase in note.text for phrase in phrases):
            since = latest = note.at
    return since


def _store(here: Gateway, now: float) -> tuple[bool, str]:
    kind, status = here.settings.state.partition(":")[0], here.store.status()
    if status.degraded:
        return False, f"{kind} is degraded, each worker answers from its own memory: {status.reason}"
    if split := split_state(here.settings, directory() is not None):
        return False, f"limits and breakers are not shared: {split}"
    return True, f"{kind} is well"


def _workers(here: Gateway, now: float) -> tuple[bool, str]:
    where = directory()
    if where is None:
        return True, f"one process, {os.getpid()}"
    count = len(list(workers(where)))
    age = shown_seconds(now - here.built)
    said = f"{count} workers; this one is {os.getpid()}, whose settings are {age} old"
    stopping = here.draining.is_set()
    return not stopping, said + (" and is stopping" if stopping else "")


def _threads(here: Gateway, now: float) -> tuple[bool, str]:
    streams, calls = live_streams(), live_calls()
    flying = "" if calls is None else f", {sum(calls.values())} calls in flight at upstreams"
    live = here.inflight.streams if streams is None else streams
    usage = here.inflight.thread_usage()
    said = (
        f"calls hold {usage.held} of the {_shown_most(usage.most)} threads that they may hold in this worker"
    )
    said += f", {live} streams are live{flying}"
    if refused := _refused_for_want_of_room(here, now):
        full = f"the gateway is full: in the last minute {refused} of {_LOOK} requests got 503 overloaded"
        remedy = "See which upstream is slow; GATEWAY_THREADS and GATEWAY_MAX_STREAMS allow more"
        return False, f"{full}; {said}. {remedy}"
    return True, said


def _shown_most(most: float) -> str:
    return "many" if math.isinf(most) else f"{most:.0f}"


def _refused_for_want_of_room(here: Gateway, now: float) -> int:
    """How many of the last requests of all workers were refused because the gateway was full."""
    last = here.rings.latest(_LOOK) if here.rings else ()
    lately = takewhile(lambda one: one.at > now - _LATELY, last)
    return sum(one.code == Overloaded.code for one in lately)


def _ledger(here: Gateway, now: float) -> tuple[bool, str]:
    accounting = here.accounting
    if accounting is None:
        return True, "no ledger is kept"
    degraded = degraded_ledgers() or int(accounting.books.journal.degraded)
    if degraded:
        count = "1 worker" if degraded == 1 else f"{degraded} workers"
        return False, f"{count} cannot write what calls cost; calls go on. Free its disk, or make it writable"
    file = Path(here.settings.ledger.data or "") / database.NAME
    if here.settings.ledger.database is None and now - here.built < _OPENS and not file.exists():
        return True, "it is being made"
    try:
        with closing(ledger_of(here.settings.ledger).read()) as connection:
            connection.execute("SELECT 1")
    except books.TROUBLE as error:
        return False, f"the ledger cannot be read now: {error}"
    return True, "it can be written and read"


def _disk(here: Gateway, now: float) -> tuple[bool, str]:
    data = here.settings.ledger.data
    if data is None:
        return True, "nothing is kept on disk"
    free = shutil.disk_usage(data).free
    said = f"{shown_bytes(free)} are free where {data} is"
    return free >= LEAST_DISK, said if free >= LEAST_DISK else f"only {said}. Free some"


def _descriptors(here: Gateway, now: float) -> tuple[bool, str]:
    import resource

    used, most = len(os.listdir("/proc/self/fd")), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return used < 0.8 * most, f"{used} of {most} are open in this worker"


def _metrics(here: Gateway, now: float) -> tuple[bool, str]:
    reason = trouble()
    return not reason, reason or "all figures are kept"


def _settings(here: Gateway, now: float) -> tuple[bool, str]:
    if here.metrics.last_reload_successful:
        return True, "the last reload went well, or there was none"
    return False, "the file is refused, the old settings stay: the page Settings says why"


CHECKS: dict[str, Callable[[Gateway, float], tuple[bool, str]]] = {
    "store": _store,
    "settings": _settings,
    "ledger": _ledger,
    "disk": _disk,
    "workers": _workers,
    "threads": _threads,
    "descriptors": _descriptors,
    "metrics": _metrics,
}


@page("health")
def show_health() -> Response:
    wanted, here = _wanted(), gateway()
    return render(
        "health.html",
        title="Health",
        formats={"JSON": f"health.json?{query(q=wanted)}"},
        findings=list(findings(here, time.time())),
        notes=list(within(_fitting(here, wanted), _weight, _MOST_HTML)),
        wanted=wanted,
    )


@page("health.json")
def health_json() -> Response:
    here = gateway()
    parts = [one._asdict() for one in findings(here, time.time())]
    return as_json(parts, notes=[asdict(note) for note in _fitting(here, _wanted())])


def _weight(note: Note) -> int:
    """About how many bytes of HTML a note takes."""
    return 160 + html_length(note.text)


def _wanted() -> str:
    return request.args.get("q", "").strip()[:200]


def _fitting(here: Gateway, wanted: str) -> list[Note]:
    """The notes with this text, the newest first."""
    notes = here.rings.notes() if here.rings else iter(())
    fitting = (note for note in notes if wanted.lower() in f"{note.level} {note.text}".lower())
    return list(islice(fitting, _NOTES))
