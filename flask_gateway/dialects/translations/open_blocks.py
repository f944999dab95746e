"""Writes the blocks of a stream of Anthropic's API: one is open at a time, others wait for its end."""

from __future__ import annotations

from typing import Any

import msgspec

from .tool_fragments import ToolCall

_DELTAS = {"text": (b"text_delta", b"text"), "thinking": (b"thinking_delta", b"thinking")}
_STARTS: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
_DELTA = (
    b"event: content_block_delta\ndata: "
    b'{"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":%b}}\n\n'
)
_START = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'


class MessageBlocks:
    """The blocks of one answer. Each method returns the events to send.

    While a tool call is open whose arguments are no whole object yet, everything else waits for its end:
    some servers send text, or another call, between the fragments of a call.

    :ivar called: whether the model called a tool.
    """

    def __init__(self) -> None:
        self.called = False
        self._index = 0
        #: The block that is open: ``text``, ``thinking`` or a call; empty: none.
        self._open: str | ToolCall = ""
        #: Waiting: a call, or the kind of a text and the text as a JSON string.
        self._waiting: list[ToolCall | tuple[str, bytes]] = []
        #: The newest call of each index.
        self._calls: dict[int, ToolCall] = {}

    def add_text(self, text: bytes) -> bytes:
        """:param text: a JSON string."""
        return self._add("text", text)

    def add_thinking(self, text: bytes) -> bytes:
        """:param text: a JSON string."""
        return self._add("thinking", text)

    def add_call(self, index: int | None, fragment: ToolCall) -> bytes:
        """Add a fragment of a call.

        :param index: of the call; ``None``: the server counts none.
        :param fragment: the name and the id come with the first one.
        """
        place = index or 0
        call = self._calls.get(place)
        if call is not None and not _is_new(fragment, call):
            call.id, call.name = call.id or fragment.id, call.name or fragment.name
            call.add(fragment.unsent())
            return self._go_on(call)
        self._calls[place] = call = fragment
        self.called = True
        if self._waiting or self._is_busy() or not call.name:
            self._waiting.append(call)
            return self._drain() if not self._is_busy() else b""
        return self._begin(call)

    def finish(self) -> bytes:
        """End every block.

        :raises UpstreamMalformed: a call is not whole.
        """
        out = self._close()
        for item in self._waiting:
            out += self._begin(item) if isinstance(item, ToolCall) else self._write(*item)
            if isinstance(item, ToolCall):
                out += self._close()
        self._waiting = []
        return out + self._close()

    def _is_busy(self) -> bool:
        """Whether a call is open that may have further fragments."""
        return isinstance(self._open, ToolCall) and not self._open.complete

    def _add(self, kind: str, text: bytes) -> bytes:
        if self._waiting or self._is_busy():
            self._waiting.append((kind, text))
            return b""
        return self._write(kind, text)

    def _go_on(self, call: ToolCall) -> bytes:
        """Write what came of a call, if it is open, and then what waited for its end."""
        out = b""
        if call is self._open:
            out = self._fragment(call)
        return out + (self._drain() if self._waiting and not self._is_busy() else b"")

    def _drain(self) -> bytes:
        out = b""
        while self._waiting and not self._is_busy():
            item = self._waiting[0]
            if isinstance(item, ToolCall) and not item.name:
                break
            del self._waiting[0]
            out += self._begin(item) if isinstance(item, ToolCall) else self._write(*item)
        return out

    def _write(self, kind: str, text: bytes) -> bytes:
        delta, field = _DELTAS[kind]
        if self._open == kind:
            return _DELTA % (self._index, delta, field, text)
        out = self._close() + _START % (self._index, msgspec.json.encode(_STARTS[kind]))
        self._open = kind
        return out + _DELTA % (self._index, delta, field, text)

    def _begin(self, call: ToolCall) -> bytes:
        out, carrier = self._close(), call.carrier()
        if carrier is not None:
            out += _START % (self._index, msgspec.json.encode(carrier)) + _STOP % self._index
            self._index += 1
        out += _START % (self._index, msgspec.json.encode(call.start()))
        self._open = call
        return out + self._fragment(call)

    def _fragment(self, call: ToolCall) -> bytes:
        text = call.unsent()
        if not text:
            return b""
        return _DELTA % (self._index, b"input_json_delta", b"partial_json", msgspec.json.encode(text))

    def _close(self) -> bytes:
        """End the open block.

        :raises UpstreamMalformed: it is a call that is not whole.
        """
        if not self._open:
            return b""
        if isinstance(self._open, ToolCall):
            self._open.check()
        out = _STOP % self._index
        self._open = ""
        self._index += 1
        return out


def _is_new(fragment: ToolCall, call: ToolCall) -> bool:
    """Whether a fragment at the index of a call begins another one."""
    if fragment.id and call.id:
        return fragment.id != call.id
    return call.complete and bool(fragment.name) and not fragment.id
