"""gunicorn's threaded worker, without its two ways of standing still, and without its HTML.

As it is, the thread that accepts connections also closes them, and waits up to two seconds for each
peer to hang up first; and a thread waits for ever for the next byte of a request. Both are one class
away from being bounded. And what it refuses itself, because it is not HTTP, it refuses with a page for
browsers. The gateway runs under any other worker too, with those weaknesses.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from concurrent import futures
from contextlib import suppress
from datetime import datetime
from functools import partial
from ssl import SSLSocket
from typing import TYPE_CHECKING, Any

import msgspec
from gunicorn import util
from gunicorn.http import wsgi
from gunicorn.workers import gthread

from .errors import CallerError, ServerShutdown
from .gate import Crowd, Gate
from .relay import Relay
from .reply import Reply

if TYPE_CHECKING:
    from .wiring import Gateway

#: The longest wait for a caller's next bytes, or for it to take ours, seconds.
CALLER_SILENCE = 30.0
#: What a caller has sent and we have not read would reset the connection when it is closed, and take
#: the end of our answer with it. So much of it is thrown away first: reads, of bytes each.
LEFTOVER_READS, LEFTOVER_SIZE = 16, 65536


class Connection(gthread.TConn):  # type: ignore[misc]  # gunicorn ships no types
    """A caller's connection."""

    def init(self) -> None:
        """Called before every request, when the socket has just been made blocking."""
        super().init()
        self.sock.settimeout(CALLER_SILENCE)

    def close(self, graceful: bool = False) -> None:
        """Called on the accepting thread, so it waits for nobody."""
        sock: socket.socket = self.sock
        with suppress(OSError):
            sock.setblocking(False)
            if graceful:
                sock.shutdown(socket.SHUT_WR)
                for _ in range(LEFTOVER_READS):
                    if not sock.recv(LEFTOVER_SIZE):
                        break
        with suppress(OSError):
            sock.close()


#: How long before the server's patience is over the calls still under way are ended, seconds.
LAST_WORDS = 5.0
_ENDED = "The server is stopping, and this answer took longer than it waits. Send the request again."
#: How often the gauges of a worker are brought up to date, seconds.
REPORT = 1.0


def spare(threads: int) -> int:
    """How many of so many threads calls leave to those who ask for health, figures and status."""
    return min(4, threads // 4)


#: What handling a request comes to when its stream is carried on without us.
_CARRIED = object()


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """To be named as gunicorn's ``worker_class``.

    What is said of a connection by gunicorn's own main thread is: it counts until it is closed. One whose
    stream is carried takes no thread, so as many more are accepted.
    """

    gateway: Gateway | None = None
    relay: Relay | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gate = Gate()
        #: Until when no connection is taken.
        self._shut_until = 0.0

    def init_process(self) -> None:
        self.log.error_log.addFilter(_is_no_timeout)
        super().init_process()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        gateway: Gateway | None = getattr(self.wsgi, "extensions", {}).get("gateway")
        if gateway is None:
            return
        self.gateway = gateway
        gateway.underway.limit_threads(self.cfg.threads - spare(self.cfg.threads))
        gateway.watcher.every(REPORT, self._report)
        if Relay.is_possible():
            told = gateway.settings
            self.relay = Relay(gateway.watcher, told.stream_buffer_bytes, told.send_timeout_seconds)
        if gateway.settings.config is not None:
            self._follow_file(gateway)

    def _follow_file(self, gateway: Gateway) -> None:
        # Not before: the master, which imports this file, is to import nothing more.
        from .reload import Reloader
        from .to_serve import resolve_to_serve

        load = partial(resolve_to_serve, os.environ, binds=self.cfg.bind, workers=self.cfg.workers)
        Reloader(gateway, load, self._take_over, self.log.error_log).start()

    def _take_over(self, gateway: Gateway) -> None:
        """From now on this gateway serves: settings have changed."""
        self.gateway = self.wsgi.extensions["gateway"] = gateway
        if self.relay is not None:
            told = gateway.settings
            self.relay.buffer, self.relay.send_timeout = told.stream_buffer_bytes, told.send_timeout_seconds

    def _report(self) -> None:
        """On the watcher's thread."""
        assert self.gateway is not None
        self.gateway.metrics.threads(self.gateway.underway.threads, self.cfg.threads)
        self.gateway.metrics.streams(self.gateway.underway.streams)

    # ---------------------------------------------------------------- on a thread of the pool

    def handle_request(self, req: Any, conn: Any) -> Any:
        """As gunicorn's, but that a stream is handed over as soon as its head is sent.

        :return: whether the connection may be kept, or ``_CARRIED``.
        """
        try:
            return self._answer(req, conn)
        finally:
            if self.gateway is not None:
                self.gateway.underway.let_go()

    def _answer(self, req: Any, conn: Any) -> Any:
        resp = environ = None
        try:
            self.cfg.pre_request(self, req)
            began = datetime.now()
            resp, environ = wsgi.create(req, conn.sock, conn.client, conn.server, self.cfg)
            environ["wsgi.multithread"] = True
            self.nr += 1
            if not self._keeps(conn):
                resp.force_close()
            answer = self.wsgi(environ, resp.start_response)
            if self._carry(answer, resp, conn):
                return _CARRIED
            try:
                for part in answer:
                    resp.write(part)
                resp.close()
            finally:
                self.log.access(resp, req, environ, datetime.now() - began)
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
        finally:
            self.cfg.post_request(self, req, environ, resp)

    def _keeps(self, conn: Any) -> bool:
        """Whether its connection may stay after this request."""
        return self.alive and bool(self.cfg.keepalive) and len(self.keepalived_conns) < self.max_keepalived

    def _carry(self, answer: Any, resp: Any, conn: Any) -> bool:
        """Hand a stream over, if it is one that can be carried."""
        if self.relay is None or not isinstance(answer, Reply) or answer.channel is None:
            return False
        if isinstance(conn.sock, SSLSocket):
            return False
        try:
            resp.send_headers()
        except BaseException:
            answer.close()
            raise

        def done(clean: bool) -> None:
            self.method_queue.defer(self._take_back, conn, clean and not resp.should_close())

        self.relay.take(answer, conn.sock, chunked=resp.chunked, done=done)
        return True

    def _keepalive_after(self, conn: Any, keepalive: Any) -> Any:
        return keepalive if keepalive is _CARRIED else super()._keepalive_after(conn, keepalive)

    # ---------------------------------------------------------------- on the main thread

    def accept(self, listener: Any) -> None:
        now = time.monotonic()
        pause = self._gate.hold_back(self._crowd(self.gateway), now) if self.gateway else 0.0
        if pause:
            self._shut_until = now + pause
            self.set_accept_enabled(False)
        else:
            super().accept(listener)

    def _crowd(self, gateway: Gateway) -> Crowd:
        """How the threads stand, those included whose requests have yet to be read."""
        crowd = gateway.underway.crowd()
        carried = self.worker_connections - self.cfg.worker_connections
        return crowd._replace(held=max(crowd.held, self.nr_conns - carried))

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled and time.monotonic() >= self._shut_until)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        shut_for = self._shut_until - time.monotonic()
        super().wait_for_and_dispatch_events(min(timeout, shut_for) if shut_for > 0 else timeout)

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """Asked to end: what is under way goes on, nothing new is begun, and shortly before the server's
        patience is over the rest is told."""
        if self.alive:
            self.method_queue.defer(self._drain)
        super().handle_exit(sig, frame)

    def _drain(self) -> None:
        if self.gateway is None:
            return
        self.gateway.draining.set()
        grace = self.cfg.graceful_timeout
        self.gateway.watcher.at(time.monotonic() + grace - min(LAST_WORDS, grace / 2), self._end_calls)

    def _end_calls(self) -> None:
        """On the watcher's thread."""
        assert self.gateway is not None
        ended = self.gateway.underway.end(lambda: ServerShutdown(_ENDED))
        if ended:
            self.log.warning("ended %d calls that were still under way: this process stops", ended)

    def finish_request(self, conn: Any, fs: Any) -> None:
        if not fs.cancelled() and fs.exception() is None and fs.result() is _CARRIED:
            self.worker_connections += 1
        else:
            super().finish_request(conn, fs)

    def _take_back(self, conn: Any, keep: bool) -> None:
        """A stream is over."""
        self.worker_connections -= 1
        ended: futures.Future[bool] = futures.Future()
        ended.set_result(keep and self._keepalive_after(conn, keep))
        super().finish_request(conn, ended)


def _is_no_timeout(record: logging.LogRecord) -> bool:
    """A caller that fell silent is not worth a traceback in the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], TimeoutError))


class NotHttp(CallerError):
    """The server could not read the request at all, so no view ever saw it."""

    code = "bad_request"


def write_error(sock: socket.socket, status: int, reason: str, message: str) -> None:
    """Answer what gunicorn refuses, in the envelope of all other refusals.

    :param message: gunicorn's, which may quote the caller.
    """
    error = NotHttp(f"{reason}: {message[:200]}" if message else f"{reason}.")
    body = msgspec.json.encode(error.envelope())
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nx-request-id: {os.urandom(16).hex()}\r\n"
        f"x-gateway-error-origin: {error.origin}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode("ascii") + body)


# gunicorn takes both by their names in its own modules.
gthread.TConn = Connection
util.write_error = write_error
