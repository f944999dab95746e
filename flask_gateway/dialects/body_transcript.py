"""An answer in one JSON document, which passes once all of it has been seen to be one."""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.call import Call, Operation, Usage
from ..model.errors import GatewayError, UpstreamMalformed
from .error_mapping import page_error, reported_error
from .redaction import Redaction
from .reported_usage import ReportedUsage
from .usage import Tally, estimate, tally_body
from .values import error_in, error_of_choice, is_error, mend

#: The largest answer that is collected before it is passed on, bytes.
MAX_BODY = 32 * 1024 * 1024

_NULL = msgspec.Raw(b"null")
_BOM = b"\xef\xbb\xbf"


class _Choice(msgspec.Struct, gc=False):
    finish_reason: Any = None
    error: Any = None
    usage: Any = None


class _Body(msgspec.Struct, gc=False):
    """What is looked at of an answer. The rest, most of it, is skipped."""

    choices: list[_Choice] | None = None
    data: msgspec.Raw = _NULL
    output: msgspec.Raw = _NULL
    results: msgspec.Raw = _NULL
    status: Any = None
    error: Any = None
    usage: Any = None

    @property
    def answers(self) -> bool:
        """Whether there is an answer in it, be it an empty one."""
        return self.choices is not None or not self.data == self.output == self.results == _NULL


_decode_body = msgspec.json.Decoder(_Body).decode

#: Without this field the answer is none.
_REQUIRED = {Operation.CHAT: "choices", Operation.COMPLETION: "choices", Operation.EMBEDDING: "data"}
#: The answers to these are text, which costs tokens. It is worth mending, too.
_TEXT = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE})
_USUAL = (None, "stop", "length", "tool_calls")
#: These cost tokens, whether the upstream says how many or not.
_METERED = _TEXT | {Operation.EMBEDDING}
#: How a stream of events begins.
_BEGINNINGS = (b"{", b"[", b"<", _BOM[:1], b"")
_EVENTS = (b"data:", b"event:", b"id:", b"retry:", b": ")


class BodyTranscript:
    """An answer in one JSON document: nothing passes before all of it has been seen to be one."""

    content_type = "application/json"
    finished = complete = False
    dropped = 0
    #: It has no first token: it may take its time as long as its bytes come.
    begun = True

    def __init__(self, call: Call, upstream: str, redaction: Redaction | None = None) -> None:
        self.ready = False
        self._redaction = redaction
        self.usage: Usage | None = None
        self._fields = call.fields
        self._operation = call.operation
        self._required = _REQUIRED.get(call.operation)
        self._upstream = upstream
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        if not self._parts and data[:1] != b"{":
            self._check_beginning(data)
        self._size += len(data)
        if self._size > MAX_BODY:
            raise self._malformed(f"more than {MAX_BODY} bytes")
        self._parts.append(data)
        return b""

    def _check_beginning(self, data: bytes) -> None:
        if data.startswith(_EVENTS):
            raise self._malformed("an event stream, although none was asked for")
        if data.lstrip()[:1] not in _BEGINNINGS:  # no more of it is collected
            raise self._malformed("a body that is not a JSON object in UTF-8")

    def end(self) -> bytes:
        body = b"".join(self._parts)
        if self._redaction is not None:
            body = self._redaction.redact(body)
        try:
            body.decode()  # the fields we skip are not checked by the decoder
            seen = _decode_body(body)
        except (ValueError, RecursionError):
            body, seen = self._odd(body)
        error = self._error(seen, body)
        if error is not None:
            raise reported_error(error, self._upstream)
        if self._required and getattr(seen, self._required) in (None, _NULL):
            raise self._malformed(f"no '{self._required}'")
        self.usage = self._usage(seen, body)
        self.ready = True
        return body

    def _odd(self, body: bytes) -> tuple[bytes, _Body]:
        """A body that is no plain JSON object of the usual shape, as one, if it is near enough."""
        body = body.removeprefix(_BOM)
        said: Any
        try:
            body.decode()
            said = msgspec.json.decode(body)
        except (ValueError, RecursionError) as error:
            # Unlike a stream it can still be asked for elsewhere, so bytes that are no text are not mended.
            fit = self._operation in _TEXT and not isinstance(error, UnicodeDecodeError)
            mended = mend(body) if fit else None
            if mended is None:
                page = page_error(200, body, self._upstream)
                raise page or self._malformed("a body that is not a JSON object in UTF-8") from None
            body, said = mended
        if not isinstance(said, dict) and error_in(said) is None:
            raise self._malformed("a body that is not a JSON object")
        if not isinstance(said, dict):
            return body, _Body(error=error_in(said))
        choices = said.get("choices")
        if choices is not None:
            found = choices if isinstance(choices, list) else []
            choices = [msgspec.convert(one, _Choice) for one in found if isinstance(one, dict)]
        more = {name: said.get(name) for name in ("status", "error", "usage")}
        data, output, results = (_raw(said.get(name)) for name in ("data", "output", "results"))
        return body, _Body(choices, data, output, results, **more)

    def _error(self, seen: _Body, body: bytes) -> object | None:
        """What it reports as an error, if it is no answer."""
        error: object | None
        if self._operation is Operation.RESPONSE and seen.status in ("failed", "cancelled"):
            return seen.error or {"code": f"response.{seen.status}"}
        for choice in seen.choices or ():
            if choice.error is None and choice.finish_reason in _USUAL:
                continue
            error = error_of_choice(choice.error, choice.finish_reason)
            if error is not None:
                return error
        if seen.error is not None and not seen.choices and seen.data == _NULL and is_error(seen.error):
            error = seen.error
            return error
        return None if seen.answers else error_in(_decoded(body))

    def _usage(self, seen: _Body, body: bytes) -> Usage | None:
        reported, fields = ReportedUsage(), self._fields
        reported.add(seen.usage)
        if reported.prompt and reported.completion:  # as nearly always
            return Usage(reported.prompt, reported.completion, reported.cached)
        if not reported:
            reported.add_found(_without_answer(body))
        text = self._operation in _TEXT
        if reported:
            return reported.usage(
                lambda: estimate(fields, Tally()).prompt_tokens,
                lambda: tally_body(body).tokens if text else 0,
            )
        return estimate(fields, tally_body(body)) if self._operation in _METERED else None

    def cut(self, error: GatewayError) -> bytes:
        """Nothing: this kind of answer is passed on whole or not at all."""
        return b""

    def _malformed(self, what: str) -> UpstreamMalformed:
        message = f"Upstream '{self._upstream}' answered 200 with {what}, which is no answer to this request."
        return UpstreamMalformed(message, upstream=self._upstream)


class _Elsewhere(msgspec.Struct):
    """Where the usage stands in other answers than OpenAI's."""

    choices: list[_Choice] | None = None
    usage: Any = None
    meta: Any = None
    usageMetadata: Any = None
    x_groq: Any = None
    timings: Any = None
    eval_count: Any = None
    prompt_eval_count: Any = None


_decode_elsewhere = msgspec.json.Decoder(_Elsewhere).decode


def _without_answer(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.structs.asdict(_decode_elsewhere(body))
    except (ValueError, RecursionError):
        return {}
    choices = [{"usage": choice.usage} for choice in found.pop("choices") or ()]
    return {name: value for name, value in found.items() if value is not None} | {"choices": choices}


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None


def _raw(value: Any) -> msgspec.Raw:
    return _NULL if value is None else msgspec.Raw(b"[]")
