"""An answer in one JSON document, which passes once all of it has been seen to be one."""

from __future__ import annotations

from typing import Any

import msgspec

from ..core import Call, Operation, Usage
from ..errors import GatewayError, UpstreamMalformed
from .dialects import read_usage
from .status import page_error, reported_error
from .usage import estimate, tally_body

#: The largest answer that is collected before it is passed on, bytes.
MAX_BODY = 32 * 1024 * 1024

_NULL = msgspec.Raw(b"null")


class _Body(msgspec.Struct):
    choices: msgspec.Raw = _NULL
    data: msgspec.Raw = _NULL
    error: Any = None
    usage: Any = None


_decode_body = msgspec.json.Decoder(_Body).decode

#: Without this field the answer is none.
_REQUIRED = {Operation.CHAT: "choices", Operation.COMPLETION: "choices", Operation.EMBEDDING: "data"}
#: These cost tokens, whether the upstream says how many or not.
_METERED = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDING, Operation.RESPONSE})


class BodyTranscript:
    """An answer in one JSON document: nothing passes before all of it has been seen to be one."""

    content_type = "application/json"
    finished = complete = False
    #: It has no first token: it may take its time as long as its bytes come.
    begun = True

    def __init__(self, call: Call, upstream: str) -> None:
        self.ready = False
        self.usage: Usage | None = None
        self._call = call
        self._required = _REQUIRED.get(call.operation)
        self._upstream = upstream
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size > MAX_BODY:
            raise self._malformed(f"more than {MAX_BODY} bytes")
        self._parts.append(data)
        return b""

    def end(self) -> bytes:
        body = b"".join(self._parts)
        try:
            body.decode()  # the fields we skip are not checked by the decoder
            seen = _decode_body(body)
        except (ValueError, RecursionError):
            page = page_error(200, body, self._upstream)
            raise page or self._malformed("a body that is not a JSON object in UTF-8") from None
        if seen.error is not None and seen.choices == seen.data == _NULL:
            raise reported_error(seen.error, self._upstream)
        if self._required and getattr(seen, self._required) == _NULL:
            raise self._malformed(f"no '{self._required}'")
        self.usage = read_usage(seen.usage)
        if self.usage is None and self._call.operation in _METERED:
            self.usage = estimate(self._call.fields, tally_body(body))
        self.ready = True
        return body

    def cut(self, error: GatewayError) -> bytes:
        """Nothing: this kind of answer is passed on whole or not at all."""
        return b""

    def _malformed(self, what: str) -> UpstreamMalformed:
        message = f"Upstream '{self._upstream}' answered 200 with {what}, which is no answer to this request."
        return UpstreamMalformed(message, upstream=self._upstream)
