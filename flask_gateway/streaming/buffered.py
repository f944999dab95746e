"""Waits for buffered streams on a thread pool, and sends pings to their callers meanwhile.

The transcript does the buffering: it is not ``ready`` before the answer is complete. So the dispatcher can
still fail over in the middle of a stream. This module only does the waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from ..dialects.dialect import Dialect
from ..dialects.table import dialect_of
from ..model.call import Call, Usage
from ..model.errors import CallerLeft, GatewayError
from ..model.protocols import Service
from ..model.reply import Reply
from ..model.transcript import Passing
from . import PING

#: The threads that wait for buffered streams. Further calls queue for a thread and get pings as well.
THREADS = 64


class BufferedStreams:
    """A service that waits for ``call.whole`` answers on another thread (``model.protocols.Service``).

    An answer or error within ``ping`` seconds is returned or raised as without the thread. After that,
    ``send`` returns a reply that pings until there is an answer. Its status and headers are sent by then.
    So a failure becomes an error event, and no header names the upstream or the attempts.

    Other calls pass straight through. All threads share this service. It starts its own threads on demand.

    :param ping: seconds between two pings. :param threads: the most threads that wait.
    """

    def __init__(self, service: Service, *, ping: float = PING, threads: int = THREADS) -> None:
        self.name = service.name
        self._service = service
        self._ping = ping
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="whole")

    def send(self, call: Call) -> Reply:
        if not call.whole:
            return self._service.send(call)
        answer = self._pool.submit(self._service.send, call)
        if wait([answer], self._ping).done:
            return answer.result()
        return PendingReply(call, answer, self._ping)


class PendingReply(Reply):
    """A reply whose answer has not arrived yet."""

    def __init__(self, call: Call, answer: Future[Reply], ping: float) -> None:
        dialect = dialect_of(call.operation)
        source = _Waiting(call, answer, ping, dialect.ping)
        super().__init__(source, _Awaited(dialect, source), upstream="")
        source.named = self._name

    def _name(self, upstream: str, model: str | None = None, started_ns: int = 0) -> None:
        self.upstream, self.model, self.started_ns = upstream, model, started_ns


class _Waiting:
    """Yields pings, then the answer (``model.source.Source``). Owned by the caller's thread."""

    def __init__(self, call: Call, answer: Future[Reply], ping: float, ping_event: bytes) -> None:
        self._call = call
        self._answer = answer
        self._ping = ping
        self._ping_event = ping_event
        self._patience = 0.0  # the first ping is due at once: `send` has waited already
        self.reply: Reply | None = None
        self.named: Callable[..., None] = lambda *named: None

    def read(self) -> bytes:
        if self.reply is None:
            if not wait([self._answer], self._patience).done:
                self._patience = self._ping
                return self._ping_event
            self.reply = self._result()
        return next(self.reply, b"")

    def _result(self) -> Reply:
        try:
            reply = self._answer.result()
        except GatewayError as error:
            self.named(error.upstream or "")
            raise
        self.named(reply.upstream, reply.model, reply.started_ns)
        return reply

    def release(self) -> None:
        """Do nothing: the answer is drained and has settled itself."""

    def close(self) -> None:
        # If the answer still arrives, the thread that produces it closes it.
        self.abandon()
        self._answer.add_done_callback(_close)

    def abandon(self) -> None:
        if not self._answer.done():
            self._answer.cancel()
            self._call.cancellation.cancel(CallerLeft("The caller left before its answer was complete."))


def _close(answer: Future[Reply]) -> None:
    if not answer.cancelled() and answer.exception() is None:
        answer.result().close()


class _Awaited(Passing):
    """The transcript of a pending reply (``model.transcript.Transcript``)."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, dialect: Dialect, source: _Waiting) -> None:
        self._dialect = dialect
        self.ping = dialect.ping
        self._source = source

    @property
    def usage(self) -> Usage | None:
        return self._source.reply.usage if self._source.reply else None

    @property
    def dropped(self) -> int:  # type: ignore[override]
        return self._source.reply.transcript.dropped if self._source.reply else 0

    def cut(self, error: GatewayError) -> bytes:
        return self._dialect.error_event(error, None)
