"""Admits each response of a WebSocket session as a call of its own, and settles it by what its events say."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from ..dialects.usage import Tally, estimate
from ..model.call import Call, Outcome, Usage
from ..model.errors import GatewayError, UnsupportedOperation, Verdict
from ..model.reply import Reply
from ..model.source import Run
from ..model.transcript import Passing


class Told(Passing):
    """The words of the session's events about one response (``model.reply.Transcript``)."""

    content_type, ping = "application/json", b""

    def __init__(self, call: Call) -> None:
        self._call = call
        #: The least that the prompt has, tokens: a session reads all of its conversation again.
        self.prompt = 0
        self.tally = Tally()
        #: As the upstream reported it.
        self.reported: Usage | None = None
        #: Whether the upstream refused to begin, so that nothing was used.
        self.refused = False

    @property
    def usage(self) -> Usage | None:
        """The usage; estimated if the session ended before the upstream reported it."""
        if self.refused or self.reported is not None:
            return self.reported
        guessed = estimate(self._call.fields, self.tally)
        return msgspec.structs.replace(guessed, prompt_tokens=max(guessed.prompt_tokens, self.prompt))

    def cut(self, error: GatewayError) -> bytes:
        return b""


class _InSession:
    """The bytes of a response are the session's (``model.source.Source``)."""

    def read(self) -> bytes:
        return b""

    def release(self) -> None:
        """The session keeps its connection."""

    def close(self) -> None:
        """The session keeps its connection."""


class Turn:
    """One admitted response of a session."""

    __slots__ = ("call", "event_id", "reply", "told")

    def __init__(self, reply: Reply) -> None:
        assert isinstance(reply, TurnReply)
        #: As it is sent: with the upstream's name for the model, and the fields of the settings.
        self.call = reply.asked
        self.reply = reply
        self.told = reply.told
        #: The id of the caller's event that asked for it.
        self.event_id: str | None = None

    def end(self, run: Run, error: GatewayError | None = None) -> None:
        """Settle it. :param run: runs the work, which may block. :param error: it did not end by itself."""
        self.reply.settle_with(run)
        verdict = Verdict.SUCCESS if error is None else error.verdict
        self.reply.settle(Outcome(verdict, error=error))


#: Returns a call as one upstream is asked; ``None`` if that upstream has no such model.
Asking = Callable[[Call, str], Call | None]


class TurnService:
    """Answers calls that are responses of a session (``model.protocols.Service``). The guards are around it.

    A call is pinned to the upstream of its session.
    """

    name = "session"

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def send(self, call: Call) -> Reply:
        """:raises UnsupportedOperation: the session's upstream does not serve the model."""
        upstream = call.pinned or ""
        asked = self._asking(call, upstream)
        if asked is None:
            raise UnsupportedOperation(
                f"The upstream of this connection does not serve the model '{call.model}'. "
                "Open another connection for it.",
                param="model",
            )
        return TurnReply(asked, upstream, call.epoch_ns(time.monotonic()))


class TurnReply(Reply):
    """The reply to a response of a session, which keeps the call as it is sent."""

    __slots__ = ("asked", "told")

    def __init__(self, asked: Call, upstream: str, started_ns: int) -> None:
        self.asked, self.told = asked, Told(asked)
        super().__init__(_InSession(), self.told, upstream, asked.model, started_ns)
