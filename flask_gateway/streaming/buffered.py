"""Waiting for an answer that is held back until it is whole, without the line falling silent meanwhile.

That the answer is held back is its transcript's doing: it is not ``ready`` before it is complete, so
whatever serves the call can still fail over from the middle of a stream. Here is only the waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from ..model.call import Call, Operation, Usage
from ..model.errors import CallerLeft, GatewayError
from ..model.protocols import Service
from ..model.reply import Passing, Reply

#: What a comment is to every reader of server-sent events: nothing.
PING_EVENT = b": ping\n\n"
#: How long the caller waits without a sign of life, seconds.
PING = 15.0
#: Calls that are waited for at once; more than these wait for a thread, and are sent pings as well.
THREADS = 64

#: The event that tells of an error in a stream of some operation.
ErrorEvent = Callable[[Operation, GatewayError], bytes]


class BufferedStreams:
    """A service whose ``call.whole`` answers are waited for on another thread (``core.Service``).

    What comes within ``ping`` seconds is returned, or raised, as if there were no other thread. Later
    than that a reply is returned that pings until there is an answer. By then its status is committed to
    and its headers are sent: a failure is told by an event, and neither the upstream nor the attempts
    are named in a header.

    Other calls pass straight through. Shared by all threads; those of its own are made as they are needed.

    :param error_event: how a failure is told in a stream.
    :param ping: seconds between signs of life. :param threads: the most calls waited for at once.
    """

    def __init__(
        self, service: Service, error_event: ErrorEvent, *, ping: float = PING, threads: int = THREADS
    ) -> None:
        self.name = service.name
        self._service = service
        self._error_event = error_event
        self._ping = ping
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="whole")

    def send(self, call: Call) -> Reply:
        if not call.whole:
            return self._service.send(call)
        answer = self._pool.submit(self._service.send, call)
        if wait([answer], self._ping).done:
            return answer.result()
        return PendingReply(call, answer, self._error_event, self._ping)


class PendingReply(Reply):
    """A reply whose answer is still to come."""

    def __init__(self, call: Call, answer: Future[Reply], error_event: ErrorEvent, ping: float) -> None:
        source = _Waiting(call, answer, ping)
        super().__init__(source, _Awaited(call.operation, error_event, source), upstream="")
        source.named = self._name

    def _name(self, upstream: str) -> None:
        self.upstream = upstream


class _Waiting:
    """Pings, then the answer (``reply.Source``). Owned by the caller's thread."""

    def __init__(self, call: Call, answer: Future[Reply], ping: float) -> None:
        self._call = call
        self._answer = answer
        self._ping = ping
        self._patience = 0.0  # the first ping is due at once: it has been waited for already
        self.reply: Reply | None = None
        self.named: Callable[[str], None] = lambda upstream: None

    def read(self) -> bytes:
        if self.reply is None:
            if not wait([self._answer], self._patience).done:
                self._patience = self._ping
                return PING_EVENT
            self.reply = self._result()
        return next(self.reply, b"")

    def _result(self) -> Reply:
        try:
            reply = self._answer.result()
        except GatewayError as error:
            self.named(error.upstream or "")
            raise
        self.named(reply.upstream)
        return reply

    def release(self) -> None:
        """The answer is drained, and has settled by itself."""

    def close(self) -> None:
        # An answer that comes all the same, a moment too late, is closed by the thread that brings it.
        self.abandon()
        self._answer.add_done_callback(_close)

    def abandon(self) -> None:
        if not self._answer.done():
            self._answer.cancel()
            self._call.cancellation.cancel(CallerLeft("The caller left before its answer was whole."))


def _close(answer: Future[Reply]) -> None:
    if not answer.cancelled() and answer.exception() is None:
        answer.result().close()


class _Awaited(Passing):
    """What is still to come (``reply.Transcript``)."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, operation: Operation, error_event: ErrorEvent, source: _Waiting) -> None:
        self._operation = operation
        self._error_event = error_event
        self._source = source

    @property
    def usage(self) -> Usage | None:
        return self._source.reply.usage if self._source.reply else None

    @property
    def dropped(self) -> int:  # type: ignore[override]
        return self._source.reply.transcript.dropped if self._source.reply else 0

    def cut(self, error: GatewayError) -> bytes:
        return self._error_event(self._operation, error)
