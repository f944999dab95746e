"""Collects the fragments of one tool call of a chat stream, and knows when its arguments are complete."""

from __future__ import annotations

import re
import secrets
from typing import Any

import msgspec

from ...model.errors import UpstreamMalformed
from .carried_state import carried

_MARKS = re.compile(r'["\\{}\[\]]')


class ObjectScanner:
    """Finds the end of a JSON object that comes in fragments. It looks at each character once."""

    __slots__ = ("_depth", "_escaped", "_in_text", "complete")

    def __init__(self) -> None:
        self._depth = 0
        self._in_text = self._escaped = self.complete = False

    def feed(self, text: str) -> None:
        at = 0
        if self._escaped and text:
            at, self._escaped = 1, False
        while match := _MARKS.search(text, at):
            mark, at = match[0], match.end()
            if self._in_text:
                if mark == "\\":
                    at += 1
                    self._escaped = at > len(text)
                elif mark == '"':
                    self._in_text = False
            elif mark == '"':
                self._in_text = True
            else:
                self._depth += 1 if mark in "{[" else -1 if mark in "}]" else 0
                self.complete = self.complete or self._depth == 0


class ToolCall:
    """One tool call. ``name`` and ``id`` may come after its first arguments.

    :param state: of its provider, as JSON; empty if it has none.
    """

    __slots__ = ("_parts", "_scanner", "_sent", "id", "name", "state")

    def __init__(
        self, identifier: str | None = None, name: str | None = None, arguments: str = "", state: bytes = b""
    ) -> None:
        self.id = identifier or ""
        self.state = state
        self.name = name or ""
        self._parts: list[str] = []
        self._scanner = ObjectScanner()
        #: How many of the fragments have been written.
        self._sent = 0
        self.add(arguments)

    def add(self, arguments: str) -> None:
        if arguments:
            self._parts.append(arguments)
            self._scanner.feed(arguments)

    @property
    def complete(self) -> bool:
        """Whether its arguments are a whole JSON object."""
        return self._scanner.complete

    def unsent(self) -> str:
        """The arguments that came since the last call of this."""
        new, self._sent = self._parts[self._sent :], len(self._parts)
        return "".join(new)

    def start(self) -> dict[str, Any]:
        """The block with which the call begins."""
        self.id = self.id or f"toolu_{secrets.token_hex(12)}"
        return {"type": "tool_use", "id": self.id, "name": self.name, "input": {}}

    def check(self) -> bytes:
        """Return the arguments as they came; ``{}`` if there are none.

        :raises UpstreamMalformed: they are no JSON object, or the call has no name.
        """
        arguments = "".join(self._parts).strip().encode() or b"{}"
        try:
            whole = isinstance(msgspec.json.decode(arguments), dict)
        except (ValueError, RecursionError):
            whole = False
        if not (whole and self.name):
            what = "arguments that are no JSON object" if self.name else "no name"
            raise UpstreamMalformed(f"The upstream broke the answer: a tool call has {what}.")
        return arguments

    def carrier(self) -> dict[str, Any] | None:
        """The block before it that carries its state; ``None`` if it has none."""
        return {"type": "redacted_thinking", "data": carried(self.state)} if self.state else None

    def blocks(self) -> list[dict[str, Any]]:
        """The whole call as a block, behind the one that carries its state.

        :raises UpstreamMalformed: see :meth:`check`.
        """
        carrier = self.carrier()
        block = self.start() | {"input": msgspec.Raw(self.check())}
        return [block] if carrier is None else [carrier, block]
