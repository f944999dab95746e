"""Reads what an upstream sends in a WebSocket session, as it passes (``model.reply.Transcript``)."""

from __future__ import annotations

from ..model.call import Operation, Usage
from ..model.errors import (
    SEND_AGAIN,
    TELL_OPERATOR,
    CallerError,
    DeadlineExceeded,
    GatewayError,
    InvalidFrames,
    Overloaded,
    ServerShutdown,
    SessionIdle,
    UpstreamCut,
    UpstreamMalformed,
)
from ..model.transcript import Passing
from .events import error_event
from .frames import TEXT, UpstreamFrames, close_frame, frame

#: The longest message of an upstream that is read for its usage, bytes. Longer ones pass unread.
MOST_READ = 8 * 1024 * 1024
#: Codes of close frames: https://www.iana.org/assignments/websocket
NORMAL, GOING_AWAY, POLICY, UPSTREAM_FAILED, RESTART, TRY_LATER = 1000, 1001, 1008, 1011, 1012, 1013
_CODES: tuple[tuple[type[GatewayError], int], ...] = (
    (ServerShutdown, RESTART),
    (DeadlineExceeded, GOING_AWAY),
    (SessionIdle, GOING_AWAY),
    (Overloaded, TRY_LATER),
    (CallerError, POLICY),
)


def close_code(error: GatewayError) -> int:
    """The code of the close frame that ends a session with this error."""
    if isinstance(error, InvalidFrames):
        return error.close
    return next((code for kind, code in _CODES if isinstance(error, kind)), UPSTREAM_FAILED)


class SessionTranscript(Passing):
    """Passes an upstream's frames, and collects the text messages among them.

    :param operation: words the errors. :param upstream: its name.
    """

    content_type, ping = "", b""
    usage: Usage | None = None

    def __init__(self, operation: Operation, upstream: str) -> None:
        self._operation, self._upstream = operation, upstream
        self.frames = UpstreamFrames(MOST_READ)
        #: The messages that have come since they were last taken.
        self.texts: list[bytes] = []

    @property
    def complete(self) -> bool:  # type: ignore[override]
        """Whether the upstream has closed the session."""
        return self.frames.closed

    def feed(self, data: bytes) -> bytes:
        try:
            self.texts += self.frames.feed(data)
        except InvalidFrames as error:
            raise UpstreamMalformed(
                f"Upstream '{self._upstream}' broke the WebSocket protocol: {error.message} {TELL_OPERATOR}",
                upstream=self._upstream,
            ) from None
        return data

    def end(self) -> bytes:
        if not self.frames.closed:
            raise UpstreamCut(
                f"Upstream '{self._upstream}' cut the connection in the middle of the session. {SEND_AGAIN}",
                upstream=self._upstream,
            )
        return b""

    def cut(self, error: GatewayError) -> bytes:
        """The last frames for the caller: the error as an event, and a close frame."""
        if self.frames.closed or not self.frames.is_at_frame_end:
            return b""
        return farewell(self._operation, error, within_message=self.frames.opcode is not None)


def farewell(operation: Operation, error: GatewayError, *, within_message: bool = False) -> bytes:
    """The last frames for a caller. :param within_message: no event fits before the close frame."""
    said = b"" if within_message else frame(TEXT, error_event(operation, error), masked=False)
    return said + close_frame(close_code(error), error.message, masked=False)
