"""Relays one WebSocket session on the reactor's thread, so that it needs no thread of its own.

Frames pass as they are, in both directions, through bounded buffers. The caller's bytes pass message by
message, because some may not (``session.py``). A thread of the relay decides about those; the caller's later
messages wait meanwhile. Both ends learn of each end: by a close frame where one fits, else by the connection.
"""

from __future__ import annotations

import logging
import socket
import time
from functools import partial

from ..model.errors import (
    SEND_AGAIN,
    CallerLeft,
    GatewayError,
    InternalError,
    InvalidField,
    InvalidJson,
    Overloaded,
    UpstreamCut,
)
from ..model.reply import Reply
from ..reactor.socket_io import receive_at_once
from ..streaming.relay import Relay
from ..streaming.submit import submitted
from .end import OUT, End, keep_alive, sender
from .events import error_event, event_id_of
from .frames import CLOSE, PING, PONG, TEXT, Message, close_frame, frame
from .relayed_session import CLOSE_WAIT, NEVER, Done, Duplex, RelayedSession
from .session import Decision
from .session_transcript import NORMAL, SessionTranscript
from .turns import Turn

log = logging.getLogger(__name__)

#: The most bytes of one read.
PIECE = 16384
#: How long a caller has for its first event, where that names the model, seconds.
FIRST_EVENT = 30.0


class Tunnel(RelayedSession):
    """Moves the bytes of one session, from the caller's first byte after the upgrade on."""

    __slots__ = ()

    def begin(self, relay: Relay, sock: socket.socket, head: bytes, ahead: bytes, done: Done) -> None:
        """Relay from now on.

        :param head: of the answer, with status 101. :param ahead: what the caller has sent behind its head.
        :param done: called at the end.
        """
        self._relay, self._sock, self._done = relay, sock, done
        self._heard = time.monotonic()
        self._session.run = self._run
        sock.setblocking(False)
        keep_alive(sock)
        self._caller = End(relay.poller, sock.fileno(), sender(sock), self._caller_ready)
        self._caller.write(head)
        if self._reply is None:
            self._until = self._heard + FIRST_EVENT
        else:
            self._attach(self._reply)
        if ahead:
            self._from_caller(ahead)
        self._poll()
        self._start_timer()

    def _attach(self, reply: Reply) -> None:
        self._reply, self._until = reply, NEVER
        reply.settle_with(self._run)
        assert isinstance(reply.transcript, SessionTranscript)
        self._transcript = reply.transcript
        source: Duplex | None = reply.channel  # type: ignore[assignment]  # a session's has `send`
        if source is None:  # it is over already
            self._pump()
            return
        source.unblock()
        self._source = source
        self._upstream = End(self._relay.poller, source.fileno(), source.send, self._upstream_ready)
        if source.holds:
            self._pump()

    # ---------------------------------------------------------------- from the caller

    def _caller_ready(self, events: int) -> None:
        self.guarded(partial(self._serve_caller, events))

    def _serve_caller(self, events: int) -> None:
        if events & OUT:
            self._caller.flush()
            self._shut_if_over()
            if self._source is not None and not self._caller.is_full and self._source.holds:
                self._pump()
        if events & ~OUT and not self._ended:
            try:
                data = receive_at_once(self._sock, PIECE)
            except OSError:
                data = b""
            if data:
                self._from_caller(data)
            elif data is not None:
                self._caller_left()
        self._poll()

    def _from_caller(self, data: bytes) -> None:
        if self._lingers or self._parting is not None:
            return
        self._heard = time.monotonic()
        try:
            self._waiting += self._frames.feed(data)
            self._hold(self._frames.held + sum(len(message.raw) for message in self._waiting))
        except GatewayError as error:
            self._part(error)
            return
        self._forward()

    def _forward(self) -> None:
        """Forward the caller's messages, up to one that a thread has to decide about."""
        while self._waiting and not (self._busy or self._lingers or self._parting):
            message = self._waiting.popleft()
            if message.opcode is CLOSE:
                self._caller_closes(message)
            elif self._reply is None and message.opcode in (PING, PONG):
                if message.opcode is PING:
                    self._caller.write(frame(PONG, message.payload, masked=False))
            elif self._session.decides(message):
                self._decide(message)
            else:
                self._send_up(message.raw)

    def _caller_closes(self, message: Message) -> None:
        self._closing = True
        self._until = time.monotonic() + CLOSE_WAIT
        self._send_up(message.raw)
        if self._reply is None:
            self._caller.write(close_frame(NORMAL, masked=False))
            self._linger()
        self._start_timer()

    def _decide(self, message: Message) -> None:
        self._busy = True
        work = partial(self._decide_on_thread, message)
        if submitted(self._relay.resumers, work) is None:
            self._decided(Overloaded("This server can start no thread. Try again in a moment."), None)

    def _decide_on_thread(self, message: Message) -> None:
        result: Decision | GatewayError
        try:
            result = self._session.decide(message)
        except GatewayError as error:
            result = error
        except Exception:  # the caller learns it, and the log has the cause
            log.exception("a session failed to decide")
            result = InternalError("The gateway failed; your request is not at fault. Try again.")
        event_id = event_id_of(message.payload) if isinstance(result, GatewayError) else None
        self._later_here(partial(self._decided, result, event_id))

    def _decided(self, result: Decision | GatewayError, event_id: str | None) -> None:
        self._busy = False
        if isinstance(result, GatewayError):
            self._refuse(result, event_id)
        elif self._lingers or self._ended:  # meanwhile
            self._discard(result)
        else:
            if result.reply is not None:
                self._attach(result.reply)
            self._session.decided(result)
            self._send_up(result.data)
        if not self._ended:
            self._hold(0)
            self._forward()
            self._check_drained()
            self._poll()

    def _discard(self, decision: Decision) -> None:
        error = CallerLeft("The session ended before the response could be asked for.")
        if decision.turn is not None:
            decision.turn.told.refused = True
            decision.turn.end(self._run, error)
        if decision.reply is not None:
            decision.reply.settle_with(self._run)
            decision.reply.close()

    def _refuse(self, error: GatewayError, event_id: str | None) -> None:
        """Tell the caller that a message did not pass. A limit also ends the session."""
        if self._lingers or self._ended:
            return
        if isinstance(error, InvalidField | InvalidJson):
            self._later += frame(TEXT, error_event(self._session.operation, error, event_id), masked=False)
            self._say_later()
        else:
            self._part(error)

    # ---------------------------------------------------------------- from the upstream

    def _upstream_ready(self, events: int) -> None:
        self.guarded(partial(self._serve_upstream, events))

    def _serve_upstream(self, events: int) -> None:
        if events & OUT and self._upstream is not None:
            self._upstream.flush()
            self._forward()
        if events & ~OUT:
            self._pump()
        self._poll()

    def _pump(self) -> None:
        """Forward what has arrived, one piece at a time."""
        reply = self._reply
        while reply is not None and not (self._ended or self._lingers):
            data = reply.receive()
            if data:
                self._heard = time.monotonic()
                self._caller.write(data)
                self._hear()
            if reply.outcome is not None:
                self._upstream_ended(reply.outcome.error)
                return
            if reply.over:
                continue
            if self._parting is not None:
                self._try_to_part()
            source = self._source
            if not data or source is None or not source.holds or self._caller.is_full:
                return

    def _hear(self) -> None:
        assert self._transcript is not None
        texts, self._transcript.texts = self._transcript.texts, []
        for payload in texts:
            unasked = self._session.upstream_said(payload)
            if unasked is not None:
                work = partial(self._admit_unasked, unasked)
                if submitted(self._relay.resumers, work) is None:
                    self._part(Overloaded("This server can start no thread. Try again in a moment."))
        if texts:
            self._check_drained()
        self._say_later()

    def _admit_unasked(self, name: str) -> None:
        """Admit a response that the upstream has begun by itself. On a thread."""
        try:
            turn = self._session.admit_unasked()
        except GatewayError as error:
            self._later_here(partial(self._part, error))
        else:
            self._later_here(partial(self._admitted, name, turn))

    def _admitted(self, name: str, turn: Turn) -> None:
        self._session.admitted(name, turn)
        if self._ended or self._lingers:
            self._session.end(CallerLeft("The session ended before the response did."))
        self._check_drained()

    def _upstream_ended(self, error: GatewayError | None) -> None:
        cut = UpstreamCut(f"The upstream closed the session. {SEND_AGAIN}", upstream=self._session.upstream)
        self._session.end(error or cut)
        self._linger()
