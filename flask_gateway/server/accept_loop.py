"""Accepts connections on a worker's main thread: counts them, holds them back, and sheds load.

gunicorn's threaded worker counts a connection until its main thread has closed it. Here other threads close
connections, and a connection whose stream the relay carries needs no thread. They report both through queues.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn.workers import gthread

from ..guards.inflight import ThreadUsage
from ..model.errors import NO_DESCRIPTOR, RETRY_SOON, Overloaded
from .backpressure import AcceptGate
from .client_connection import ClientConnection, is_tls, refusal
from .kept_connections import KeptConnections
from .load_shedding import PendingHeads, ReserveDescriptor, queue_of, record_unparsed, turn_away
from .parked_heads import ParkedHeads, most_parked
from .stream_turns import StreamTurns, WaitingStream

if TYPE_CHECKING:
    from ..app.build import Gateway

_NO_DESCRIPTOR = "This server has as many connections open as it may have. Try again in a moment."
_NO_THREAD = "This server can start no thread. Try again in a moment."
#: The least time between two heartbeats, seconds. Each heartbeat is a system call.
HEARTBEAT_PERIOD = 1.0
#: How often a worker looks for streams that have waited too long, seconds.
LOOK_PERIOD = 1.0
#: How often a full worker checks for a free thread or descriptor, seconds.
RECHECK_PERIOD = 0.05


class AcceptLoop(gthread.ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """The main thread of a worker. A subclass serves the requests (:meth:`_serve`)."""

    gateway: Gateway | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gate = AcceptGate(self.cfg.workers)
        #: Reports of other threads, one entry each: a connection was closed, the relay took one over, the
        #: relay is done with one. Only the main thread may change gunicorn's counts.
        self._closed: deque[None] = deque()
        self._handed_over: deque[None] = deque()
        self._returned: deque[None] = deque()
        #: The addresses of the listeners, by descriptor.
        self._names: dict[int, Any] = {}
        #: The gate accepts no connection before this time.
        self._shut_until = 0.0
        self._last_heartbeat = 0.0
        #: Over TLS a thread reads the head. Otherwise an incomplete head is parked.
        self._pending_heads = PendingHeads()
        self._parked = ParkedHeads(most_parked())
        #: ``None``: each answer closes its connection.
        self._kept: KeptConnections | None = None
        #: ``None``: no stream waits for a thread of its caller's share.
        self._turns: StreamTurns | None = None
        #: Kept connections whose next request waits for a free thread.
        self._waiting: deque[ClientConnection] = deque()

    def init_process(self) -> None:
        self._reserve = ReserveDescriptor()
        super().init_process()

    def _serve(self, conn: Any) -> None:
        """Serve one request, on a thread of the pool."""
        raise NotImplementedError

    def _resume(self, stream: WaitingStream) -> None:
        """Answer a stream that has waited. Any thread may call this."""
        raise NotImplementedError

    # ---------------------------------------------------------------- called by any thread

    def _close(self, conn: Any) -> None:
        conn.close(graceful=True)
        self._closed.append(None)
        self._wake()

    def _wake(self) -> None:
        """Wake the main thread, if it waits for a free thread or for the end of the process."""
        if not self._accepting or not self.alive or self._waiting:
            self.method_queue.defer(int)

    # ---------------------------------------------------------------- streams that wait for a thread

    def _take_turns(self, gateway: Gateway) -> None:
        """Let streams wait for a thread of their caller's share."""
        self._turns = turns = StreamTurns(self._resume)

        def freed(caller: str) -> None:
            if turns:
                turns.next(caller)

        gateway.inflight.freed = freed
        gateway.reactor.every(LOOK_PERIOD, lambda: turns.give_up(time.monotonic()) if turns else None)

    def _await_turn(self, stream: WaitingStream) -> None:
        """Let a stream wait without a thread. From here on another thread may have it."""
        assert self._turns is not None
        self._handed_over.append(None)
        self._turns.add(stream)
        if self.alive:
            self._next_turn(stream.caller)  # the last of its threads may have become free meanwhile
        else:
            self._turns.end()
        self._wake()

    def _next_turn(self, caller: str) -> None:
        """Resume the caller's first stream, if the caller may hold another thread."""
        assert self._turns is not None
        assert self.gateway is not None
        if self._turns and self.gateway.inflight.has_share(caller):
            self._turns.next(caller)

    # ---------------------------------------------------------------- on the main thread

    def _update_counts(self) -> None:
        while self._closed:
            self._closed.pop()
            self.nr_conns -= 1
        while self._handed_over:
            self._handed_over.pop()
            self.worker_connections += 1
        while self._returned:
            self._returned.pop()
            self.worker_connections -= 1

    def accept(self, listener: Any) -> None:
        self._update_counts()
        if self.gateway is not None:
            now = time.monotonic()
            pause = self._gate.hold_back(self._thread_usage(self.gateway), partial(queue_of, listener), now)
            if pause:
                self._shut_until = now + pause
                self.set_accept_enabled(False)
                return
        try:
            sock, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another worker accepted it, or the caller has left
        except OSError as error:
            if error.errno not in NO_DESCRIPTOR:
                raise
            if self._kept is not None and self._kept.close_oldest():
                pass  # its descriptor serves the next caller
            elif (oldest := self._parked.oldest()) is not None:
                self._cut(oldest)
            else:
                self._refuse(listener)
            return
        self.nr_conns += 1
        conn = gthread.TConn(self.cfg, sock, client, self._name_of(listener))
        if self._parked and self._is_silent(conn):
            self._park(conn)
        else:
            self.enqueue_req(conn)

    @staticmethod
    def _is_silent(conn: Any) -> bool:
        """Whether a new connection has sent nothing. Where others are silent, no thread tries to read it."""
        try:
            return not conn.collect_head()
        except OSError:  # the thread that serves it will meet the error again
            return False

    def _name_of(self, listener: Any) -> Any:
        fd = listener.fileno()
        if fd not in self._names:
            self._names[fd] = listener.getsockname()
        return self._names[fd]

    def _refuse(self, listener: Any) -> None:
        """Refuse the next connection, because no descriptor is left. Pause if even that is impossible."""
        error = Overloaded(_NO_DESCRIPTOR, retry_after=RETRY_SOON)
        request_id = os.urandom(16).hex()
        answer = b"" if is_tls(self.cfg) else refusal(error, "503 Service Unavailable", request_id)
        if not self._reserve.refuse(listener, answer):
            time.sleep(RECHECK_PERIOD)
        else:
            self._record_shed("descriptors", request_id, error)

    def _record_shed(self, reason: str, request_id: str, error: Overloaded) -> None:
        if self.gateway is not None:
            self.gateway.metrics.shed(reason)
            self.gateway.service.tell(record_unparsed(error, error.status, request_id))

    def enqueue_req(self, conn: Any) -> None:
        if is_tls(self.cfg):
            self._pending_heads.add(conn, time.monotonic())
        try:
            self.tpool.submit(self._serve, conn)
        except RuntimeError:  # the system refuses even the first thread
            self._pending_heads.remove(conn)
            error = Overloaded(_NO_THREAD, retry_after=RETRY_SOON)
            self._record_shed("threads", turn_away(conn, error), error)
            self._close(conn)

    # ---------------------------------------------------------------- connections with an incomplete head

    def _park(self, conn: Any) -> None:
        """Wait for the rest of a request head. A parked connection counts as none of those that need a
        thread."""
        self.worker_connections += 1
        now = time.monotonic()
        self._parked.add(conn, now)
        if not self.alive:
            self._parked.hurry(now)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._head_ready, conn))

    def _head_ready(self, conn: Any, sock: Any) -> None:
        try:
            if conn.collect_head():
                self._unpark(conn)
                self.enqueue_req(conn)
        except OSError:
            self._cut(conn)

    def _unpark(self, conn: Any) -> None:
        self._parked.remove(conn)
        self.poller.unregister(conn.sock)
        self.worker_connections -= 1

    def _cut(self, conn: Any) -> None:
        """Close a parked connection."""
        self._unpark(conn)
        conn.close(graceful=True)
        self.nr_conns -= 1
        if self.gateway is not None:
            self.gateway.metrics.shed("unfinished")

    # ---------------------------------------------------------------- kept connections

    def _keep(self, conn: Any) -> None:
        """Keep a connection for its caller's next request. Any thread may call this."""
        if conn.await_next():  # it was sent together with the last one
            self.enqueue_req(conn)
            return
        assert self._kept is not None
        self._handed_over.append(None)
        self._kept.keep(conn)
        self._wake()

    def _next_arrived(self, conn: ClientConnection) -> None:
        """Serve the next request of a kept connection, on the reactor's thread. It may have to wait for a
        thread, like a new connection in the kernel's queue."""
        if self._waiting or (self.gateway is not None and self.gateway.inflight.is_full):
            self._waiting.append(conn)
            self.method_queue.defer(self._serve_waiting)
        else:
            self._serve_next(conn)

    def _serve_next(self, conn: ClientConnection) -> None:
        self._returned.append(None)
        self.enqueue_req(conn)

    def _serve_waiting(self) -> float:
        """Serve the requests that wait for a thread, the oldest first, on the main thread.

        :return: how long to leave the rest where it is, seconds; 0 if there is none.
        """
        while self._waiting and self.gateway is not None:
            self._update_counts()
            usage = self._thread_usage(self.gateway)
            pause = self._gate.hold_back(usage, lambda: len(self._waiting), time.monotonic())
            if pause:
                return pause
            self._serve_next(self._waiting.popleft())
        return 0.0

    def _drop_kept(self, conn: ClientConnection) -> None:
        """Close a kept connection. Any thread may call this."""
        self._returned.append(None)
        self._close(conn)

    def murder_pending(self) -> None:
        """gunicorn calls this after each round of events."""
        super().murder_pending()
        if self._parked:
            for conn in self._parked.late(time.monotonic()):
                self._cut(conn)
        if self._kept:
            self._kept.close_late(time.monotonic())

    def _cap_keepalive(self, deadline: float) -> None:
        """gunicorn calls this once when the worker begins to stop."""
        super()._cap_keepalive(deadline)
        self._parked.hurry(time.monotonic())
        if self._kept is not None:
            self._kept.hurry(time.monotonic())

    def _thread_usage(self, gateway: Gateway) -> ThreadUsage:
        """How many threads are in use, including those that still read a request."""
        carried = self.worker_connections - self.cfg.worker_connections
        return gateway.inflight.thread_usage(self.nr_conns - carried)

    def set_accept_enabled(self, enabled: bool) -> None:
        is_open = time.monotonic() >= self._shut_until or self._has_free_thread()
        super().set_accept_enabled(enabled and is_open)

    def _has_free_thread(self) -> bool:
        """Whether a thread became free. It need not wait until the gate opens again."""
        return self.gateway is None or not self._thread_usage(self.gateway).is_full

    def notify(self) -> None:
        now = time.monotonic()
        if now >= self._last_heartbeat + HEARTBEAT_PERIOD:
            self._last_heartbeat = now
            super().notify()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        self._update_counts()
        if not self._accepting:
            now = time.monotonic()
            timeout = min(timeout, max(self._shut_until - now, 0.001), RECHECK_PERIOD)
            for _ in range(self._pending_heads.cut(now)):
                if self.gateway is not None:
                    self.gateway.metrics.shed("unfinished")
        if self._waiting:
            timeout = min(timeout, self._serve_waiting() or timeout)
        super().wait_for_and_dispatch_events(timeout)
        self._update_counts()


# gunicorn looks this class up by name in its own module.
gthread.TConn = ClientConnection
