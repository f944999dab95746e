"""Reads a request's body within its limit, checks it, and leaves its values as the caller wrote them."""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any

import msgspec
from flask import Request
from gunicorn.http.errors import ParseException

from ..guards.inflight import NoThreadToWait
from ..model.call import HEARING, PICTURES, Operation
from ..model.errors import (
    BodyNotReceived,
    BodyTooLarge,
    BodyTooSlow,
    InvalidField,
    InvalidJson,
    Overloaded,
    UnsupportedMediaType,
)
from ..model.large_json import SLICE, first_bad_byte
from .decompression import decompress, read_codings
from .duplicate_model import names_model_twice
from .json_limits import check_shape

Fields = Mapping[str, msgspec.Raw]

#: How much one read takes, bytes: the first read, and the largest.
FIRST_STEP, READ_STEP = 16 * 1024, 256 * 1024
#: The CPU time that reading a body may take, seconds: a base, and for each byte. A chunk takes 3 us, so
#: 16 MiB in chunks of one byte would take 40 s. In chunks of 64 bytes, it takes half of the allowed time.
READ_CPU, READ_CPU_PER_BYTE = 0.02, 1.2 / (16 * 1024 * 1024)
_ZEROS = bytes(SLICE)
#: How much of a rejected body we read and discard, bytes, and in what steps ...
DISCARD_BYTES, DISCARD_STEP = 64 * 1024 * 1024, SLICE
#: ... and for how long, seconds: in total, and while no data arrives.
DISCARD_SECONDS, DISCARD_SILENCE = 5.0, 0.25

#: The most models that a caller may name as fallbacks.
MAX_CHAIN = 8

#: The model of a moderation request without ``model``, as in the OpenAI API.
DEFAULT_MODERATION = "omni-moderation-latest"

#: The most messages in one conversation. Claude Code adds a system message on most turns.
MAX_MESSAGES = 4096
_MOST_MESSAGES = {Operation.MESSAGE: 20_000, Operation.COUNT: 20_000}

#: Fields that set a limit or a number of answers. Some parsers read ``true`` as 1, and disagree about -0 and
#: about numbers too large for a double.
_COUNTS = frozenset(
    {"max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "top_logprobs", "top_n"}
    | {"dimensions"}
)
_COUNT = re.compile(rb"(?:0|-?[1-9][0-9]{0,14})(?:\.0{1,9})?|null").fullmatch

#: Some gateways read an upstream's address or key from the body. Attackers have used that to make them send
#: their own keys elsewhere, so we do not forward these fields.
NOT_FORWARDED = frozenset({"fallbacks", "api_base", "api_key", "api_url", "base_url", "endpoint"})

#: A plausible Content-Length.
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII).fullmatch

#: The operations that can be streamed; for the others ``stream`` is a field like any other.
_STREAMED = frozenset(
    {Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE, Operation.MESSAGE, *HEARING, *PICTURES}
)

#: Fields that each operation requires, besides the model.
_REQUIRED = {
    Operation.CHAT: ("messages",),
    Operation.COMPLETION: ("prompt",),
    Operation.EMBEDDING: ("input",),
    Operation.RESPONSE: (),  # a stored prompt or an earlier response may stand for the input
    Operation.MODERATION: ("input",),
    Operation.RERANK: ("query", "documents"),
    Operation.MESSAGE: ("messages", "max_tokens"),
    Operation.COUNT: ("messages",),
    Operation.SPEECH: ("input",),
    Operation.IMAGE: ("prompt",),
}


def read_body(request: Request, limit: int, hold: Callable[[int], None]) -> bytes:
    """The complete body, decompressed.

    werkzeug silently truncates a chunked body at its own limit, so this reads the server's stream directly.

    :param limit: the largest body accepted, bytes.
    :param hold: called with the number of bytes in memory; an exception from it stops the reading.
    :raises CallerError: the body has the wrong type, is too large, is broken, or does not arrive.
    :raises Overloaded: the gateway has no memory left for it.
    """
    environ = request.environ
    if environ.get("CONTENT_TYPE") != "application/json" and request.mimetype != "application/json":
        raise UnsupportedMediaType("Send the body as JSON, with the header 'Content-Type: application/json'.")
    codings = read_codings(environ.get("HTTP_CONTENT_ENCODING"))
    announced = announced_length(request)
    try:
        if (announced or 0) > limit:
            raise too_large(limit)
        body = _read(environ["wsgi.input"], announced or limit + 1, hold)
        if len(body) > limit:
            raise too_large(limit)
    except NoThreadToWait:
        raise
    except (BodyTooLarge, Overloaded) as error:
        error.__traceback__, body = None, b""  # free the bytes read so far
        hold(0)
        discard(request)
        raise
    except TimeoutError:
        raise BodyTooSlow(
            "The body did not arrive in time. Send it again, over a faster connection."
        ) from None
    except (OSError, ValueError, ParseException):
        raise BodyNotReceived(
            "The body could not be read: its HTTP framing is broken. "
            "Check the client, and the proxy before the gateway."
        ) from None
    if announced is not None and len(body) < announced:
        raise BodyNotReceived(
            f"The body ended after {len(body)} of the announced {announced} bytes. Send it again."
        )
    return decompress(body, codings, limit, hold) if codings else body


def too_large(limit: int) -> BodyTooLarge:
    """The error for a body beyond this limit, bytes."""
    return BodyTooLarge(f"The body is larger than the {limit} bytes accepted here. Send less at once.")


def announced_length(request: Request) -> int | None:
    """The announced length of the body; ``None`` if it is chunked."""
    length = request.environ.get("CONTENT_LENGTH", "")
    # gunicorn has checked that this is a single number. For any other value we ask werkzeug.
    if _LENGTH(length) and "HTTP_TRANSFER_ENCODING" not in request.environ:
        return int(length)
    return request.content_length


def _read(stream: Any, size: int, hold: Callable[[int], None]) -> bytes:
    """Read up to ``size`` bytes without copying the whole: the buffer grows in place and becomes the body.

    :param stream: a file. If it has ``readinto``, this reads directly into the buffer.
    """
    read_into: Callable[[memoryview], int] | None = getattr(stream, "readinto", None)
    if read_into is not None:
        return _read_into(read_into, size, hold)
    step = FIRST_STEP
    part = stream.read(min(size, step))
    hold(len(part))
    if len(part) == size or not part:
        return bytes(part)
    buffer, begun = BytesIO(), time.thread_time()
    while part:
        buffer.write(part)
        if time.thread_time() - begun > READ_CPU + buffer.tell() * READ_CPU_PER_BYTE:
            raise BodyNotReceived("The chunks of the body have only a few bytes each. Send larger chunks.")
        left, step = size - buffer.tell(), min(2 * step, READ_STEP)
        part = stream.read(min(left, step)) if left else b""
        hold(buffer.tell() + len(part))
    return buffer.getvalue()


def _read_into(read_into: Callable[[memoryview], int], size: int, hold: Callable[[int], None]) -> bytes:
    buffer, filled = BytesIO(), 0
    while filled < size:
        free = min(size - filled, SLICE)
        buffer.write(_ZEROS[:free])
        with buffer.getbuffer() as view:
            while free:
                received = read_into(view[filled : filled + free])
                filled, free = filled + received, free - received
                if not received:
                    size = filled
                    break
                hold(filled)
    buffer.truncate(filled)
    return buffer.getvalue()


def discard(request: Request) -> None:
    """Read and drop the rest of a rejected body, within limits.

    Many clients read the response only after they have sent everything. They would see a broken connection
    instead of the error. A client that stops sending gets its response at once.
    """
    stream, sock = request.environ["wsgi.input"], request.environ.get("gunicorn.socket")
    if sock is None:
        return
    deadline, left, timeout = time.monotonic() + DISCARD_SECONDS, DISCARD_BYTES, sock.gettimeout()
    read_into, scratch = getattr(stream, "readinto", None), memoryview(bytearray(DISCARD_STEP))
    sock.settimeout(DISCARD_SILENCE)
    with suppress(OSError, ParseException, NoThreadToWait):
        while left > 0 and time.monotonic() < deadline:
            received = len(stream.read(DISCARD_STEP)) if read_into is None else read_into(scratch)
            if not received:
                break
            left -= received
    sock.settimeout(timeout)


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def parse_fields(body: bytes) -> Fields:
    """The top-level fields of the body. Their values stay as the caller wrote them.

    :raises InvalidJson: the body is not one JSON object in UTF-8.
    :raises InvalidField: the body has ``model`` twice.
    """
    if not body:
        raise InvalidJson("The body is empty; a JSON object was expected.")
    if not body.isascii() and (position := first_bad_byte(body)) is not None:
        raise _byte_order_mark(body) or InvalidJson(
            f"The body is not UTF-8: see byte {position}. Encode it in UTF-8."
        )
    check_shape(body)
    try:
        fields = _decode_fields(body)
    except msgspec.ValidationError:
        raise InvalidJson("The body is JSON, but not an object: '{\"model\": …}' was expected.") from None
    except msgspec.DecodeError as error:
        raise _byte_order_mark(body) or _invalid_json(str(error)) from None
    if names_model_twice(body, fields):
        raise InvalidField("The body has the field 'model' more than once. Send it once.", param="model")
    return fields


#: The longer one first: UTF-32 begins like UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def _invalid_json(reason: str) -> InvalidJson:
    """:param reason: the decoder's message, which names the place where there is one."""
    if reason == "Input data was truncated":
        return InvalidJson(
            "The body is not valid JSON: it ends in the middle of a value. Close every brace, bracket and "
            "quote, let Content-Length be the length of the whole body, and send the request again."
        )
    return InvalidJson(f"The body is not valid JSON: {reason}. Correct it there, and send the request again.")


def _byte_order_mark(body: bytes) -> InvalidJson | None:
    """The error for a body that begins with a byte order mark; ``None`` if it has none."""
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if body.startswith(mark):
            return InvalidJson(
                f"The body begins with a byte order mark of {encoding} ({mark.hex(' ').upper()}). "
                "Send JSON in UTF-8 without it."
            )
    return None


_NULL = msgspec.Raw(b"null")


class _Message(msgspec.Struct):
    role: str


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "model": msgspec.json.Decoder(str),
    "stream": msgspec.json.Decoder(bool | None),
    "messages": msgspec.json.Decoder(list[_Message]),
    "fallbacks": msgspec.json.Decoder(list[str] | bool | None),
}


def check(operation: Operation, fields: Fields) -> tuple[str, bool]:
    """The requested model, and whether the caller wants a stream.

    :raises InvalidField: a field that the gateway needs is missing or has the wrong type.
    """
    if operation is Operation.MODERATION and fields.get("model", _NULL) == _NULL:
        model = DEFAULT_MODERATION
    else:
        model = _field(fields, "model")
    if not model or len(model) > 256 or not model.isprintable():
        raise InvalidField("'model' must be a name of 1 to 256 printable characters.", param="model")
    for name in _REQUIRED.get(operation, ()):
        if fields.get(name, _NULL) == _NULL:
            raise InvalidField(f"The field '{name}' is missing. Add it.", param=name)
    most = MAX_MESSAGES if operation is Operation.CHAT else _MOST_MESSAGES.get(operation)
    if most is not None and not 0 < len(_field(fields, "messages")) <= most:
        raise InvalidField(f"'messages' must be 1 to {most} messages.", param="messages")
    for name in _COUNTS & fields.keys():
        if not _COUNT(bytes(fields[name])):
            raise InvalidField(f"'{name}' must be a whole number.", param=name)
    stream = operation in _STREAMED and "stream" in fields and bool(_field(fields, "stream"))
    # Sound is passed on while it comes, whether in events or not.
    return model, stream or operation is Operation.SPEECH


def take_fallbacks(fields: Fields) -> tuple[Fields, tuple[str, ...] | None]:
    """The fields for the upstream, and the caller's own fallback models.

    The upstream gets neither the fields meant for us nor those that would redirect it, if it is a gateway
    itself. ``false`` and ``[]`` forbid any fallback. Without the field, the route's own fallbacks apply.

    :raises InvalidField: ``fallbacks`` has the wrong type or too many models.
    """
    rest = fields
    if not NOT_FORWARDED.isdisjoint(fields):
        rest = {name: value for name, value in fields.items() if name not in NOT_FORWARDED}
    if "fallbacks" not in fields:
        return rest, None
    chain = _field(fields, "fallbacks")
    if isinstance(chain, list) and len(chain) > MAX_CHAIN:
        raise InvalidField(f"'fallbacks' may name {MAX_CHAIN} models at most.", param="fallbacks")
    return rest, (tuple(chain) if isinstance(chain, list) else () if chain is False else None)


def _field(fields: Fields, name: str) -> Any:
    try:
        return _DECODERS[name].decode(fields[name])
    except KeyError:
        raise InvalidField(f"The field '{name}' is missing. Add it.", param=name) from None
    except RecursionError:
        raise InvalidField(f"'{name}' is nested too deeply. Send a flatter one.", param=name) from None
    except msgspec.DecodeError as error:
        what = str(error).replace("`", "'").replace("$", name)
        raise InvalidField(f"The field '{name}' is not of the right type: {what}.", param=name) from None
