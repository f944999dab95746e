"""Carries committed streams without a thread for each: threads decide, the relay carries.

A thread that has brought a stream to its first content hands over the reply and the caller's socket, and
is free. From then on the reactor's thread moves it: when the upstream has sent something, the reply says
what of it is to be passed on. Nothing here waits for anybody:

- what the caller does not take at once is kept, up to a bound; beyond it the upstream is not read;
- a reply that cannot go on by itself, because it has to be continued elsewhere, is given to a thread
  for that step, and comes back;
- what is to be done at a stream's end (limits, circuits, the log) is done by a thread, for it may wait.

The clocks of the exchange ring as ever, and a caller's leaving is seen as ever: both cut the upstream's
line, and a line that is cut turns readable. Only the silence between two parts, which a waiting thread
leaves to its socket's timeout, has a clock here.
"""

from __future__ import annotations

import logging
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Protocol

from ..model.protocols import Handle, Timekeeper
from ..model.reply import Channel, Reply
from ..reactor.fair_poller import FairPoller
from ..reactor.socket_io import is_readable

log = logging.getLogger(__name__)

#: Bytes that may wait for a caller before its upstream is no longer read.
BUFFER = 256 * 1024
#: A caller that takes nothing for so long is dropped, seconds.
SEND_TIMEOUT = 30.0
#: The longest that a caller hears nothing, seconds, and the comment that breaks the silence.
PING, PING_EVENT = 15.0, b": ping\n\n"
#: Threads that tell of ends, and threads in which broken streams are continued.
SETTLERS, RESUMERS = 4, 32

_IN = getattr(select, "EPOLLIN", 0)
#: A caller is waited for only when it has not taken all: then its leaving is told here, too.
_OUT = getattr(select, "EPOLLOUT", 0) | getattr(select, "EPOLLRDHUP", 0)
_GONE = getattr(select, "EPOLLRDHUP", 0) | getattr(select, "EPOLLHUP", 0) | getattr(select, "EPOLLERR", 0)

#: Told, on any thread, when a stream is over and its socket is the giver's again; whether all was sent.
Done = Callable[[bool], None]


class RelayReactor(Timekeeper, Protocol):
    """Whose thread does the carrying."""

    @property
    def poller(self) -> FairPoller:
        """The descriptors that its thread looks after."""
        ...


class Relay:
    """All streams of a process that no thread carries. Made in the process that serves, one per process.

    :param buffer: bytes that may wait for a caller. :param send_timeout: seconds for it to take any.
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
        self._streams: set[_Stream] = set()

    @staticmethod
    def is_possible() -> bool:
        """Whether this platform has what it takes."""
        return hasattr(select, "epoll")

    def __len__(self) -> int:
        """How many streams are being carried."""
        return len(self._streams)

    def start(self, reply: Reply, sock: socket.socket, head: bytes, *, chunked: bool, done: Done) -> None:
        """Carry the reply to its end. From any thread, which has nothing more to do with either.

        :param reply: iterated no further, and with a channel. :param sock: the caller's.
        :param head: what is to be sent before it.
        :param chunked: whether the body is framed in chunks.
        """
        stream = _Stream(self, reply, sock, head, chunked, done)
        self._streams.add(stream)
        self.reactor.at(time.monotonic(), partial(stream.guarded, stream.begin))

    def close(self) -> None:
        """The threads end with what they are at. What is being carried is not."""
        self.settlers.shutdown(wait=False)
        self.resumers.shutdown(wait=False)

    def over(self, stream: _Stream) -> None:
        """On the reactor's thread."""
        self._streams.discard(stream)


class _Stream:
    """One stream. All of it on the reactor's thread, but for what says otherwise."""

    __slots__ = (
        "_away",
        "_channel",
        "_chunked",
        "_done",
        "_ended",
        "_ending",
        "_fd",
        "_head",
        "_heard",
        "_lost",
        "_paused",
        "_poller",
        "_relay",
        "_reply",
        "_sock",
        "_spoke",
        "_stuck",
        "_tick",
        "_told",
        "_unsent",
        "_upstream",
    )

    def __init__(
        self, relay: Relay, reply: Reply, sock: socket.socket, head: bytes, chunked: bool, done: Done
    ) -> None:
        self._relay = relay
        self._poller = relay.poller
        self._reply = reply
        self._sock = sock
        self._fd = sock.fileno()
        self._head = head
        self._chunked = chunked
        self._done = done
        self._told: Future[None] | None = None
        #: What the caller has not taken yet; since when it has taken nothing.
        self._unsent = bytearray()
        self._stuck = 0.0
        #: What is waited for, and its descriptor. Not read while too much is unsent.
        self._channel: Channel | None = None
        self._upstream = -1
        self._paused = False
        #: When the upstream, and when we have last said something.
        self._heard = self._spoke = time.monotonic()
        #: A thread has the reply; the caller is not to be had any more; all but what is unsent is over;
        #: all is.
        self._away = self._lost = self._ending = self._ended = False
        self._tick: Handle | None = None

    def guarded(self, step: Callable[[], None]) -> None:
        """Whatever goes wrong with one stream ends that stream."""
        try:
            step()
        except Exception:  # noqa: BLE001  # it is told of there
            self._broke()

    def _broke(self) -> None:
        log.exception("a stream broke in the relay's hands")
        self._drop()

    def begin(self) -> None:
        self._reply.settle_with(self._settle)
        self._sock.setblocking(False)
        self._go_on()

    def _settle(self, work: Callable[[], None]) -> None:
        """Called again when one that was continued is over: one thing is told after the other."""
        before = self._told

        def in_turn() -> None:
            if before is not None:
                wait([before])
            work()

        try:
            self._told = self._relay.settlers.submit(in_turn)
        except RuntimeError:  # the process is about to end
            in_turn()

    def _go_on(self) -> None:
        """The reply is here, or here again, or wanted again."""
        if self._reply.outcome is not None:
            self._finish()
            return
        channel = self._reply.channel
        if channel is None and not self._reply.over:
            self._step_aside()
            return
        if channel is not None and channel is not self._channel:
            channel.unblock()
        self._pump()

    # ---------------------------------------------------------------- from the upstream

    def _arrived(self, events: int) -> None:
        """Once an event, so this is no call of :meth:`guarded`."""
        try:
            self._pump()
        except Exception:  # noqa: BLE001  # it is told of there
            self._broke()

    def _pump(self) -> None:
        """Pass on what has come."""
        reply = self._reply
        self._heard = self._poller.now
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
                return  # as after nearly every event: nothing has changed
            if reply.over:
                continue
            channel = reply.channel
            if channel is None:
                self._step_aside()
                return
            if channel is not self._channel:
                self._unlisten()
                channel.unblock()
            if len(self._unsent) > self._relay.buffer or not channel.holds:
                self._listen(channel)
                return

    def _listen(self, channel: Channel) -> None:
        paused = len(self._unsent) > self._relay.buffer
        if channel is self._channel and paused == self._paused:
            return
        new, self._paused = channel is not self._channel, paused
        if new:
            self._channel, self._upstream = channel, channel.fileno()
        # Without events a line that is cut, by us or by a reset, is told of all the same.
        self._poller.wait_for(self._upstream, 0 if paused else _IN, self._arrived)
        self._ring()

    def _unlisten(self) -> None:
        if self._channel is not None:
            self._poller.forget(self._upstream)
        self._channel, self._paused = None, False

    def _step_aside(self) -> None:
        """Only a thread can go on with it. It gives back what comes next."""
        self._unlisten()
        if len(self._unsent) > self._relay.buffer:
            self._paused = True
            return
        self._relay.resumers.submit(self._step)
        self._away = True
        self._ring()

    def _step(self) -> None:
        """On a thread of its own."""
        data = b""
        try:
            data = next(self._reply, b"")
        except Exception:
            log.exception("a stream broke in a thread's hands")
            self._lost = True
        self._relay.reactor.at(time.monotonic(), partial(self.guarded, partial(self._back, data)))

    def _back(self, data: bytes) -> None:
        self._away = False
        if self._lost:
            self._drop()
            return
        if data:
            self._send(data)
        if not self._ended:
            self._go_on()

    # ---------------------------------------------------------------- to the caller

    def _send(self, data: bytes) -> None:
        """:param data: nothing, when it is all over."""
        if self._lost:
            return
        self._spoke = self._poller.now
        if self._chunked:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        if self._head:
            data, self._head = self._head + data, b""
        sent = 0
        if not self._unsent:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self._drop()
                return
            if sent == len(data):
                return
            self._stuck = self._poller.now
            self._unsent += memoryview(data)[sent:]
            self._poller.wait_for(self._fd, _OUT, self._may_send)
            self._ring()
        else:
            self._unsent += data

    def _may_send(self, events: int) -> None:
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
        self._stuck = self._spoke = self._poller.now
        if not self._unsent:
            self._poller.forget(self._fd)
            if self._ending:
                self._end(clean=True)
                return
            self._ring()
        if self._paused and len(self._unsent) <= self._relay.buffer // 2:
            self._go_on()

    # ---------------------------------------------------------------- clocks

    def _ring(self) -> None:
        """Have the next clock rung. What it rings for is looked up then, and mostly by then passed."""
        now = time.monotonic()
        when = self._stuck + self._relay.send_timeout if self._unsent else self._spoke + PING
        if self._channel is not None and not self._paused:
            when = min(when, self._heard + self._channel.patience)
        if self._tick is not None:
            self._tick.cancel()
        when = max(now + 0.01, when)
        self._tick = self._relay.reactor.at(when, partial(self.guarded, self._rung))

    def _rung(self) -> None:
        now = time.monotonic()
        if self._ended:
            return
        if self._unsent and now >= self._stuck + self._relay.send_timeout:
            self._drop()
            return
        if self._channel and not self._paused and now >= self._heard + self._channel.patience:
            self._silent(self._channel, now)
        if now >= self._spoke + PING and not self._unsent and not self._ending:
            self._send(PING_EVENT)
        if not self._ended:
            self._ring()

    def _silent(self, channel: Channel, now: float) -> None:
        """It is silent, unless it is we who have not listened for so long."""
        if is_readable(self._upstream):
            self._pump()
        else:
            self._heard = now
            channel.expire()

    # ---------------------------------------------------------------- the end

    def _finish(self) -> None:
        """The answer is over, be it well or with the event that tells why not."""
        self._unlisten()
        self._ending = True
        if self._chunked or self._head:
            self._send(b"")
        if not self._unsent and not self._ended:
            self._end(clean=True)

    def _drop(self) -> None:
        """The caller has left, or takes nothing."""
        self._lost = True
        self._poller.forget(self._fd)
        if self._away:
            self._reply.abandon()
            return  # until the reply is back
        self._unlisten()
        self._reply.close()
        self._end(clean=False)

    def _end(self, *, clean: bool) -> None:
        if self._ended:
            return
        self._ended = True
        self._poller.forget(self._fd)
        self._relay.over(self)
        if self._tick is not None:
            self._tick.cancel()
        told, self._told, done = self._told, None, self._done
        if told is None:
            done(clean)
        else:  # only then is nothing of ours waiting on the socket any more
            told.add_done_callback(lambda _: done(clean))
