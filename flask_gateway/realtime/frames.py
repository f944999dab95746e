"""Reads and writes WebSocket frames (RFC 6455), without a socket.

Both ends agree on no extension, so a frame's payload is readable as it is. The bytes of an end pass on
unchanged; the readers only find where messages end.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from wsproto.frame_protocol import FrameDecoder, Opcode, ParseFailed

from ..model.errors import InvalidFrames

TEXT, BINARY, CLOSE, PING, PONG = Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE, Opcode.PING, Opcode.PONG
#: The longest reason in a close frame, bytes: RFC 6455, 5.5, allows 125 for a control frame's payload.
MOST_REASON = 123
_MASKED, _FINAL = 0x80, 0x80
_SHORT, _TWO_BYTES = 126, 65536


class Message(NamedTuple):
    """A message, or a control frame, as one end sent it.

    :param payload: unmasked. :param raw: the bytes of its frames, as received.
    """

    opcode: Opcode
    payload: bytes
    raw: bytes


class _Frames:
    """Joins the frames of one end into messages.

    :param masked: whether the end masks its frames, as callers do.
    """

    def __init__(self, *, masked: bool) -> None:
        self._decoder = FrameDecoder(client=not masked)
        #: The kind of the message that has begun; ``None`` between messages.
        self.opcode: Opcode | None = None
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def is_at_frame_end(self) -> bool:
        """Whether no frame has come in part, so that another frame may follow."""
        return self._decoder.header is None and not self._unread

    @property
    def _unread(self) -> int:
        return len(self._decoder.buffer)

    def _take(self) -> tuple[Opcode, bytes] | None:
        """The next message or control frame; ``None`` if none has come whole.

        :raises InvalidFrames: the bytes are no frames.
        """
        try:
            while (frame := self._decoder.process_buffer()) is not None:
                payload = bytes(frame.payload)  # type: ignore[arg-type]  # the decoder's are bytes
                if frame.opcode.iscontrol():
                    return frame.opcode, payload
                self._add(frame.opcode, payload)
                if frame.frame_finished and frame.message_finished:
                    return self._finished()
        except ParseFailed as error:
            raise InvalidFrames(f"The WebSocket frames are invalid: {error}.", int(error.code)) from None
        return None

    def _add(self, opcode: Opcode, payload: bytes) -> None:
        if opcode is Opcode.CONTINUATION and self.opcode is None:
            raise InvalidFrames("A WebSocket message begins with a continuation: use another library.", 1002)
        if opcode is not Opcode.CONTINUATION:
            if self.opcode is not None:
                raise InvalidFrames("A WebSocket message begins within another: use another library.", 1002)
            self.opcode = opcode
        self._size += len(payload)
        self._keep(payload)

    def _keep(self, payload: bytes) -> None:
        raise NotImplementedError

    def _finished(self) -> tuple[Opcode, bytes]:
        opcode, payload = self.opcode, self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        assert opcode is not None
        self.opcode, self._parts, self._size = None, [], 0
        return opcode, payload


class CallerFrames(_Frames):
    """Splits what a caller sends into whole messages, which may then pass or not.

    :param most: the longest message, bytes.
    """

    def __init__(self, most: int) -> None:
        super().__init__(masked=True)
        self._most = most
        self._raw = bytearray()

    def _keep(self, payload: bytes) -> None:
        if self._size > self._most:
            raise InvalidFrames(f"A message is longer than {self._most} bytes, which are allowed.", 1009)
        self._parts.append(payload)

    @property
    def held(self) -> int:
        """The bytes of the message that has not come whole."""
        return len(self._raw)

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that are whole now.

        :raises InvalidFrames: the bytes are no frames, or a message is longer than ``most``.
        """
        self._raw += data
        self._decoder.receive_bytes(data)
        messages = []
        while (taken := self._take()) is not None:
            opcode, payload = taken
            if self.opcode is not None and opcode is not CLOSE:
                continue  # a ping between the frames of a message passes with it
            raw = bytes(self._raw[: len(self._raw) - self._unread])
            del self._raw[: len(raw)]
            messages.append(Message(opcode, payload, raw))
        return messages


class UpstreamFrames(_Frames):
    """Reads copies of what an upstream sends. The bytes pass on at once.

    :param most: longer messages, bytes, are not read.
    """

    def __init__(self, most: int) -> None:
        super().__init__(masked=False)
        self._most = most
        #: Whether a close frame has come: nothing follows it.
        self.closed = False

    def _keep(self, payload: bytes) -> None:
        if self._size <= self._most:
            self._parts.append(payload)
        else:
            self._parts = []

    def feed(self, data: bytes) -> list[bytes]:
        """Return the text messages that are whole now; one that is too long is empty.

        :raises InvalidFrames: the bytes are no frames.
        """
        self._decoder.receive_bytes(data)
        texts = []
        while (taken := self._take()) is not None:
            opcode, payload = taken
            self.closed = self.closed or opcode is CLOSE
            if opcode is TEXT:
                texts.append(payload)
        return texts


def frame(opcode: Opcode, payload: bytes, *, masked: bool) -> bytes:
    """Write one frame that is a whole message.

    :param masked: as a client's frames are, by a random key (RFC 6455, 5.3).
    """
    size, mask = len(payload), _MASKED if masked else 0
    if size < _SHORT:
        head = struct.pack("!BB", _FINAL | opcode, mask | size)
    elif size < _TWO_BYTES:
        head = struct.pack("!BBH", _FINAL | opcode, mask | 126, size)
    else:
        head = struct.pack("!BBQ", _FINAL | opcode, mask | 127, size)
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + _xor(payload, key)


def _xor(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    stream = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


def close_frame(code: int, reason: str = "", *, masked: bool) -> bytes:
    """Write a close frame (RFC 6455, 5.5.1)."""
    short = reason.encode()[:MOST_REASON].decode("utf-8", "ignore").encode()
    return frame(CLOSE, struct.pack("!H", code) + short, masked=masked)
