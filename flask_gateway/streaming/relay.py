"""Relays committed streams on the reactor's thread, so that a stream needs no thread of its own.

A serving thread brings a stream to its first content. Then it hands the reply and the caller's socket to the
relay and is free. From then on the reactor's thread forwards the stream: when upstream bytes arrive, the
reply decides which of them the caller receives. The relay never blocks:

- The relay buffers what the caller does not read at once. When the buffer is full, the relay stops reading
  the upstream.
- A reply that has to be resumed elsewhere, or to read a large event, goes to a thread for that step.
- A thread does the settling at a stream's end (limits, circuit breakers, the log), because it may block.

The attempt's timeouts and the hang-up watch cut the upstream's connection, which then becomes readable. Only
the idle timeout is the relay's own, because a blocking thread uses its socket's timeout for that.
"""

from __future__ import annotations

import logging
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol

from ..model.large_json import SLICE
from ..model.protocols import Handle, Timekeeper
from ..model.reply import Reply
from ..model.source import Channel, Postponed
from ..reactor.fair_poller import FairPoller
from ..reactor.socket_io import is_readable
from . import PING
from .chunked import chunk
from .submit import run_after, submitted

log = logging.getLogger(__name__)

#: Unsent bytes of one stream at which the relay stops reading the upstream.
BUFFER = 256 * 1024
#: A caller that reads nothing for so long is dropped, seconds.
SEND_TIMEOUT = 30.0
#: Threads that settle ended streams, and threads that resume broken ones.
SETTLERS, RESUMERS = 4, 32

_IN = getattr(select, "EPOLLIN", 0)
#: The caller's socket is polled, hang-ups included, only while it has unsent data.
_OUT = getattr(select, "EPOLLOUT", 0) | getattr(select, "EPOLLRDHUP", 0)
_GONE = getattr(select, "EPOLLRDHUP", 0) | getattr(select, "EPOLLHUP", 0) | getattr(select, "EPOLLERR", 0)

#: Gives the socket back when a stream has ended, on any thread; the argument says whether all data was sent.
Done = Callable[[bool], None]


class RelayReactor(Timekeeper, Protocol):
    """The reactor whose thread runs the relay, and its poller."""

    @property
    def poller(self) -> FairPoller: ...


class Relay:
    """All relayed streams of a process. There is one per worker, created after the fork.

    :param buffer: the most unsent bytes of a caller. :param send_timeout: seconds it may read nothing.
    """

    def __init__(
        self, reactor: RelayReactor, buffer: int = BUFFER, send_timeout: float = SEND_TIMEOUT
    ) -> None:
        self.reactor = reactor
        self.buffer = buffer
        self.send_timeout = send_timeout
        self.settlers = ThreadPoolExecutor(SETTLERS, thread_name_prefix="settling")
        self.resumers = ThreadPoolExecutor(RESUMERS, thread_name_prefix="resuming")
        self.poller = reactor.poller
        self.streams: set[_Stream] = set()

    def __len__(self) -> int:
        return len(self.streams)

    @staticmethod
    def is_possible() -> bool:
        return hasattr(select, "epoll")

    def start(self, reply: Reply, sock: socket.socket, head: bytes, *, chunked: bool, done: Done) -> None:
        """Relay the reply to its end. The calling thread must not use the reply or the socket any more.

        :param reply: has a channel, and nothing iterates it any more. :param sock: the caller's.
        :param head: the response head. :param chunked: whether the body uses chunked transfer encoding.
        """
        stream = _Stream(self, reply, sock, head, chunked, done)
        self.streams.add(stream)
        self.reactor.at(time.monotonic(), partial(stream.guarded, stream.begin))

    def close(self) -> None:
        """Stop the threads after their current work. Streams in progress continue."""
        self.settlers.shutdown(wait=False)
        self.resumers.shutdown(wait=False)


class _Stream:
    """One relayed stream. Its methods run on the reactor's thread unless they say otherwise."""

    __slots__ = (
        *("_blocked_since", "_channel", "_chunked", "_client_gone", "_done", "_ended", "_ending", "_fd"),
        *("_head", "_last_received", "_last_sent", "_later", "_on_thread", "_paused", "_poller"),
        *("_relay", "_reply", "_settled", "_sock", "_timer", "_unsent", "_upstream"),
    )

    def __init__(
        self, relay: Relay, reply: Reply, sock: socket.socket, head: bytes, chunked: bool, done: Done
    ) -> None:
        self._relay = relay
        self._poller = relay.poller
        self._reply = reply
        self._sock, self._fd = sock, sock.fileno()
        self._head, self._chunked = head, chunked
        self._done = done
        self._settled: Future[None] | None = None
        #: Data that the caller has not read yet, what follows it, and since when the caller has read nothing.
        self._unsent = bytearray()
        self._later = memoryview(b"")
        self._blocked_since = 0.0
        #: The polled channel and its descriptor. The relay pauses reading while too much is unsent.
        self._channel: Channel | None = None
        self._upstream, self._paused = -1, False
        #: When the upstream last sent data, and when the caller last got data.
        self._last_received = self._last_sent = time.monotonic()
        #: Whether a thread has the reply; the caller is gone; only unsent data is left; the stream is over.
        self._on_thread = self._client_gone = self._ending = self._ended = False
        self._timer: Handle | None = None

    def guarded(self, step: Callable[[], None]) -> None:
        """Run a step. If it raises, drop this stream, so that other streams continue."""
        try:
            step()
        except Postponed:
            self._give_to_thread(self._reply.catch_up)
        except Exception:  # noqa: BLE001  # `_fail` logs it
            self._fail()

    def _fail(self) -> None:
        log.exception("the relay failed on a stream")
        self._drop()

    def begin(self) -> None:
        self._reply.settle_with(self._settle)
        self._sock.setblocking(False)
        self._continue()

    def _settle(self, work: Callable[[], None]) -> None:
        """Submit settling work. A resumed reply settles more than once: each runs after the one before."""
        turn = partial(run_after, self._settled, work)
        self._settled = submitted(self._relay.settlers, turn)
        if self._settled is None:
            turn()

    def _continue(self) -> None:
        """Continue the reply: at its start, after a thread gave it back, or after a pause."""
        if self._reply.outcome is not None:
            self._finish()
            return
        channel = self._reply.channel
        if channel is None and not self._reply.over:
            self._resume_on_thread()
            return
        if channel is not None and channel is not self._channel:
            channel.unblock()
        self._pump()

    # ---------------------------------------------------------------- from the upstream

    def _upstream_ready(self, events: int) -> None:
        """Handle upstream events. This runs once per event, so it avoids a call of :meth:`guarded`."""
        try:
            self._pump()
        except Postponed:
            self._give_to_thread(self._reply.catch_up)
        except Exception:  # noqa: BLE001  # `_fail` logs it
            self._fail()

    def _pump(self) -> None:
        """Forward the data that has arrived."""
        reply = self._reply
        self._last_received = self._poller.now
        while True:
            if data := reply.receive():
                self._send(data)
            channel = self._channel
            if self._ended:
                return
            if reply.outcome is not None:
                self._finish()
                return
            if channel is not None and not (reply.over or self._unsent or self._paused or channel.holds):
                return  # the usual case: the channel is polled already
            if reply.over:
                continue
            channel = reply.channel
            if channel is None:
                self._resume_on_thread()
                return
            if channel is not self._channel:
                self._unpoll_channel()
                channel.unblock()
            if len(self._unsent) > self._relay.buffer or not channel.holds:
                self._poll_channel(channel)
                return

    def _poll_channel(self, channel: Channel) -> None:
        paused = len(self._unsent) > self._relay.buffer
        if channel is self._channel and paused == self._paused:
            return
        new, self._paused = channel is not self._channel, paused
        if new:
            self._channel, self._upstream = channel, channel.fileno()
        # With an empty event mask, epoll still reports a connection that was cut or reset.
        self._poller.wait_for(self._upstream, 0 if paused else _IN, self._upstream_ready)
        self._start_timer()

    def _unpoll_channel(self) -> None:
        if self._channel is not None:
            self._poller.forget(self._upstream)
        self._channel, self._paused = None, False

    def _resume_on_thread(self) -> None:
        if len(self._unsent) > self._relay.buffer:
            self._unpoll_channel()
            self._paused = True
        else:
            self._give_to_thread(partial(next, self._reply, b""))

    def _give_to_thread(self, read: Callable[[], bytes]) -> None:
        """Let a thread read the next data, because that may block or take long."""
        self._unpoll_channel()
        self._on_thread = submitted(self._relay.resumers, partial(self._read_on_thread, read)) is not None
        if self._on_thread:
            self._start_timer()
        else:
            log.error("no thread can be started for a stream")
            self._drop()

    def _read_on_thread(self, read: Callable[[], bytes]) -> None:
        data = b""
        try:
            data = read()
        except Exception:  # the relay drops this stream and keeps the others
            log.exception("a stream failed on a resuming thread")
            self._client_gone = True
        self._relay.reactor.at(time.monotonic(), partial(self.guarded, partial(self._reply_returned, data)))

    def _reply_returned(self, data: bytes) -> None:
        self._on_thread = False
        if self._client_gone:
            self._drop()
            return
        self._send_slices(memoryview(data))

    # ---------------------------------------------------------------- to the caller

    def _send_slices(self, data: memoryview) -> None:
        """Send a large event as the caller reads it: to copy the whole takes long. Then continue."""
        while data and len(self._unsent) <= self._relay.buffer and not self._ended:
            self._send(bytes(data[:SLICE]))
            data = data[SLICE:]
        self._later = data
        if not (data or self._ended):
            self._continue()

    def _send(self, data: bytes) -> None:
        """Send data to the caller. :param data: empty at the end of the stream."""
        if self._client_gone:
            return
        self._last_sent = self._poller.now
        if self._chunked:
            data = chunk(data)
        if self._head:
            data, self._head = self._head + data, b""
        if not self._unsent:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._drop()
                return
            if sent == len(data):
                return
            self._blocked_since = self._poller.now
            self._unsent += memoryview(data)[sent:]
            self._poller.wait_for(self._fd, _OUT, self._caller_ready)
            self._start_timer()
        else:
            self._unsent += data

    def _caller_ready(self, events: int) -> None:
        self.guarded(self._drop if events & _GONE else self._send_more)

    def _send_more(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self._drop()
            return
        del self._unsent[:sent]
        self._blocked_since = self._last_sent = self._poller.now
        if not self._unsent:
            self._poller.forget(self._fd)
            if self._ending:
                self._end(clean=not self._reply.truncated)
                return
            self._start_timer()
        if len(self._unsent) <= self._relay.buffer // 2:
            if self._later:
                self._send_slices(self._later)
            elif self._paused:
                self._continue()

    # ---------------------------------------------------------------- clocks

    def _start_timer(self) -> None:
        """Start the timer for the next timeout. When it fires, the deadline has usually moved on."""
        now = time.monotonic()
        when = self._blocked_since + self._relay.send_timeout if self._unsent else self._last_sent + PING
        if self._channel is not None and not self._paused:
            when = min(when, self._last_received + self._channel.patience)
        if self._timer is not None:
            self._timer.cancel()
        when = max(now + 0.01, when)
        self._timer = self._relay.reactor.at(when, partial(self.guarded, self._timer_fired))

    def _timer_fired(self) -> None:
        now = time.monotonic()
        if self._ended:
            return
        if self._unsent and now >= self._blocked_since + self._relay.send_timeout:
            self._drop()
            return
        if self._channel and not self._paused and now >= self._last_received + self._channel.patience:
            self._check_silence(self._channel, now)
        if now >= self._last_sent + PING and not self._unsent and not self._ending:
            self._ping()
        if not self._ended:
            self._start_timer()

    def _ping(self) -> None:
        """Keep the answer open, if its format has a word that says nothing."""
        if ping := self._reply.transcript.ping:
            self._send(ping)
        else:
            self._last_sent = self._poller.now

    def _check_silence(self, channel: Channel, now: float) -> None:
        """Treat the upstream as timed out, unless unread bytes show that our loop was late."""
        if is_readable(self._upstream):
            self._pump()
        else:
            self._last_received = now
            channel.expire()

    # ---------------------------------------------------------------- the end

    def _finish(self) -> None:
        """Finish the body after the reply has ended, with success or with an error event."""
        self._unpoll_channel()
        self._ending = True
        if (self._chunked or self._head) and not self._reply.truncated:
            self._send(b"")
        if not self._unsent and not self._ended:
            self._end(clean=not self._reply.truncated)

    def _drop(self) -> None:
        """Drop the stream, because its caller has left or reads nothing."""
        self._client_gone = True
        self._poller.forget(self._fd)
        if self._on_thread:
            self._reply.abandon()
            return  # the rest follows when the thread gives the reply back
        self._unpoll_channel()
        self._reply.close()
        self._end(clean=False)

    def _end(self, *, clean: bool) -> None:
        if self._ended:
            return
        self._ended = True
        self._poller.forget(self._fd)
        self._relay.streams.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        settled, self._settled, done = self._settled, None, self._done
        if settled is None:
            done(clean)
        else:
            settled.add_done_callback(lambda _: done(clean))  # until then, settling may use the socket
