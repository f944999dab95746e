"""Keeps finished requests in a bounded queue and sends them as traces from one thread of this process.

No request waits for it. A receiver that is down costs the oldest records of a full queue, which are counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from ..config.traces import TraceSettings
from ..reactor import Periodic
from ..telemetry.request_record import RequestRecord
from .sampling import is_kept, is_sampled
from .spans import TracePlace, TraceSpan, spans_of

log = logging.getLogger(__name__)

#: Between two turns of the thread, seconds.
PERIOD = 1.0
#: The most records that wait, and the most with texts, which are larger.
WAITING, WAITING_TEXTS = 4096, 1024
#: The most records of one export.
BATCH = 256
#: After so many failures in a row the thread pauses for so long, seconds.
FAILURES, PAUSE = 3, 30.0
#: How long a process that ends waits for its last export, seconds.
LAST = 2.0


class Sender(Protocol):
    """Sends spans (``otlp.OtlpSender``)."""

    @property
    def fault(self) -> str: ...

    def send(self, spans: Iterator[TraceSpan]) -> bool: ...

    def end(self) -> None: ...


#: Counts records by what became of them: ``exported``, ``failed``, ``dropped`` or ``not_sampled``.
Count = Callable[[str, int], None]


class Traces:
    """The traces of one process (a ``request_record.Observer``). Every thread may call it.

    :param sender: makes what sends. The thread calls it, so that no request waits for its imports.
    :param slow: seconds from which on a request is always kept; 0: never for that reason.
    :param clock: ``time.monotonic``.
    """

    def __init__(
        self,
        settings: TraceSettings,
        sender: Callable[[], Sender],
        count: Count,
        waiting: int = WAITING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._count, self._clock = settings, count, clock
        self._make_sender = sender
        self._sender: Sender | None = None
        self._lock = threading.Lock()
        self._queue: deque[RequestRecord] = deque()
        self._most = waiting
        self._places: Mapping[str, TracePlace] = {}
        self._slow = 0.0
        self._failures, self._paused_until = 0, 0.0
        self._ending, self._ended = False, threading.Event()
        self._thread = Periodic("traces", PERIOD, self.turn)

    def change(self, places: Mapping[str, TracePlace], slow: float) -> None:
        """Take over what changed settings say. :param places: the upstreams by name."""
        self._places, self._slow = places, slow

    def flags(self, trace: str) -> str:
        """The flags of a trace that begins here, as ``traceparent`` has them."""
        return "01" if is_sampled(trace, "", self._settings) else "00"

    def __call__(self, record: RequestRecord) -> None:
        """Keep a record for the thread; the oldest one goes if too many wait."""
        with self._lock:
            full = len(self._queue) >= self._most
            if full:
                self._queue.popleft()
            self._queue.append(record)
        if full:
            self._count("dropped", 1)
        self._thread.start()

    def turn(self) -> None:
        """Send what waits, unless the receiver has failed too often."""
        try:
            while self._queue and self._clock() >= self._paused_until:
                if batch := self._next_batch():
                    self._send(batch)
        finally:
            if self._ending:
                self._ended.set()

    def stop(self) -> None:
        """Send the rest for at most two seconds, then give up. The process ends."""
        self._ending = True
        if self._thread.running:
            self._thread.call_soon()
            self._ended.wait(LAST)
        self._thread.stop(0.0)
        if self._sender is not None:
            self._sender.end()
        with self._lock:
            left = len(self._queue)
            self._queue.clear()
        if left:
            self._count("dropped", left)

    def _next_batch(self) -> list[RequestRecord]:
        """Take the records of the next export; those that are not sampled are left out."""
        with self._lock:
            taken = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        kept = [record for record in taken if is_kept(record, self._settings, self._slow)]
        if len(kept) < len(taken):
            self._count("not_sampled", len(taken) - len(kept))
        return kept

    def _send(self, batch: list[RequestRecord]) -> None:
        if self._sender is None:
            self._sender = self._make_sender()
        places = self._places
        try:
            sent = self._sender.send(span for record in batch for span in spans_of(record, places))
            fault = self._sender.fault
        except Exception as error:  # noqa: BLE001  # one record that cannot be sent must not end the thread
            sent, fault = False, repr(error)
        self._count("exported" if sent else "failed", len(batch))
        if sent:
            self._recovered()
        else:
            self._failed(fault)

    def _recovered(self) -> None:
        if self._failures >= FAILURES:
            log.warning("the receiver of traces takes them again")
        self._failures = 0

    def _failed(self, fault: str) -> None:
        self._failures += 1
        if self._failures < FAILURES:
            return
        self._paused_until = self._clock() + PAUSE
        if self._failures == FAILURES:
            log.warning(
                "the receiver of traces has failed %d times: %s. Calls go on without traces; it is tried "
                "again every %d s.",
                FAILURES,
                fault,
                PAUSE,
            )
