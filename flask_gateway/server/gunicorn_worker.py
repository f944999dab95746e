"""Serves requests under gunicorn: the worker class, its streams handed to the relay, its graceful stop.

gunicorn's own threaded worker blocks in two places. The accepting thread waits up to two seconds for each
peer to close, and a thread waits without a timeout for the next byte of a request. It also answers unparsable
requests with an HTML page. This class bounds both waits and answers with JSON. The gateway also runs under
any other worker class, with those weaknesses.
"""

from __future__ import annotations

import gc
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn import util
from gunicorn.http import wsgi
from gunicorn.http.errors import NoMoreData
from gunicorn.http.message import HeaderPolicy
from gunicorn.workers import base

from ..guards.inflight import MAY_WAIT_SINCE, AwaitsTurn
from ..model.errors import InternalError, ServerShutdown
from ..model.reply import Reply
from ..streaming.relay import Relay
from ..telemetry.log_output import STDERR
from .accept_loop import AcceptLoop
from .body_input import input_of
from .client_connection import (
    FIRST_WAIT,
    SWITCHING,
    ClientConnection,
    HeadIncomplete,
    ResponseWriter,
    UnparsableRequest,
    is_tls,
    write_error,
)
from .heartbeat import Heartbeat
from .kept_connections import KeptConnections
from .load_shedding import record_unparsed
from .log_filters import drop_timeouts
from .malloc import give_back_free_memory, give_back_large_blocks
from .stream_turns import WaitingStream, rewound
from .thread_pool import LifoThreadPool

if TYPE_CHECKING:
    from ..app.build import Gateway
    from ..realtime.tunnels import Tunnels

#: How long before the graceful timeout ends the calls still in flight are cancelled, seconds.
CANCEL_MARGIN = 5.0
_ENDED = "The server is stopping, and this answer took longer than it waits. Send the request again."
#: Thresholds of Python's garbage collector. Calls leave almost no cycles behind, and Python's own 700 would
#: scan each call's objects several times. A collection stops all threads, the relay's too: so not too many
#: objects at a time.
GC_THRESHOLDS = (5_000, 20, 20)
#: How long a thread keeps the GIL while others want it, seconds. Every thread blocks on I/O long before that;
#: Python's own 5 ms would only add switches.
SWITCH_INTERVAL = 0.02
#: How often a worker updates its gauges, seconds.
REPORT_PERIOD = 1.0
#: The most requests on one connection.
MOST_REQUESTS = 200


def reserved_threads(threads: int) -> int:
    """How many of the threads are kept free of calls, for health, metrics and status requests."""
    return min(4, threads // 4)


#: The results of a request whose stream the relay carries on, and of one whose head has not arrived whole.
_HANDED_OVER, _PARKED = object(), object()


def is_unix_socket(message: HeaderPolicy) -> bool:
    """Replaces gunicorn's check of the peer where no address is trusted. gunicorn would parse each peer's
    address to compare it with none."""
    return not isinstance(message.peer_addr, tuple)


class GatewayWorker(AcceptLoop):
    """gunicorn's ``worker_class``."""

    relay: Relay | None = None
    _sessions: Tunnels | None = None

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """gunicorn's method warns that idle connections would take threads. Here they take none."""

    def init_process(self) -> None:
        give_back_large_blocks()
        # gunicorn reads its settings twenty times per request. As attributes they take no method calls.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        if not self.cfg.forwarded_allow_ips:
            HeaderPolicy._peer_is_trusted_proxy = is_unix_socket
        self.log.error_log.addFilter(drop_timeouts)
        util.write_error = self._write_error  # gunicorn looks it up by name in this module
        super().init_process()

    def get_thread_pool(self) -> LifoThreadPool:
        return LifoThreadPool(self.cfg.threads)

    def run(self) -> None:
        try:
            super().run()
        finally:  # threads that wait for work would keep the process alive
            self.tpool.shutdown()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        if hasattr(self.wsgi, "begin_here"):
            self.wsgi.begin_here(self.cfg.workers > 1)
        # Everything imported so far stays, so exclude it from collections.
        gc.collect()
        gc.freeze()
        give_back_free_memory()
        gc.set_threshold(*GC_THRESHOLDS)
        sys.setswitchinterval(SWITCH_INTERVAL)
        gateway: Gateway | None = getattr(self.wsgi, "extensions", {}).get("gateway")
        if gateway is None:
            return
        self.gateway = gateway
        gateway.inflight.limit_threads(self.cfg.threads - reserved_threads(self.cfg.threads))
        gateway.metrics.in_flight(())  # creates the series
        gateway.reactor.every(REPORT_PERIOD, self._report)
        if Relay.is_possible():
            settings = gateway.settings
            ClientConnection.carries_sessions = not is_tls(self.cfg)
            self.relay = Relay(gateway.reactor, settings.stream_buffer_bytes, settings.send_timeout_seconds)
            if not is_tls(self.cfg):
                self._take_turns(gateway)
            if self.cfg.keepalive and not is_tls(self.cfg):
                self._kept = KeptConnections(
                    gateway.reactor.poller, self.cfg.keepalive, self._next_arrived, self._drop_kept
                )
        if gateway.settings.config is not None:
            self._follow_file(gateway)

    def _follow_file(self, gateway: Gateway) -> None:
        # Imported here, because the master imports this module and must import nothing else of the gateway.
        from ..app.preflight import load_checked
        from ..app.reload import Reloader

        load = partial(load_checked, os.environ, binds=self.cfg.bind, workers=self.cfg.workers)
        Reloader(gateway, load, self._take_over, self.log.error_log).start()

    def _take_over(self, gateway: Gateway) -> None:
        """Serve with this gateway from now on, because the settings have changed."""
        self.gateway = self.wsgi.extensions["gateway"] = gateway
        if self.relay is not None:
            settings = gateway.settings
            self.relay.buffer = settings.stream_buffer_bytes
            self.relay.send_timeout = settings.send_timeout_seconds

    def _report(self) -> None:
        """Update the gauges, on the reactor's thread."""
        assert self.gateway is not None
        self.gateway.metrics.threads(self.gateway.inflight.threads, self.cfg.threads)
        self.gateway.metrics.streams(self.gateway.inflight.streams)
        if self._sessions is not None:
            self.gateway.metrics.sessions(len(self._sessions))
        self.gateway.metrics.event_loop_lag(self.gateway.reactor.longest_iteration())
        self.gateway.metrics.in_flight(self.gateway.inflight.standing(time.monotonic()))

    # ---------------------------------------------------------------- on a thread of the pool

    def _serve(self, conn: Any) -> None:
        """Serve one request, then close its connection here, keep it, park it, or leave it to the relay."""
        self._serve_by(self.handle, conn, conn)

    def _serve_by(self, way: Callable[[Any], Any], what: Any, conn: Any) -> None:
        kept: Any = False
        try:
            kept = way(what)
        finally:
            self._pending_heads.remove(conn)
            if kept is _HANDED_OVER:
                self._handed_over.append(None)
                self._wake()
            elif kept is _PARKED:
                self.method_queue.defer(self._park, conn)
            elif isinstance(kept, WaitingStream):
                self._await_turn(kept)
            elif kept:
                self._keep(conn)
            else:
                self._close(conn)

    def handle(self, conn: Any) -> Any:
        """Read one request and answer it. Unlike gunicorn, leave the socket's blocking mode alone.

        :return: whether to keep the connection, or ``_HANDED_OVER``, or ``_PARKED``.
        """
        if is_tls(self.cfg):
            return super().handle(conn)
        req = None
        try:
            if not (conn.initialized or conn.wait_for_data(FIRST_WAIT)):
                return _PARKED
            conn.init()
            req = conn.next_request()
            return self.handle_request(req, conn)
        except HeadIncomplete:
            return _PARKED
        except (NoMoreData, StopIteration, ConnectionError, TimeoutError) as error:
            self.log.debug("Closing connection: %s", error)
        except OSError:
            self.log.exception("Socket error processing request.")
        except Exception as error:  # noqa: BLE001  # gunicorn's method logs it and answers
            self.handle_error(req, conn.sock, conn.client, error)
        return False

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer, and hand a stream to the relay as soon as it has begun.

        gunicorn's access log and hooks are left out: the gateway writes its own line for each request.

        :return: whether the connection may be kept, or ``_HANDED_OVER``.
        """
        return self._on_this_thread(conn, self._answer, req, conn)

    def _on_this_thread(self, conn: Any, work: Callable[..., Any], *args: Any) -> Any:
        try:
            return work(*args)
        finally:
            conn.before_wait = None
            if self.gateway is not None:
                self.gateway.inflight.release_thread()

    def _answer(self, req: Any, conn: Any) -> Any:
        self._pending_heads.remove(conn)
        resp, environ = wsgi.create(req, conn.sock, conn.client, conn.server, self.cfg, ResponseWriter)
        environ["wsgi.multithread"] = True
        environ["wsgi.input"] = input_of(req.body)
        environ["flask_gateway.connection"] = conn
        self.nr += 1
        if not self._keeps(conn):
            resp.force_close()
        if self._turns is not None and self._turns.has_room and self.alive:
            environ[MAY_WAIT_SINCE] = time.monotonic()
        return self._reply(conn, resp, environ)

    def _reply(self, conn: Any, resp: Any, environ: dict[str, Any]) -> Any:
        try:
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
            return resp.stays_open and resp.is_complete
        except AwaitsTurn as turn:
            return rewound(turn.caller, conn, resp, environ)
        except OSError:
            raise
        except Exception:  # an answer that has begun cannot become an error
            if not resp.headers_sent:
                raise
            # The head is sent, so the caller can only learn of it by an answer without its end.
            self.log.exception("Error handling request")
            return False

    def _resume(self, stream: WaitingStream) -> None:
        """Answer a stream that has waited. Any thread may call this."""
        self._returned.append(None)
        self.tpool.submit(self._serve_by, self._answer_again, stream, stream.conn)

    def _answer_again(self, stream: WaitingStream) -> Any:
        conn = stream.conn
        try:
            return self._on_this_thread(conn, self._reply, conn, stream.resp, stream.environ)
        except (ConnectionError, TimeoutError) as error:
            self.log.debug("Closing connection: %s", error)
        except OSError:
            self.log.exception("Socket error processing request.")
        except Exception as error:  # noqa: BLE001  # gunicorn's method logs it and answers
            self.handle_error(None, conn.sock, conn.client, error)
        finally:
            self._next_turn(stream.caller)  # it may have ended without taking the thread that was free
        return False

    def _keeps(self, conn: Any) -> bool:
        """Whether the connection may be kept after this request.

        While callers wait for a thread, none is kept: a caller's next connection may find another worker. And
        none is kept for ever, so that connections spread over the workers.
        """
        kept = self._kept
        return (
            kept is not None
            and self.alive
            and self._accepting
            and kept.has_room
            and conn.parser.req_count < MOST_REQUESTS
        )

    def _carry(self, answer: Any, resp: Any, conn: Any) -> bool:
        """Hand the answer to the relay, if it is a stream on a plain socket."""
        if self.relay is None or not isinstance(answer, Reply) or answer.channel is None:
            return resp.status_code == SWITCHING and self._carry_session(answer, resp, conn)
        if isinstance(conn.sock, ssl.SSLSocket):
            return False

        def done(clean: bool) -> None:
            self._returned.append(None)
            if clean and resp.stays_open and resp.chunked:
                self._keep(conn)
            else:
                self._close(conn)

        self.relay.start(answer, conn.sock, resp.take_head(), chunked=resp.chunked, done=done)
        return True

    def _carry_session(self, tunnel: Any, resp: Any, conn: Any) -> bool:
        """Relay a WebSocket session."""
        assert self.relay is not None
        if self._sessions is None:
            from ..realtime.tunnels import Tunnels  # an extra that is off is not imported

            self._sessions = Tunnels(self.relay)

        def done(clean: bool) -> None:
            self._returned.append(None)
            self._close(conn)

        self._sessions.start(tunnel, conn.sock, resp.take_head(), conn.take_ahead(), done)
        return True

    def _write_error(self, sock: socket.socket, status: int, reason: str, message: str) -> None:
        """Answer an unparsable request. It is logged and counted like any other request."""
        request_id = write_error(sock, status, reason, message)
        # An internal error occurs after the request was recorded.
        if self.gateway is not None and status != InternalError.status:
            self.gateway.service.tell(record_unparsed(UnparsableRequest(""), status, request_id))

    # ---------------------------------------------------------------- on the main thread

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """Start to drain on SIGTERM: calls in flight go on, no call begins.

        Shortly before the graceful timeout the remaining calls are cancelled.
        """
        if self.alive:
            self.method_queue.defer(self._drain)
        super().handle_exit(sig, frame)

    def handle_usr1(self, sig: Any, frame: Any) -> None:
        """Reopen the log file that ``--capture-output`` has put in place of standard error."""
        super().handle_usr1(sig, frame)
        STDERR.reopen()

    def _drain(self) -> None:
        if self.gateway is None:
            return
        self.gateway.draining.set()
        if self._turns is not None:
            self._turns.end()
        if self._sessions is not None:
            self._sessions.drain()
        grace = self.cfg.graceful_timeout
        cancel_at = time.monotonic() + grace - min(CANCEL_MARGIN, grace / 2)
        self.gateway.reactor.at(cancel_at, self._start_cancelling)

    def _start_cancelling(self) -> None:
        # To cancel a thousand calls takes a while, and the reactor must finish their streams meanwhile.
        try:
            threading.Thread(target=self._cancel_calls, name="ending", daemon=True).start()
        except RuntimeError:  # the system starts no thread
            self._cancel_calls()

    def _cancel_calls(self) -> None:
        assert self.gateway is not None
        ended = self.gateway.inflight.end(lambda: ServerShutdown(_ENDED))
        if ended:
            self.log.warning("cancelled %d calls that were still in flight: this process stops", ended)


# gunicorn looks this class up by name in its own module.
base.WorkerTmp = Heartbeat
