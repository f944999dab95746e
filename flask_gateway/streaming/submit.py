"""Submits work to a pool whose threads may fail to start."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait


def submitted(pool: ThreadPoolExecutor, work: Callable[[], None]) -> Future[None] | None:
    """Submit the work. Return ``None`` if the pool has shut down or no thread starts: it will not run then.

    ``ThreadPoolExecutor.submit`` queues the work before it starts a thread. If that start fails, another
    thread of the pool would still run the work later.
    """
    tickets = [work]

    def once() -> None:
        for ticket in _taken(tickets):
            ticket()

    try:
        return pool.submit(once)
    except RuntimeError:
        if _taken(tickets):
            return None
    started: Future[None] = Future()  # another thread of the pool has it already
    started.set_result(None)
    return started


def run_after(before: Future[None] | None, work: Callable[[], None]) -> None:
    """Run the work when what was submitted before it is done."""
    if before is not None:
        wait([before])
    work()


def _taken(tickets: list[Callable[[], None]]) -> list[Callable[[], None]]:
    """Take the ticket out, if no other thread has."""
    try:
        return [tickets.pop()]
    except IndexError:
        return []
