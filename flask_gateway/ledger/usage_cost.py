"""Adds ``cost`` to the usage that a stream reports, for callers who asked for the usage.

A stream's headers are sent before its cost is known. OpenAI's dialect has a place for the usage at the end of
a stream, and OpenRouter puts the cost there, too (https://openrouter.ai/docs/use-cases/usage-accounting).
"""

from __future__ import annotations

import re
from contextlib import suppress
from weakref import ref

import msgspec

from ..dialects.sse import data_of, with_data
from ..model.call import Call, Operation, Outcome
from ..model.errors import Verdict
from ..model.money import dollars
from ..model.reply import Reply
from ..model.spend import total
from .costing import Costing, legs_of

#: Events without it have no usage, or one that is null. Every event is searched for it; a long word takes
#: fewer steps than a short one.
MARK = b'"completion_tokens"'
#: Longer ``stream_options``, bytes, are not decoded.
_MAX_OPTIONS = 4096
_ASKED = frozenset({Operation.CHAT, Operation.COMPLETION})
#: Finds a usage that is not null: the OpenAI API sends ``"usage":null`` in all events but the last.
_has_usage = re.compile(rb'"usage"\s*:\s*\{').search
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def asks_for_usage(call: Call) -> bool:
    """Whether the caller of a stream asked for its usage."""
    if not call.stream or "stream_options" not in call.fields or call.operation not in _ASKED:
        return False
    options = call.decoded("stream_options", _MAX_OPTIONS)
    return isinstance(options, dict) and options.get("include_usage") is True


class CostInUsage:
    """Adds the cost to the events of a reply that have its usage.

    :param reply: is priced when its usage passes.
    """

    def __init__(self, reply: Reply, call: Call, costing: Costing) -> None:
        self._reply = ref(reply)  # a cycle would wait for the garbage collector
        self._call = call
        self._costing = costing

    def restate(self, data: bytes) -> bytes:
        """Add the cost to complete events. Others, and those that cannot be read, stay as they are."""
        if not _has_usage(data):
            return data
        return b"\n\n".join(self._priced(event) for event in data.split(b"\n\n"))

    def _priced(self, event: bytes) -> bytes:
        data = data_of(event) if _has_usage(event) else None
        if not data:
            return event
        with suppress(ValueError, RecursionError):
            fields = _decode(data)
            usage = _decode(fields["usage"]) if bytes(fields.get("usage", b"null"))[:1] == b"{" else None
            cost = self._cost() if usage is not None else None
            if usage is not None and cost is not None:
                usage["cost"] = msgspec.Raw(dollars(cost).encode())
                fields["usage"] = msgspec.Raw(msgspec.json.encode(usage))
                return with_data(event, msgspec.json.encode(fields))
        return event

    def _cost(self) -> int | None:
        """The cost of the answer so far, nano-dollars; ``None`` while it is unknown."""
        reply = self._reply()
        if reply is None or reply.usage is None:
            return None
        outcome = Outcome(
            Verdict.SUCCESS,
            reply.usage,
            upstream=reply.upstream or None,
            model=reply.model,
            started_ns=reply.started_ns,
            parts=reply.parts(),
        )
        return total(legs_of(self._call, outcome, self._costing))
