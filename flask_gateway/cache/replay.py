"""Gives a kept answer again: the same bytes, as a reply that has all of them. Captures those of a new one."""

from __future__ import annotations

from ..dialects.table import dialect_of
from ..model.call import Call, Usage
from ..model.errors import GatewayError
from ..model.reply import Reply
from ..model.transcript import Around, Passing, Transcript
from .entry import KeptAnswer
from .policy import MOST_KEPT


class _AtOnce:
    """The channel of a source that has everything: nothing is awaited (``model.source.Channel``)."""

    patience = float("inf")
    holds = True

    def fileno(self) -> int:
        """Return no descriptor: there is none to wait for."""
        return -1

    def unblock(self) -> None:
        """Do nothing."""

    def expire(self) -> None:
        """Do nothing: nothing is awaited."""


class _Kept:
    """The bytes of an entry (``model.source.Source``)."""

    channel = _AtOnce()

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    receive = read

    def release(self) -> None:
        """Do nothing: no connection is held."""

    def close(self) -> None:
        """Do nothing: no connection is held."""


class _Replayed(Passing):
    """The transcript of a kept answer. It has no usage: nothing was used."""

    usage: Usage | None = None
    ready = False

    def __init__(self, call: Call, content_type: str) -> None:
        self.content_type = content_type
        self._dialect = dialect_of(call.operation)
        self.ping = self._dialect.ping if call.stream else b""
        self.finished = False

    def feed(self, data: bytes) -> bytes:
        self.finished = True
        return data

    def cut(self, error: GatewayError) -> bytes:
        return self._dialect.error_event(error, None)


def replayed(call: Call, entry: KeptAnswer) -> Reply:
    """The reply with a kept answer. No upstream has a part in it, so no breaker and no budget counts it."""
    return Reply(_Kept(entry.body), _Replayed(call, entry.content_type), upstream="").prime()


class Capture(Around[Transcript]):
    """Collects the bytes of an answer while they pass (a ``Transcript`` around another one)."""

    def __init__(self, inner: Transcript) -> None:
        super().__init__(inner)
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def body(self) -> bytes:
        """The bytes so far. Beyond the most that is kept, they are too many and not whole."""
        return b"".join(self._parts)

    def _captured(self, data: bytes) -> bytes:
        if data and self._size <= MOST_KEPT:
            self._parts.append(data)
            self._size += len(data)
        return data

    def feed(self, data: bytes) -> bytes:
        return self._captured(self._inner.feed(data))

    def end(self) -> bytes:
        return self._captured(self._inner.end())

    def catch_up(self) -> bytes:
        return self._captured(self._inner.catch_up())

    def restate(self, data: bytes) -> bytes:
        return self._captured(data)
