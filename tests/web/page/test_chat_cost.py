"""The work of a call for the page, in its own thread. ``python -m bench.page`` measures a server."""

from __future__ import annotations

import sys
from pathlib import Path

from kit.admins import AdminClient
from kit.calls import KEY

from flask_gateway.state.memory import MemoryStore

#: The most functions that a call asks for the page: `observe` of the rings, and four of Python's own.
MOST = 8


def functions(client: AdminClient) -> int:
    """How many functions a chat calls in this thread; the least of some, because locks and logs vary."""
    counts = []
    for _ in range(20):
        events: list[str] = []
        sys.setprofile(lambda frame, event, arg, seen=events.append: seen(event))
        try:
            answer = client.chat(KEY)
        finally:
            sys.setprofile(None)
        assert answer.status_code == 200, answer.text
        counts.append(sum(event in ("call", "c_call") for event in events))
    return min(counts)


def test_a_call_does_nothing_for_the_page_but_to_leave_its_record(tmp_path: Path) -> None:
    without = AdminClient(tmp_path / "without", MemoryStore(), admins=())
    with_page = AdminClient(tmp_path / "with", MemoryStore())
    assert without.app.extensions["gateway"].rings is None
    assert with_page.app.extensions["gateway"].rings is not None
    for client in (without, with_page):
        functions(client)
    assert 1 <= functions(with_page) - functions(without) <= MOST
