"""Keeps streams that wait for a thread of their caller's share. They hold no thread meanwhile.

A stream holds a thread only until its first event. So a caller that opens hundreds at once soon gets its
threads back, and one that waits is served then. Calls that are no streams are refused at once: they may hold
their threads for minutes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

from ..guards.inflight import MAY_WAIT_SINCE, READ_BODY
from .backpressure import MAX_WAIT_BEHIND_STREAMS

#: The most waiting streams of a worker. ``web/inference.py`` limits the body of one.
MOST_WAITING = 1024
#: How long a stream waits, seconds: as long as one that a full worker leaves in the kernel's queue.
LONGEST_WAIT = MAX_WAIT_BEHIND_STREAMS


class WaitingStream(NamedTuple):
    """A request that is answered later from its beginning.

    :param resp: gunicorn's response. :param environ: WSGI's.
    """

    caller: str
    conn: Any
    resp: Any
    environ: dict[str, Any]

    @property
    def since(self) -> float:
        return float(self.environ[MAY_WAIT_SINCE])


def rewound(caller: str, conn: Any, resp: Any, environ: dict[str, Any]) -> WaitingStream:
    """The request as it was before its body was read."""
    environ["wsgi.input"] = BytesIO(environ.pop(READ_BODY))
    environ.pop("werkzeug.request", None)
    environ.pop("HTTP_X_REQUEST_START", None)  # it has not waited in front of the gateway
    return WaitingStream(caller, conn, resp, environ)


class StreamTurns:
    """The waiting streams of a worker by caller, in order. Any thread may call it.

    :param resume: called with a stream whose turn has come. It must not block.
    """

    def __init__(self, resume: Callable[[WaitingStream], None]) -> None:
        self._resume = resume
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[WaitingStream]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def has_room(self) -> bool:
        return self._size < MOST_WAITING

    def add(self, stream: WaitingStream) -> None:
        """Let the stream wait. One that has waited before comes first."""
        with self._lock:
            waiting = self._waiting.setdefault(stream.caller, deque())
            if waiting and stream.since < waiting[0].since:
                waiting.appendleft(stream)
            else:
                waiting.append(stream)
            self._size += 1

    def next(self, caller: str) -> None:
        """Resume the caller's first stream, because one of its threads has become free."""
        with self._lock:
            if caller not in self._waiting:
                return
            stream = self._take(caller)
        self._resume(stream)

    def give_up(self, now: float) -> None:
        """Resume the streams that have waited too long. They are refused if there still is no thread."""
        late: list[WaitingStream] = []
        with self._lock:
            for caller, waiting in [*self._waiting.items()]:
                late += [stream for stream in waiting if now - stream.since > LONGEST_WAIT]
                self._waiting[caller] = deque(one for one in waiting if now - one.since <= LONGEST_WAIT)
                if not self._waiting[caller]:
                    del self._waiting[caller]
            self._size -= len(late)
        self._end(late)

    def end(self) -> None:
        """Resume all streams, because the worker stops."""
        with self._lock:
            all_of_them = [stream for waiting in self._waiting.values() for stream in waiting]
            self._waiting, self._size = {}, 0
        self._end(all_of_them)

    def _end(self, streams: list[WaitingStream]) -> None:
        for stream in streams:
            del stream.environ[MAY_WAIT_SINCE]  # it may not wait again
            self._resume(stream)

    def _take(self, caller: str) -> WaitingStream:
        waiting = self._waiting[caller]
        stream = waiting.popleft()
        self._size -= 1
        if not waiting:
            del self._waiting[caller]
        return stream
