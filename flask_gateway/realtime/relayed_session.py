"""The state of one relayed session, its clocks and its end, whichever side brings it."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from ..model.call import Outcome
from ..model.errors import (
    SEND_AGAIN,
    CallerLeft,
    GatewayError,
    InternalError,
    ServerShutdown,
    SessionIdle,
    UpstreamCut,
    Verdict,
)
from ..model.protocols import Handle
from ..model.reply import Reply
from ..model.source import Channel
from ..streaming.relay import Relay
from ..streaming.submit import submitted
from .end import End
from .frames import CallerFrames, Message, close_frame
from .session import LiveSession
from .session_transcript import GOING_AWAY, NORMAL, SessionTranscript, farewell

log = logging.getLogger(__name__)

#: How long the ends have to close after a close frame, seconds.
CLOSE_WAIT = 2.0
NEVER = math.inf
_ENDED = "The server is stopping. Open the session again."

Done = Callable[[bool], None]


class Duplex(Channel, Protocol):
    """An upstream's connection that also takes bytes."""

    def send(self, data: bytes | bytearray) -> int:
        """Send what fits without blocking; return how much. :raises OSError: the connection is gone."""
        ...


class RelayedSession:
    """A session, and how it ends. :class:`~.tunnel.Tunnel` moves its bytes.

    Its methods run on the reactor's thread unless they say otherwise.

    :param session: decides. :param reply: of the upstream; ``None``: the first response opens it.
    :param most: the longest message of a caller, bytes. :param idle: seconds without a byte that end it.
    :param hold: counts the memory of a caller's messages. It raises an error if there is none left.
    """

    __slots__ = (
        *("_busy", "_caller", "_closing", "_done", "_ended", "_frames", "_heard", "_hold", "_idle"),
        *("_later", "_lingers", "_parting", "_relay", "_reply", "_session", "_sock", "_source"),
        *("_stopping", "_timer", "_transcript", "_until", "_upstream", "_waiting"),
    )

    _relay: Relay
    _sock: socket.socket
    _caller: End
    _done: Done

    def __init__(
        self, session: LiveSession, reply: Reply | None, most: int, idle: float, hold: Callable[[int], None]
    ) -> None:
        self._session, self._reply = session, reply
        self._frames, self._idle, self._hold = CallerFrames(most), idle, hold
        self._source: Duplex | None = None
        self._upstream: End | None = None
        self._transcript: SessionTranscript | None = None
        self._waiting: deque[Message] = deque()
        #: Frames for the caller that fit only between two messages of the upstream.
        self._later = b""
        #: Whether a thread decides; the caller has sent a close frame; the session is over and the caller's
        #: end is awaited; all is over; the process stops.
        self._busy = self._closing = self._lingers = self._ended = self._stopping = False
        #: Why the gateway ends the session, once it does, and when it waits no longer for a polite end.
        self._parting: GatewayError | None = None
        self._until = math.inf
        #: When the last byte came.
        self._heard = 0.0
        self._timer: Handle | None = None

    def guarded(self, step: Callable[[], None]) -> None:
        """Run a step. If it raises, drop this session, so that others continue."""
        try:
            step()
        except Exception:  # the other sessions and streams must go on
            log.exception("the relay failed on a session")
            self._give_up()

    def _run(self, work: Callable[[], None]) -> None:
        """Settle on a thread, because that may block."""
        if submitted(self._relay.settlers, work) is None:
            work()

    def _later_here(self, step: Callable[[], None]) -> None:
        """Run a step on the reactor's thread. Any thread."""
        self._relay.reactor.at(time.monotonic(), partial(self.guarded, step))

    def _say_later(self) -> None:
        if self._later and self._is_between_messages():
            data, self._later = self._later, b""
            self._caller.write(data)

    def _is_between_messages(self) -> bool:
        frames = self._transcript.frames if self._transcript is not None else None
        return frames is None or (frames.is_at_frame_end and frames.opcode is None)

    # ---------------------------------------------------------------- polling and clocks

    def _poll(self) -> None:
        """Poll both ends for what can be moved."""
        if self._ended:
            return
        upstream = self._upstream
        waits = self._busy or bool(self._waiting) or (upstream is not None and upstream.is_full)
        self._caller.poll(reads=self._lingers or not (waits or self._parting))
        if upstream is not None:
            upstream.poll(reads=not self._caller.is_full)
        if self._caller.unsent or (upstream is not None and upstream.unsent):
            self._start_timer()

    def _stuck_at(self) -> float:
        """When an end that reads nothing is given up; infinite while both have read everything."""
        ends = [end for end in (self._caller, self._upstream) if end is not None and end.unsent]
        return min((end.moved + self._relay.send_timeout for end in ends), default=math.inf)

    def _start_timer(self) -> None:
        when = min(self._heard + self._idle, self._until, self._stuck_at())
        if self._timer is not None:
            self._timer.cancel()
        when = max(when, time.monotonic() + 0.01)
        self._timer = self._relay.reactor.at(when, partial(self.guarded, self._timer_fired))

    def _timer_fired(self) -> None:
        now = time.monotonic()
        if self._ended:
            return
        if now >= self._until:
            self._wait_no_longer()
        elif now >= self._stuck_at():
            self._give_up_stuck()
        elif now >= self._heard + self._idle:
            self._part(SessionIdle(f"Nothing was sent in this session for {self._idle:.4g} s."))
        if not self._ended:
            self._poll()
            self._start_timer()

    def _give_up_stuck(self) -> None:
        if self._caller.unsent:
            self._caller_left()
        else:
            name = self._session.upstream
            self._part(UpstreamCut(f"Upstream '{name}' takes no more bytes. {SEND_AGAIN}", upstream=name))

    def _wait_no_longer(self) -> None:
        """The ends have not closed in time, or no first event has come."""
        if self._lingers:
            self._end()
        elif self._parting is not None:
            self._part_now(self._parting)
        elif self._closing:
            self._caller.write(close_frame(NORMAL, masked=False))
            self._leave(CallerLeft("The caller closed the session."))
            self._linger()
        else:
            self._part(SessionIdle("The first event did not come in time. Send it at once."))

    # ---------------------------------------------------------------- the end

    def drain(self) -> None:
        """End the session as soon as no response is awaited: this process stops."""
        self._stopping = True
        self._check_drained()

    def _check_drained(self) -> None:
        quiet = self._session.is_quiet and not self._busy
        if self._stopping and quiet and not (self._ended or self._lingers or self._parting):
            self._part(ServerShutdown(_ENDED))
            self._poll()

    def _part(self, error: GatewayError) -> None:
        """End the session with an error: both ends get a close frame."""
        if self._ended or self._lingers or self._parting is not None:
            return
        self._parting, self._until = error, time.monotonic() + CLOSE_WAIT
        self._waiting.clear()
        self._try_to_part()
        if not self._ended:
            self._start_timer()

    def _try_to_part(self) -> None:
        if self._parting is not None and not self._lingers and self._is_between_messages():
            self._part_now(self._parting)

    def _part_now(self, error: GatewayError) -> None:
        frames = self._transcript.frames if self._transcript is not None else None
        if frames is None or (frames.is_at_frame_end and not frames.closed):
            within = frames is not None and frames.opcode is not None
            self._caller.write(farewell(self._session.operation, error, within_message=within))
        self._session.end(error)
        if self._reply is not None and self._reply.outcome is None:
            self._send_up(close_frame(GOING_AWAY, masked=True))
            self._reply.fail(error)
        self._linger()

    def _linger(self) -> None:
        """Wait for the caller's end. Closing at once would lose what it has not read."""
        self._lingers = True
        self._until = time.monotonic() + CLOSE_WAIT
        self._forget_upstream()
        self._waiting.clear()
        self._shut_if_over()
        self._start_timer()
        self._poll()

    def _shut_if_over(self) -> None:
        """Send our end when the caller has all: a WebSocket client waits for it (RFC 6455, 7.1.1)."""
        if self._lingers and not self._caller.unsent:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)

    def _forget_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.forget()
        self._source = self._upstream = None

    def _give_up(self) -> None:
        if not self._ended:
            self._leave(InternalError("The gateway failed. Try again."))
            self._end()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._caller.forget()
        self._forget_upstream()
        if self._timer is not None:
            self._timer.cancel()
        self._hold(0)
        self._done(False)

    def _leave(self, error: GatewayError) -> None:
        """End the upstream's side, because the caller is gone."""
        self._session.end(error)
        reply = self._reply
        if reply is None or reply.outcome is not None:
            return
        if self._closing:
            reply.settle(Outcome(Verdict.SUCCESS))
        else:
            self._send_up(close_frame(GOING_AWAY, masked=True))
            reply.close()

    def _caller_left(self) -> None:
        if not self._lingers:
            self._leave(CallerLeft("The caller closed the connection before the session was over."))
        self._end()

    def _send_up(self, data: bytes) -> None:
        if self._upstream is not None:
            self._upstream.write(data)
