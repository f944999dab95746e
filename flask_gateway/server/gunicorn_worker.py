"""gunicorn's threaded worker, without its two ways of standing still, and without its HTML.

As it is, the thread that accepts connections also closes them, and waits up to two seconds for each
peer to hang up first; and a thread waits for ever for the next byte of a request. Both are one class
away from being bounded. And what it refuses itself, because it is not HTTP, it refuses with a page for
browsers. The gateway runs under any other worker too, with those weaknesses.
"""

from __future__ import annotations

import gc
import os
import socket
import ssl
import sys
import threading
import time
from collections import deque
from concurrent import futures
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn import util
from gunicorn.http import wsgi
from gunicorn.http.errors import NoMoreData
from gunicorn.workers import base, gthread

from ..guards.inflight import ThreadUsage
from ..model.errors import NO_DESCRIPTOR, InternalError, Overloaded, ServerShutdown
from ..model.reply import Reply
from ..streaming.relay import Relay
from ..telemetry.log_output import STDERR
from .backpressure import AcceptGate
from .client_connection import (
    ClientConnection,
    ResponseWriter,
    UnparsableRequest,
    input_of,
    is_tls,
    refusal,
    write_error,
)
from .heartbeat import Heartbeat
from .load_shedding import PendingHeads, ReserveDescriptor, queue_of, record_unparsed, turn_away
from .log_filters import drop_timeouts
from .malloc import give_back_large_blocks
from .thread_pool import LifoThreadPool

if TYPE_CHECKING:
    from ..app.build import Gateway

#: How long before the server's patience is over the calls still under way are ended, seconds.
LAST_WORDS = 5.0
_NO_DESCRIPTOR = "This server has as many connections open as it may have. Try again in a moment."
_NO_THREAD = "This server can start no thread. Try again in a moment."
_ENDED = "The server is stopping, and this answer took longer than it waits. Send the request again."
#: How many new objects there may be before they are looked through for garbage, and how seldom the older
#: ones are. Calls leave next to no cycles behind; Python's own 700 has them looked at several times each.
#: All threads stand still meanwhile, the one that carries the streams too: so not too many at a time.
GARBAGE = (5_000, 20, 20)
#: How long a thread may keep the interpreter while others want it, seconds. Each has to wait for something
#: long before that; to be interrupted at Python's own 5 ms only costs the change.
SWITCH = 0.02
#: How often the gauges of a worker are brought up to date, seconds.
REPORT = 1.0
#: How often the master is told that this worker lives, at most, seconds: each time is a system call.
BEAT = 1.0
#: How often it is looked for room, where there was none, seconds.
ROOM = 0.05


def _ended(result: Any) -> futures.Future[Any]:
    """What gunicorn is told of a request by."""
    ended: futures.Future[Any] = futures.Future()
    ended.set_result(result)
    return ended


def reserved_threads(threads: int) -> int:
    """How many of so many threads calls leave to those who ask for health, figures and status."""
    return min(4, threads // 4)


#: What handling a request comes to when its stream is carried on without us.
_HANDED_OVER = object()


class GatewayWorker(gthread.ThreadWorker):  # type: ignore[misc]
    """To be named as gunicorn's ``worker_class``.

    What is said of a connection by gunicorn's own main thread is: it counts until it is closed. One whose
    stream is carried takes no thread, so as many more are accepted.
    """

    gateway: Gateway | None = None
    relay: Relay | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gate = AcceptGate(self.cfg.workers)
        #: What other threads have to say of gunicorn's counts, which are the main thread's: connections that
        #: were closed, and such whose stream is carried, and is over.
        self._closed: deque[None] = deque()
        self._handed: deque[None] = deque()
        self._returned: deque[None] = deque()
        #: The addresses of the listeners, by descriptor.
        self._names: dict[int, Any] = {}
        #: Until when no connection is taken.
        self._shut_until = 0.0
        self._beat = 0.0
        self._unfinished = PendingHeads()

    def init_process(self) -> None:
        give_back_large_blocks()
        self.log.error_log.addFilter(drop_timeouts)
        util.write_error = self._write_error  # gunicorn takes it by its name in this module
        self._spare = ReserveDescriptor()
        super().init_process()

    def get_thread_pool(self) -> LifoThreadPool:
        return LifoThreadPool(self.cfg.threads)

    def run(self) -> None:
        try:
            super().run()
        finally:  # whatever ended it: a process with threads that wait for work would stay
            self.tpool.shutdown()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        if hasattr(self.wsgi, "begin_here"):
            self.wsgi.begin_here(self.cfg.workers > 1)
        # What is there now stays: it need not be looked through for garbage again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GARBAGE)
        sys.setswitchinterval(SWITCH)
        gateway: Gateway | None = getattr(self.wsgi, "extensions", {}).get("gateway")
        if gateway is None:
            return
        self.gateway = gateway
        gateway.underway.limit_threads(self.cfg.threads - reserved_threads(self.cfg.threads))
        gateway.metrics.in_flight(())  # so that the series are there from the beginning
        gateway.reactor.every(REPORT, self._report)
        if Relay.is_possible():
            told = gateway.settings
            self.relay = Relay(gateway.reactor, told.stream_buffer_bytes, told.send_timeout_seconds)
        if gateway.settings.config is not None:
            self._follow_file(gateway)

    def _follow_file(self, gateway: Gateway) -> None:
        # Not before: the master, which imports this file, is to import nothing more.
        from ..app.preflight import load_checked
        from ..app.reload import Reloader

        load = partial(load_checked, os.environ, binds=self.cfg.bind, workers=self.cfg.workers)
        Reloader(gateway, load, self._take_over, self.log.error_log).start()

    def _take_over(self, gateway: Gateway) -> None:
        """From now on this gateway serves: settings have changed."""
        self.gateway = self.wsgi.extensions["gateway"] = gateway
        if self.relay is not None:
            told = gateway.settings
            self.relay.buffer, self.relay.send_timeout = told.stream_buffer_bytes, told.send_timeout_seconds

    def _report(self) -> None:
        """On the reactor's thread."""
        assert self.gateway is not None
        self.gateway.metrics.threads(self.gateway.underway.threads, self.cfg.threads)
        self.gateway.metrics.streams(self.gateway.underway.streams)
        self.gateway.metrics.event_loop_lag(self.gateway.reactor.longest_iteration())
        self.gateway.metrics.in_flight(self.gateway.underway.standing(time.monotonic()))

    # ---------------------------------------------------------------- on a thread of the pool

    def _serve(self, conn: Any) -> None:
        """One request, and what becomes of its connection. gunicorn has its main thread close them."""
        kept: Any = False
        try:
            kept = self.handle(conn)
        finally:
            self._unfinished.remove(conn)
            if kept is _HANDED_OVER:
                self._handed.append(None)
                self._wake()
            elif kept:
                self.method_queue.defer(self.finish_request, conn, _ended(kept))
            else:
                self._close(conn)

    def _close(self, conn: Any) -> None:
        conn.close(graceful=True)
        self._closed.append(None)
        self._wake()

    def _wake(self) -> None:
        """Have the main thread look again, if it waits for room, or for the end."""
        if not self._accepting or not self.alive:
            self.method_queue.defer(int)

    def handle(self, conn: Any) -> Any:
        """As gunicorn's, but that it does not change the socket's mode back and forth.

        :return: as gunicorn's, or ``_HANDED_OVER``.
        """
        if is_tls(self.cfg):
            return super().handle(conn)
        req = None
        try:
            if not (conn.initialized or conn.wait_for_data(gthread.DEFAULT_WORKER_DATA_TIMEOUT)):
                return gthread._DEFER
            conn.init()
            req = next(conn.parser)
            return self._keepalive_after(conn, self.handle_request(req, conn))
        except (NoMoreData, StopIteration, ConnectionError, TimeoutError) as error:
            self.log.debug("Closing connection: %s", error)
        except OSError:
            self.log.exception("Socket error processing request.")
        except Exception as error:  # noqa: BLE001  # gunicorn's, which logs it, and answers
            self.handle_error(req, conn.sock, conn.client, error)
        return False

    def handle_request(self, req: Any, conn: Any) -> Any:
        """As gunicorn's, but that a stream is handed over as soon as it has begun; and without gunicorn's
        own access log and hooks, for the gateway has a line of its own for each request.

        :return: whether the connection may be kept, or ``_HANDED_OVER``.
        """
        try:
            return self._answer(req, conn)
        finally:
            if self.gateway is not None:
                self.gateway.underway.release_thread()

    def _answer(self, req: Any, conn: Any) -> Any:
        self._unfinished.remove(conn)
        resp = None
        try:
            resp, environ = wsgi.create(req, conn.sock, conn.client, conn.server, self.cfg, ResponseWriter)
            environ["wsgi.multithread"] = True
            environ["wsgi.input"] = input_of(req.body)
            self.nr += 1
            if not self._keeps(conn):
                resp.force_close()
            answer = self.wsgi(environ, resp.start_response)
            if self._carry(answer, resp, conn):
                return _HANDED_OVER
            try:
                for part in answer:
                    resp.write(part)
                resp.close()
            finally:
                if hasattr(answer, "close"):
                    answer.close()
            return not resp.should_close()
        except OSError:
            raise
        except Exception:
            if resp is None or not resp.headers_sent:
                raise
            # Too late to say so: the answer stays without its end.
            self.log.exception("Error handling request")
            return False

    def _keeps(self, conn: Any) -> bool:
        """Whether its connection may stay after this request."""
        return self.alive and bool(self.cfg.keepalive) and len(self.keepalived_conns) < self.max_keepalived

    def _carry(self, answer: Any, resp: Any, conn: Any) -> bool:
        """Hand a stream over, if it is one that can be carried."""
        if self.relay is None or not isinstance(answer, Reply) or answer.channel is None:
            return False
        if isinstance(conn.sock, ssl.SSLSocket):
            return False

        def done(clean: bool) -> None:
            self._returned.append(None)
            if clean and not resp.should_close():
                self.method_queue.defer(self._take_back, conn)
            else:
                self._close(conn)

        self.relay.start(answer, conn.sock, resp.take_head(), chunked=resp.chunked, done=done)
        return True

    def _keepalive_after(self, conn: Any, keepalive: Any) -> Any:
        return keepalive if keepalive is _HANDED_OVER else super()._keepalive_after(conn, keepalive)

    def _write_error(self, sock: socket.socket, status: int, reason: str, message: str) -> None:
        """What is no HTTP is a request, too: it has its line in the log, and is counted."""
        request_id = write_error(sock, status, reason, message)
        # A failure of ours comes after the request was recorded.
        if self.gateway is not None and status != InternalError.status:
            self.gateway.recorded.tell(record_unparsed(UnparsableRequest(""), status, request_id))

    # ---------------------------------------------------------------- on the main thread

    def _count(self) -> None:
        while self._closed:
            self._closed.pop()
            self.nr_conns -= 1
        while self._handed:
            self._handed.pop()
            self.worker_connections += 1
        while self._returned:
            self._returned.pop()
            self.worker_connections -= 1

    def accept(self, listener: Any) -> None:
        self._count()
        if self.gateway is not None:
            now = time.monotonic()
            pause = self._gate.hold_back(self._crowd(self.gateway), partial(queue_of, listener), now)
            if pause:
                self._shut_until = now + pause
                self.set_accept_enabled(False)
                return
        try:
            sock, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another worker has it, or nobody wants it any more
        except OSError as error:
            if error.errno not in NO_DESCRIPTOR:
                raise
            self._refuse(listener)
            return
        self.nr_conns += 1
        self.enqueue_req(gthread.TConn(self.cfg, sock, client, self._name_of(listener)))

    def _name_of(self, listener: Any) -> Any:
        fd = listener.fileno()
        if fd not in self._names:
            self._names[fd] = listener.getsockname()
        return self._names[fd]

    def _refuse(self, listener: Any) -> None:
        """There is no descriptor for the next connection: it is told so, or at least waited for."""
        error = Overloaded(_NO_DESCRIPTOR, retry_after=1.0)
        request_id = os.urandom(16).hex()
        answer = b"" if is_tls(self.cfg) else refusal(error, "503 Service Unavailable", request_id)
        if not self._spare.refuse(listener, answer):
            time.sleep(ROOM)
        else:
            self._tell_shed("descriptors", request_id, error)

    def _tell_shed(self, reason: str, request_id: str, error: Overloaded) -> None:
        if self.gateway is not None:
            self.gateway.metrics.shed(reason)
            self.gateway.recorded.tell(record_unparsed(error, error.status, request_id))

    def enqueue_req(self, conn: Any) -> None:
        self._unfinished.add(conn, time.monotonic())
        try:
            self.tpool.submit(self._serve, conn)
        except RuntimeError:  # the system gives us not a single thread
            self._unfinished.remove(conn)
            error = Overloaded(_NO_THREAD, retry_after=1.0)
            self._tell_shed("threads", turn_away(conn, error), error)
            self._close(conn)

    def _crowd(self, gateway: Gateway) -> ThreadUsage:
        """How the threads stand, those included whose requests have yet to be read."""
        carried = self.worker_connections - self.cfg.worker_connections
        return gateway.underway.thread_usage(self.nr_conns - carried)

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled and (time.monotonic() >= self._shut_until or self._has_room()))

    def _has_room(self) -> bool:
        """A thread that was let go meanwhile need not wait for the time that the gate was shut for."""
        return self.gateway is None or not self._crowd(self.gateway).is_full

    def notify(self) -> None:
        now = time.monotonic()
        if now >= self._beat + BEAT:
            self._beat = now
            super().notify()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        self._count()
        if not self._accepting:
            now = time.monotonic()
            timeout = min(timeout, max(self._shut_until - now, 0.001), ROOM)
            for _ in range(self._unfinished.cut(now)):
                if self.gateway is not None:
                    self.gateway.metrics.shed("unfinished")
        super().wait_for_and_dispatch_events(timeout)
        self._count()

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """Asked to end: what is under way goes on, nothing new is begun, and shortly before the server's
        patience is over the rest is told."""
        if self.alive:
            self.method_queue.defer(self._drain)
        super().handle_exit(sig, frame)

    def handle_usr1(self, sig: Any, frame: Any) -> None:
        """Another file for the log, which ``--capture-output`` has put in the place of standard error."""
        super().handle_usr1(sig, frame)
        STDERR.reopen()

    def _drain(self) -> None:
        if self.gateway is None:
            return
        self.gateway.draining.set()
        grace = self.cfg.graceful_timeout
        # To call off a thousand takes a while, and the reactor carries them to their ends meanwhile.
        self.gateway.reactor.at(time.monotonic() + grace - min(LAST_WORDS, grace / 2), self._begin_end)

    def _begin_end(self) -> None:
        try:
            threading.Thread(target=self._end_calls, name="ending", daemon=True).start()
        except RuntimeError:  # no thread can be had
            self._end_calls()

    def _end_calls(self) -> None:
        assert self.gateway is not None
        ended = self.gateway.underway.end(lambda: ServerShutdown(_ENDED))
        if ended:
            self.log.warning("ended %d calls that were still under way: this process stops", ended)

    def _take_back(self, conn: Any) -> None:
        """A stream is over, and its connection may be kept."""
        self.finish_request(conn, _ended(self._keepalive_after(conn, True)))


# gunicorn takes these by their names in its own modules.
gthread.TConn = ClientConnection
base.WorkerTmp = Heartbeat
