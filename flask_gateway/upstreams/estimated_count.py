"""Answers ``messages/count_tokens`` by an estimate, for upstreams that do not count or refuse to."""

from __future__ import annotations

import msgspec

from ..dialects.body_transcript import BodyTranscript
from ..dialects.count_estimate import counted_tokens
from ..model.call import Call
from ..model.errors import UpstreamAuthFailed, UpstreamError
from ..model.reply import Reply

#: The statuses by which servers say that they do not count tokens, or not those of this request.
_NOT_COUNTED = (400, 404, 501)


def counts_not(error: UpstreamError) -> bool:
    """Whether an answer to ``messages/count_tokens`` means that the upstream does not count these tokens.

    A refused key and an account without credit remain errors, so that another upstream is asked.
    """
    return error.answered in _NOT_COUNTED and not isinstance(error, UpstreamAuthFailed)


class EstimatedCount:
    """A service that asks no upstream (``model.protocols.Service``).

    :param name: of the upstream whose calls are counted.
    :param answered: the status by which it refused to count; ``None``: it was not asked.
    """

    def __init__(self, name: str, answered: int | None = None) -> None:
        self.name = name
        self._answered = answered

    def send(self, call: Call) -> Reply:
        body = msgspec.json.encode({"input_tokens": counted_tokens(call.fields)})
        reply = Reply(_Body(body), BodyTranscript(call, self.name), self.name, call.model)
        reply.answered = self._answered
        reply.headers |= {"x-gateway-estimated": "true", "request-id": call.ids.request}
        return reply


class _Body:
    """Bytes as they would come from an upstream (``model.source.Source``)."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def release(self) -> None:
        """Release nothing."""

    def close(self) -> None:
        self._body = b""
