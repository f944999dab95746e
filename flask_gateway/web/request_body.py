"""A request's body: read within its limit, checked, and left otherwise untouched."""

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

from ..model.call import Operation
from ..model.errors import (
    BodyNotReceived,
    BodyTooLarge,
    BodyTooSlow,
    InvalidField,
    InvalidJson,
    Overloaded,
    UnsupportedMediaType,
)
from ..model.large_json import SLICE, slices
from .decompression import decompress, read_codings
from .duplicate_model import names_model_twice
from .json_limits import check_shape

Fields = Mapping[str, msgspec.Raw]

#: What is read of a body at once: at first, and at most, bytes.
FIRST_STEP, READ_STEP = 16 * 1024, 256 * 1024
#: The CPU time that reading a body may take, seconds, at first and for each byte. A chunk takes 3 us, so a
#: body of 16 MiB in chunks of a byte would take 40 s; in chunks of 64 bytes it takes half of what it may.
READ_CPU, READ_CPU_PER_BYTE = 0.02, 1.2 / (16 * 1024 * 1024)
_ROOM = bytes(SLICE)
#: How much of a body that is too large is read and thrown away, bytes, and in what steps ...
DISCARD_BYTES, DISCARD_STEP = 64 * 1024 * 1024, SLICE
#: ... and for how long, in all and while nothing comes, seconds.
DISCARD_SECONDS, DISCARD_SILENCE = 5.0, 0.25

#: More models than this are not tried for one call, so no more can be named.
MAX_CHAIN = 8

#: The model of a moderation that names none, as the OpenAI API has it.
DEFAULT_MODERATION = "omni-moderation-latest"

#: More messages than this are not a conversation.
MAX_MESSAGES = 4096

#: Fields that set a limit or a number of answers. There are readers that take ``true`` for 1, and -0, or a
#: number that no double holds, for who knows what.
_COUNTS = frozenset(
    {"max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "top_logprobs", "top_n"}
    | {"dimensions"}
)
_COUNT = re.compile(rb"(?:0|-?[1-9][0-9]{0,14})(?:\.0{1,9})?|null").fullmatch

#: Other gateways take an address, or the key to go there with, from the body. Some were made to send
#: their own keys to whoever asked.
_NOT_FORWARDED = frozenset({"fallbacks", "api_base", "api_key", "api_url", "base_url", "endpoint"})

#: The length of a body, if it is one that can be.
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII).fullmatch

#: The operations that can be streamed; for the others ``stream`` is a field like any other.
_STREAMED = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE})

#: What each operation cannot do without, besides the model.
_REQUIRED = {
    Operation.CHAT: ("messages",),
    Operation.COMPLETION: ("prompt",),
    Operation.EMBEDDING: ("input",),
    Operation.RESPONSE: (),  # a stored prompt or an earlier response may stand for the input
    Operation.MODERATION: ("input",),
    Operation.RERANK: ("query", "documents"),
}


def read_body(request: Request, limit: int, hold: Callable[[int], None]) -> bytes:
    """The whole body.

    werkzeug cuts a chunked body silently at its own limit, so the server's stream is read itself.

    :param limit: the most bytes accepted.
    :param hold: told how many bytes are in memory by now; what it raises ends the reading.
    :raises CallerError: it is of the wrong type, too large, broken, or does not arrive.
    :raises Overloaded: there is no room for it.
    """
    environ = request.environ
    if environ.get("CONTENT_TYPE") != "application/json" and request.mimetype != "application/json":
        raise UnsupportedMediaType("Send the body as JSON, with the header 'Content-Type: application/json'.")
    codings = read_codings(environ.get("HTTP_CONTENT_ENCODING"))
    announced = _announced(request)
    try:
        if (announced or 0) > limit:
            raise _too_large(limit)
        body = _read(environ["wsgi.input"], announced or limit + 1, hold)
        if len(body) > limit:
            raise _too_large(limit)
    except (BodyTooLarge, Overloaded) as error:
        error.__traceback__, body = None, b""  # let go of what has been read so far
        hold(0)
        _discard(request)
        raise
    except TimeoutError:
        raise BodyTooSlow("The body did not arrive in time.") from None
    except (OSError, ValueError, ParseException):
        raise BodyNotReceived("The body did not arrive as it was announced: the framing is broken.") from None
    if announced is not None and len(body) < announced:
        raise BodyNotReceived(f"The body ended after {len(body)} of the announced {announced} bytes.")
    return decompress(body, codings, limit, hold) if codings else body


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than the {limit} bytes accepted here.")


def _announced(request: Request) -> int | None:
    """How long the body is said to be; ``None`` when it comes in chunks."""
    length = request.environ.get("CONTENT_LENGTH", "")
    # The server has found it to be a number, and alone. werkzeug knows what else a server may say.
    if _LENGTH(length) and "HTTP_TRANSFER_ENCODING" not in request.environ:
        return int(length)
    return request.content_length


def _read(stream: Any, size: int, hold: Callable[[int], None]) -> bytes:
    """Up to so many bytes, never copied as a whole: the buffer grows in place and becomes the body.

    :param stream: a file; one that has ``readinto`` is read into the buffer itself.
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
            raise BodyNotReceived("The body comes in chunks of a few bytes each. Send larger chunks.")
        left, step = size - buffer.tell(), min(2 * step, READ_STEP)
        part = stream.read(min(left, step)) if left else b""
        hold(buffer.tell() + len(part))
    return buffer.getvalue()


def _read_into(read_into: Callable[[memoryview], int], size: int, hold: Callable[[int], None]) -> bytes:
    buffer, filled = BytesIO(), 0
    while filled < size:
        room = min(size - filled, SLICE)
        buffer.write(_ROOM[:room])
        with buffer.getbuffer() as whole:
            while room:
                came = read_into(whole[filled : filled + room])
                filled, room = filled + came, room - came
                if not came:
                    size = filled
                    break
                hold(filled)
    buffer.truncate(filled)
    return buffer.getvalue()


def _discard(request: Request) -> None:
    """Let a caller whose body is refused finish sending it, within reason. Many read the answer only then,
    and would see a broken connection instead of the reason. One that waits is answered at once."""
    stream, sock = request.environ["wsgi.input"], request.environ.get("gunicorn.socket")
    if sock is None:
        return
    deadline, left, patience = time.monotonic() + DISCARD_SECONDS, DISCARD_BYTES, sock.gettimeout()
    read_into, scrap = getattr(stream, "readinto", None), memoryview(bytearray(DISCARD_STEP))
    sock.settimeout(DISCARD_SILENCE)
    with suppress(OSError, ParseException):
        while left > 0 and time.monotonic() < deadline:
            came = len(stream.read(DISCARD_STEP)) if read_into is None else read_into(scrap)
            if not came:
                break
            left -= came
    sock.settimeout(patience)


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def parse_fields(body: bytes) -> Fields:
    """The top level of the body; the values stay as the caller wrote them.

    :raises InvalidJson: it is not one JSON object in UTF-8. :raises InvalidField: ``model`` is double.
    """
    if not body:
        raise InvalidJson("The body is empty; a JSON object was expected.")
    if not body.isascii() and (at := _first_bad_byte(body)) is not None:
        raise _byte_order_mark(body) or InvalidJson(f"The body is not UTF-8: see byte {at}.")
    check_shape(body)
    try:
        fields = _decode_fields(body)
    except msgspec.ValidationError:
        raise InvalidJson("The body is JSON, but not an object: '{\"model\": …}' was expected.") from None
    except msgspec.DecodeError as error:
        raise _byte_order_mark(body) or InvalidJson(f"The body is not valid JSON: {error}.") from None
    if names_model_twice(body):
        raise InvalidField("The field 'model' stands in the body more than once.", param="model")
    return fields


#: The longer one first: UTF-32 begins like UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def _byte_order_mark(body: bytes) -> InvalidJson | None:
    """The reason why a body is not JSON, if it begins with a byte order mark."""
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if body.startswith(mark):
            return InvalidJson(
                f"The body begins with a byte order mark of {encoding} ({mark.hex(' ').upper()}). "
                "Send JSON in UTF-8 without it."
            )
    return None


def _first_bad_byte(body: bytes) -> int | None:
    """Where the body is not UTF-8. Slice by slice: as one text it might take four times the memory."""
    decode, read = codecs.getincrementaldecoder("utf-8")().decode, 0
    try:
        for piece in slices(body):
            read += len(piece)
            decode(piece, read == len(body))
    except UnicodeDecodeError as error:
        return read - len(error.object) + error.start
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
    """The model that is asked, and whether the answer is to be streamed.

    :raises InvalidField: a field that we need is missing or of the wrong type.
    """
    if operation is Operation.MODERATION and fields.get("model", _NULL) == _NULL:
        model = DEFAULT_MODERATION
    else:
        model = _field(fields, "model")
    if not model or len(model) > 256 or not model.isprintable():
        raise InvalidField("'model' must be a name of 1 to 256 printable characters.", param="model")
    for name in _REQUIRED[operation]:
        if fields.get(name, _NULL) == _NULL:
            raise InvalidField(f"The field '{name}' is missing.", param=name)
    if operation is Operation.CHAT and not 0 < len(_field(fields, "messages")) <= MAX_MESSAGES:
        raise InvalidField(f"'messages' must be 1 to {MAX_MESSAGES} messages.", param="messages")
    for name in _COUNTS & fields.keys():
        if not _COUNT(bytes(fields[name])):
            raise InvalidField(f"'{name}' must be a whole number.", param=name)
    stream = operation in _STREAMED and "stream" in fields and bool(_field(fields, "stream"))
    return model, stream


def take_fallbacks(fields: Fields) -> tuple[Fields, tuple[str, ...] | None]:
    """The caller's own chain of models, and the fields for an upstream: without those that are for us,
    and without those that would have it ask elsewhere, if it is a gateway itself.

    ``false`` and ``[]`` forbid any fallback; without the field the route has its own.

    :raises InvalidField: it is no chain.
    """
    rest = fields
    if not _NOT_FORWARDED.isdisjoint(fields):
        rest = {name: value for name, value in fields.items() if name not in _NOT_FORWARDED}
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
        raise InvalidField(f"The field '{name}' is missing.", param=name) from None
    except RecursionError:
        raise InvalidField(f"'{name}' is nested too deeply.", param=name) from None
    except msgspec.DecodeError as error:
        what = str(error).replace("`", "'").replace("$", name)
        raise InvalidField(f"The field '{name}' is not of the right type: {what}.", param=name) from None
