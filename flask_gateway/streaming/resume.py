"""A stream that breaks in the middle goes on at an upstream that can continue an answer.

The caller sees one seamless answer: one id, one role, one finish reason, one count of tokens, one end.
If it cannot go on, the caller sees why it broke, and nothing of what was tried then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from ..model.call import Attempt, Call, Continues, Usage
from ..model.errors import (
    CallerLeft,
    DeadlineExceeded,
    GatewayError,
    UpstreamCut,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from ..model.protocols import Service
from ..model.reply import Channel, Passing, Reply, Run
from .splice import ChunkRewriter, PartialAnswer, PartialAnswerReader, may_continue, resumed

log = logging.getLogger(__name__)

#: As many upstreams are asked to go on with an answer.
MAX_RESUMPTIONS = 2

#: Has an answer continued; its reply is primed. Raises a ``GatewayError`` when nobody does.
Resume = Callable[[PartialAnswer], Reply]


def resumable(reply: Reply, call: Call, resume: Resume | None) -> Reply:
    """The primed reply, or one that goes on where it breaks, if that is possible for such a call."""
    return ResumableReply(reply, call, resume) if resume and may_continue(call) else reply


def resume_at(
    candidates: Iterable[tuple[Service, str, Continues]], call: Call, beginning: PartialAnswer
) -> Reply:
    """Ask one candidate after another to go on: services, their name of the model, how they are told to.

    :raises GatewayError: none of them does.
    """
    refusal: GatewayError | None = None
    for _, (service, model, how) in zip(range(MAX_RESUMPTIONS), candidates, strict=False):
        if call.cancellation.error is not None:
            raise call.cancellation.error
        began = time.monotonic()
        try:
            reply = service.send(resumed(call.asking(model), beginning, how)).prime()
        except GatewayError as error:
            refusal = error
            if not isinstance(error, UpstreamUnavailable):
                call.attempts.append(Attempt.failed(service.name, error, time.monotonic() - began, model))
        else:
            reply.first_token_seconds = time.monotonic() - began
            call.attempts.append(Attempt(service.name, "200", reply.first_token_seconds, model))
            return reply
    raise refusal or UpstreamCut("No upstream of this route can continue an answer.")


class ResumableReply(Reply):
    """A committed stream of chat that may go on elsewhere, once.

    :param reply: primed. :param resume: asked on the caller's thread when the reply has broken.
    """

    def __init__(self, reply: Reply, call: Call, resume: Resume) -> None:
        parts = _Parts(reply, call, resume)
        super().__init__(parts, _Seamless(parts, reply), reply.upstream)
        self.headers = reply.headers


class _Parts:
    """One reply, and after it perhaps another (``reply.Source``). Owned by the caller's thread."""

    def __init__(self, reply: Reply, call: Call, resume: Resume) -> None:
        self._call = call
        self._resume = resume
        self._opening = PartialAnswerReader()
        self._first = self._reply = reply
        self._seam: ChunkRewriter | None = None
        #: What broke the first part.
        self._original: GatewayError | None = None
        self._settles_with: Run | None = None

    @property
    def _error(self) -> GatewayError | None:
        """What broke the part that is being read."""
        return self._reply.outcome.error if self._reply.outcome else None

    @property
    def channel(self) -> Channel | None:
        """To go on elsewhere takes a thread."""
        return self._reply.channel if self._reply.outcome is None else None

    def settle_with(self, run: Run) -> None:
        self._settles_with = run
        self._reply.settle_with(run)

    def read(self) -> bytes:
        while True:
            if self._error is not None:
                self._go_on(self._error)
            data = next(self._reply, b"")
            if not data:
                return b""
            if out := self._passed(data):
                return out

    def receive(self) -> bytes | None:
        data = self._reply.receive()
        if data:
            return self._passed(data) or None
        over = self._reply.outcome is not None and self._error is None
        return b"" if over else None

    def _passed(self, data: bytes) -> bytes:
        if self._error is not None:
            data = _without_last_event(data)  # which tells of the error
        return self._take(data)

    def _take(self, data: bytes) -> bytes:
        if self._seam is not None:
            return self._seam.rewrite(data)
        self._opening.take(data)
        return data

    def _go_on(self, error: GatewayError) -> None:
        """Have the next part follow.

        :raises GatewayError: there is none; it is what broke the first part.
        """
        if self._original is not None:
            raise self._original
        self._original = error
        if not (self._opening.resumable and _may_go_on(error)) or self._call.cancellation.error:
            raise error
        before = self._first.usage or Usage()
        try:
            reply = self._resume(PartialAnswer(self._opening.text, before.completion_tokens))
        except Exception as refusal:
            if not isinstance(refusal, GatewayError):
                log.exception("an answer could not be continued")
            raise self._call.cancellation.error or error from None
        self._seam = ChunkRewriter(self._opening.names, before)
        self._reply = reply
        if self._settles_with is not None:
            reply.settle_with(self._settles_with)

    @property
    def usage(self) -> Usage | None:
        """What all parts have cost; of prompts, only the caller's own."""
        if self._seam is None:
            return self._first.usage
        return self._seam.total(self._reply.usage)

    @property
    def dropped(self) -> int:
        first, last = self._first.transcript, self._reply.transcript
        return first.dropped + (last.dropped if last is not first else 0)

    def release(self) -> None:
        """The last part is drained, and has settled by itself."""
        self._settles_with = None

    def close(self) -> None:
        self._settles_with = None
        self._reply.close()

    def abandon(self) -> None:
        self._call.cancellation.cancel(CallerLeft("The caller took nothing of its answer for too long."))


def _may_go_on(error: GatewayError) -> bool:
    return isinstance(error, UpstreamCut | UpstreamTimeout) and not isinstance(error, DeadlineExceeded)


def _without_last_event(data: bytes) -> bytes:
    head, end, _ = data.removesuffix(b"\n\n").rpartition(b"\n\n")
    return head + end


class _Seamless(Passing):
    """Several parts as one (``reply.Transcript``)."""

    def __init__(self, parts: _Parts, first: Reply) -> None:
        self._parts = parts
        self._first = first.transcript

    @property
    def content_type(self) -> str:
        return self._first.content_type

    @property
    def usage(self) -> Usage | None:
        return self._parts.usage

    @property
    def dropped(self) -> int:  # type: ignore[override]
        return self._parts.dropped

    def cut(self, error: GatewayError) -> bytes:
        return self._first.cut(error)
