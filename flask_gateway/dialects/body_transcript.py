"""Reads an answer that is one JSON document: checks it, collects its usage, passes it on when complete."""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.call import Call, Operation, Usage
from ..model.errors import SEND_AGAIN, GatewayError, UpstreamMalformed
from .bulky import is_bulky, shortened
from .error_mapping import page_error, reported_error
from .expected_choices import choices_of
from .redaction import Redaction
from .reported_usage import ReportedUsage, plain_usage
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


class AnswerFields(msgspec.Struct, gc=False):
    """The fields of an answer that are decoded. The decoder skips the rest, which is most of it."""

    choices: list[_Choice] | None = None
    data: msgspec.Raw = _NULL
    output: msgspec.Raw = _NULL
    results: msgspec.Raw = _NULL
    content: msgspec.Raw = _NULL
    input_tokens: msgspec.Raw = _NULL
    status: Any = None
    error: Any = None
    usage: Any = None
    service_tier: Any = None

    @property
    def answers(self) -> bool:
        """Whether it has an answer in it. The answer may be empty."""
        if self.choices is not None:
            return True
        return not self.data == self.output == self.results == self.content == _NULL


#: The fields of which only their presence counts.
_VALUES = ("data", "output", "results", "content", "input_tokens")
_decode_body = msgspec.json.Decoder(AnswerFields).decode

#: The field that an answer to this operation must have.
_REQUIRED = {
    Operation.CHAT: "choices",
    Operation.COMPLETION: "choices",
    Operation.EMBEDDING: "data",
    Operation.MESSAGE: "content",
    Operation.COUNT: "input_tokens",
}
#: Operations whose answers are text. Text costs tokens, and invalid JSON is mended.
_TEXT = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE, Operation.MESSAGE})
_USUAL = (None, "stop", "length", "tool_calls")
#: Operations that cost tokens, whether the upstream reports them or not.
_METERED = _TEXT | {Operation.EMBEDDING}
#: The first bytes of a body that is collected. A web page is collected to name its title.
_BEGINNINGS = (b"{", b"[", b"<", _BOM[:1], b"")
#: The first bytes of an event stream.
_EVENTS = (b"data:", b"event:", b"id:", b"retry:", b": ")


class BodyTranscript:
    """An answer in one JSON document. Nothing is passed on before the whole document has been checked."""

    content_type = "application/json"
    finished = complete = postpones = False
    dropped = 0
    #: A document cannot be kept open by bytes that say nothing.
    ping = b""
    #: A document has no first token, so the first-token timeout does not apply.
    begun = True

    def __init__(self, call: Call, upstream: str, redaction: Redaction | None = None) -> None:
        self.ready = False
        self._redaction = redaction
        self.usage: Usage | None = None
        self._fields = call.fields
        self._operation = call.operation
        self._required = _REQUIRED.get(call.operation)
        self._upstream = upstream
        self._call = call
        self._parts: list[bytes] = []
        self._size, self._largest = 0, MAX_BODY

    def feed(self, data: bytes) -> bytes:
        if not self._parts and data[:1] != b"{":
            self._check_beginning(data)
        self._size += len(data)
        if self._size > self._largest:
            raise self._malformed(f"more than {self._largest} bytes")
        self._parts.append(data)
        return b""

    def _check_beginning(self, data: bytes) -> None:
        if data.startswith(_EVENTS):
            raise self._malformed("an event stream, although none was asked for")
        if data.lstrip()[:1] not in _BEGINNINGS:  # fail at once instead of collecting it
            raise self._malformed("a body that is not a JSON object in UTF-8")

    def end(self) -> bytes:
        body = b"".join(self._parts)
        if self._redaction is not None:
            body = self._redaction.redact(body)
        body, read, seen = self._bulky(body.removeprefix(_BOM)) if is_bulky(body) else self._usual(body)
        error = self._error(seen, read)
        if error is not None:
            raise reported_error(error, self._upstream)
        if self._required and getattr(seen, self._required) in (None, _NULL):
            raise self._malformed(f"no '{self._required}'")
        self.usage = self._usage(seen, body, read)
        self.ready = True
        return body

    def _usual(self, body: bytes) -> tuple[bytes, bytes, AnswerFields]:
        """Return the body, the JSON that is read of it, and its fields."""
        try:
            body.decode()  # the JSON decoder does not check UTF-8 in the fields that it skips
            return body, body, _decode_body(body)
        except (ValueError, RecursionError):
            body, seen = self._odd(body)
            return body, body, seen

    def _bulky(self, body: bytes) -> tuple[bytes, bytes, AnswerFields]:
        try:
            body.decode()
            read, _ = shortened(body, choices_of(self._call))
            return body, read, _decode_body(read)
        except (ValueError, RecursionError):
            raise self._malformed("a body that is not a JSON object in UTF-8") from None

    def _odd(self, body: bytes) -> tuple[bytes, AnswerFields]:
        """Decode a body of an unusual shape, or repair it. Return its bytes and its fields."""
        body = body.removeprefix(_BOM)
        document: Any
        try:
            body.decode()
            document = msgspec.json.decode(body)
        except (ValueError, RecursionError) as error:
            # Unlike a stream it can still be retried elsewhere, so bytes that are no UTF-8 are not mended.
            fit = self._operation in _TEXT and not isinstance(error, UnicodeDecodeError)
            mended = mend(body) if fit else None
            if mended is None:
                page = page_error(200, body, self._upstream)
                raise page or self._malformed("a body that is not a JSON object in UTF-8") from None
            body, document = mended
        if not isinstance(document, dict) and error_in(document) is None:
            raise self._malformed("a body that is not a JSON object")
        if not isinstance(document, dict):
            return body, AnswerFields(error=error_in(document))
        choices = document.get("choices")
        if choices is not None:
            items = choices if isinstance(choices, list) else []
            choices = [msgspec.convert(choice, _Choice) for choice in items if isinstance(choice, dict)]
        more: dict[str, Any] = {name: document.get(name) for name in ("status", "error", "usage")}
        more |= {name: _raw(document.get(name)) for name in _VALUES}
        return body, AnswerFields(choices, **more)

    def _error(self, seen: AnswerFields, body: bytes) -> object | None:
        """Return the error that the document reports; ``None`` when it is an answer."""
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

    def _usage(self, seen: AnswerFields, body: bytes, read: bytes) -> Usage | None:
        if seen.service_tier is None and (usage := plain_usage(seen.usage)) is not None:
            return usage
        reported, fields = ReportedUsage(), self._fields
        reported.add(seen.usage)
        if reported.prompt and reported.completion:  # as nearly always
            reported.add_service(seen.service_tier)
            return reported.complete()
        if not reported:
            reported.add_document(_without_answer(read))
        text = self._operation in _TEXT
        if reported.is_zero:
            return reported.complete()
        if reported:
            return reported.usage(
                lambda: estimate(fields, Tally()).prompt_tokens,
                lambda: tally_body(body).tokens if text else 0,
            )
        return estimate(fields, tally_body(body)) if self._operation in _METERED else None

    def catch_up(self) -> bytes:
        """Return nothing: no event is postponed."""
        return b""

    def cut(self, error: GatewayError) -> bytes:
        """Return nothing: a document is passed on as a whole or not at all."""
        return b""

    def _malformed(self, what: str) -> UpstreamMalformed:
        message = f"Upstream '{self._upstream}' answered 200 with {what}, which is no answer to this request."
        return UpstreamMalformed(f"{message} {SEND_AGAIN}", upstream=self._upstream)


class _Elsewhere(msgspec.Struct):
    """The fields that hold the usage in answers of other servers than OpenAI's."""

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
        fields = msgspec.structs.asdict(_decode_elsewhere(body))
    except (ValueError, RecursionError):
        return {}
    choices = [{"usage": choice.usage} for choice in fields.pop("choices") or ()]
    return {name: value for name, value in fields.items() if value is not None} | {"choices": choices}


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None


def _raw(value: Any) -> msgspec.Raw:
    return _NULL if value is None else msgspec.Raw(b"[]")
