"""Resumes a stream that breaks in the middle at another upstream that can continue an answer.

The caller receives one seamless answer: one id, one role, one finish reason, one token count, one end.
If no upstream can resume it, the caller receives the original error and nothing of the failed resumptions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..model.call import AnswerPart, Attempt, BodyOverrides, Call, Continues, Usage
from ..model.errors import (
    SEND_AGAIN,
    CallerLeft,
    DeadlineExceeded,
    GatewayError,
    UpstreamCut,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from ..model.protocols import Service
from ..model.reply import Reply
from ..model.source import Channel, Run
from ..model.transcript import Passing
from .splice import ChunkRewriter, PartialAnswer, PartialAnswerReader, may_continue, resumed

log = logging.getLogger(__name__)

#: The most upstreams that are asked to continue one answer.
MAX_RESUMPTIONS = 2


class Continuer(NamedTuple):
    """A service that can continue an answer, with its name for the model and its way of continuing."""

    service: Service
    model: str
    how: Continues
    overrides: BodyOverrides | None = None


#: Resumes an answer and returns the primed reply. Raises a ``GatewayError`` if no upstream can.
Resume = Callable[[PartialAnswer], Reply]


def resumable(reply: Reply, call: Call, resume: Resume | None) -> Reply:
    """Make the primed reply resumable if its call allows that; else return it unchanged."""
    return ResumableReply(reply, call, resume) if resume and may_continue(call) else reply


def resume_at(candidates: Iterable[Continuer], call: Call, beginning: PartialAnswer) -> Reply:
    """Ask one candidate after another to continue the answer.

    :raises GatewayError: all of them failed.
    """
    refusal: GatewayError | None = None
    for _, (service, model, how, overrides) in zip(range(MAX_RESUMPTIONS), candidates, strict=False):
        if call.cancellation.error is not None:
            raise call.cancellation.error
        began = time.monotonic()
        try:
            reply = service.send(resumed(call.asking(model, overrides), beginning, how)).prime()
        except GatewayError as error:
            refusal = error
            if not isinstance(error, UpstreamUnavailable):
                seconds = time.monotonic() - began
                call.attempts.append(
                    Attempt.failed(service.name, error, seconds, model, call.epoch_ns(began))
                )
        else:
            reply.first_token_seconds = time.monotonic() - began
            seconds = reply.first_token_seconds
            call.attempts.append(Attempt(service.name, "200", seconds, model, call.epoch_ns(began)))
            return reply
    raise refusal or UpstreamCut(f"No upstream of this route can continue an answer. {SEND_AGAIN}")


class ResumableReply(Reply):
    """A committed chat stream that can be resumed at another upstream, once.

    :param reply: primed. :param resume: called on the caller's thread when the reply breaks.
    """

    def __init__(self, reply: Reply, call: Call, resume: Resume) -> None:
        self._both = parts = _Parts(reply, call, resume)
        super().__init__(parts, _Seamless(parts, reply), reply.upstream, reply.model, reply.started_ns)
        self.headers = reply.headers

    def parts(self) -> tuple[AnswerPart, ...]:
        """The parts of the two upstreams; nothing if the first did not break."""
        return self._both.answered


class _Parts:
    """Reads the first reply and, if it breaks, a second one (``model.source.Source``).

    Owned by the caller's thread."""

    def __init__(self, reply: Reply, call: Call, resume: Resume) -> None:
        self._call = call
        self._resume = resume
        self._partial = PartialAnswerReader()
        self._first = self._reply = reply
        self._rewriter: ChunkRewriter | None = None
        #: The error that broke the first part.
        self._original: GatewayError | None = None
        self._settles_with: Run | None = None

    @property
    def _error(self) -> GatewayError | None:
        """The error that broke the current part."""
        return self._reply.outcome.error if self._reply.outcome else None

    @property
    def channel(self) -> Channel | None:
        """The current part's channel; ``None`` after its end, because resuming needs a thread."""
        return self._reply.channel if self._reply.outcome is None else None

    def settle_with(self, run: Run) -> None:
        self._settles_with = run
        self._reply.settle_with(run)

    def read(self) -> bytes:
        while True:
            if self._error is not None:
                self._resume_elsewhere(self._error)
            data = next(self._reply, b"")
            if not data:
                return b""
            if out := self._forward(data):
                return out

    def receive(self) -> bytes | None:
        data = self._reply.receive()
        if data:
            return self._forward(data) or None
        over = self._reply.outcome is not None and self._error is None
        return b"" if over else None

    def catch_up(self) -> bytes:
        data = self._reply.catch_up()
        return self._forward(data) if data else b""

    def _forward(self, data: bytes) -> bytes:
        if self._error is not None:
            data = _without_last_event(data)  # the last event reports the error
        return self._process(data)

    def _process(self, data: bytes) -> bytes:
        if self._rewriter is not None:
            return self._rewriter.rewrite(data)
        self._partial.feed(data)
        return data

    def _resume_elsewhere(self, error: GatewayError) -> None:
        """Start the second part.

        :raises GatewayError: the error that broke the first part, if there is no second part.
        """
        if self._original is not None:
            raise self._original
        self._original = error
        if not (self._partial.resumable and _is_resumable(error)) or self._call.cancellation.error:
            raise error
        before = self._first.usage or Usage()
        try:
            reply = self._resume(PartialAnswer(self._partial.text, before.completion_tokens))
        except Exception as refusal:  # the caller gets the first error, which explains the answer
            if not isinstance(refusal, GatewayError):
                log.exception("could not resume an answer")
            raise self._call.cancellation.error or error from None
        self._rewriter = ChunkRewriter(self._partial.names, before)
        self._reply = reply
        if self._settles_with is not None:
            reply.settle_with(self._settles_with)

    @property
    def usage(self) -> Usage | None:
        """The tokens of all parts. The prompt counts once, without the partial answer."""
        if self._rewriter is None:
            return self._first.usage
        return self._rewriter.total(self._reply.usage)

    @property
    def answered(self) -> tuple[AnswerPart, ...]:
        """The two parts of a resumed answer; empty if there is one part."""
        if self._reply is self._first:
            return ()
        replies = (self._first, self._reply)
        return tuple(AnswerPart(one.upstream, one.model, one.usage, one.started_ns) for one in replies)

    @property
    def dropped(self) -> int:
        first, last = self._first.transcript, self._reply.transcript
        return first.dropped + (last.dropped if last is not first else 0)

    def release(self) -> None:
        """Drop the runner: the last part is drained and has settled itself."""
        self._settles_with = None

    def close(self) -> None:
        self._settles_with = None
        self._reply.close()

    def abandon(self) -> None:
        self._call.cancellation.cancel(CallerLeft("The caller read nothing of its answer for too long."))


def _is_resumable(error: GatewayError) -> bool:
    return isinstance(error, UpstreamCut | UpstreamTimeout) and not isinstance(error, DeadlineExceeded)


def _without_last_event(data: bytes) -> bytes:
    head, end, _ = data.removesuffix(b"\n\n").rpartition(b"\n\n")
    return head + end


class _Seamless(Passing):
    """Presents several parts as one answer (``model.transcript.Transcript``)."""

    def __init__(self, parts: _Parts, first: Reply) -> None:
        self._parts = parts
        self._first = first.transcript

    @property
    def content_type(self) -> str:
        return self._first.content_type

    @property
    def ping(self) -> bytes:
        return self._first.ping

    @property
    def usage(self) -> Usage | None:
        return self._parts.usage

    @property
    def dropped(self) -> int:  # type: ignore[override]
        return self._parts.dropped

    def cut(self, error: GatewayError) -> bytes:
        return self._first.cut(error)
