"""Who is ready, and whose turn it is: many descriptors looked after by one thread, for a while at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

#: How long the ready are looked after before whoever else the thread has to look after, seconds.
TIME_SLICE = 0.005
#: The most that are told of at once.
MOST = 256

Ready = Callable[[int], None]


class Poller(Protocol):
    """What is needed of ``select.epoll``, which tells first of those of whom it has not told for longest."""

    def register(self, fd: int, events: int) -> None: ...

    def modify(self, fd: int, events: int) -> None: ...

    def unregister(self, fd: int) -> None: ...

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]: ...


class FairPoller:
    """Owned by one thread.

    Nobody is told of again before all that were told of have had their turn, however long that takes; so
    who is ready waits for each of the others at most twice: in this round, and in the next.

    :param poll: empty. :param clock: seconds.
    """

    def __init__(self, poll: Poller, clock: Callable[[], float] = time.monotonic) -> None:
        self._poll = poll
        self._clock = clock
        self._ready: dict[int, Ready] = {}
        #: Those that were told of and have not had their turn, in reverse, and what of.
        self._due: dict[int, int] = {}
        #: When it was looked who is ready, or when the one began whose turn it is, seconds. Whoever owns this
        #: may set it, when something else begins.
        self.now = clock()

    def __len__(self) -> int:
        """How many are waited for."""
        return len(self._ready)

    def wait_for(self, fd: int, events: int, ready: Ready) -> None:
        """From now on have ``ready`` called with the events that have come, one of these or an error."""
        if fd in self._ready:
            self._poll.modify(fd, events)
            self._due.pop(fd, None)  # what was told may be what is waited for no more
        else:
            self._poll.register(fd, events)
        self._ready[fd] = ready

    def forget(self, fd: int) -> None:
        """Before it is closed: its number may soon be another's."""
        if self._ready.pop(fd, None) is not None:
            self._due.pop(fd, None)
            with suppress(OSError, ValueError):  # closed, and with that forgotten
                self._poll.unregister(fd)

    def poll(self, seconds: float) -> None:
        """Learn who is ready. The first is waited for so long, unless some have not had their turn."""
        if not self._due:
            self._due = dict(reversed(self._poll.poll(seconds, MOST)))
        self.now = self._clock()

    def dispatch(self) -> None:
        """Look after those who are ready, one at least, until that has taken its time."""
        until, due = self.now + TIME_SLICE, self._due
        while due:
            fd, events = due.popitem()
            ready = self._ready.get(fd)
            if ready is not None:  # else it was closed too early, and somebody has a duplicate
                ready(events)
            self.now = self._clock()
            if self.now >= until:
                return
