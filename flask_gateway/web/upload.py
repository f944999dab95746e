"""Reads a form with files into a file on disk, so that memory does not grow with it.

The order of the parts is the caller's: the Python SDK sends the file last, curl and the JavaScript SDK first.
Files are written to disk as they arrive. Texts are kept, since the model is one of them. The form to
upstreams is made of both, texts first. So each candidate gets the same bytes, with its own name of the model.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, TypeVar

import msgspec
from flask import Request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from ..guards.body_memory import BodyLease
from ..guards.inflight import NoThreadToWait
from ..model.errors import BodyNotReceived, BodyTooLarge, BodyTooSlow, InvalidField, InvalidForm, Overloaded
from .request_body import announced_length, discard, too_large
from .request_state import RequestState
from .sound_length import SoundLength

#: How much one read takes, and how much is sent at once, bytes.
STEP, PIECE = 64 * 1024, 128 * 1024
#: The most parts, and the longest head of one, bytes.
MAX_PARTS, MAX_HEAD = 64, 8 * 1024
#: The longest text, and all texts together, bytes. A prompt for pictures has 32 000 characters at most.
MAX_TEXT, MAX_TEXTS = 128 * 1024, 256 * 1024
#: Where temporary files are on disk: file-hierarchy(7).
_ON_DISK = "/var/tmp"  # noqa: S108  # only for files without a name
#: The longest boundary. RFC 2046, 5.1.1, allows 70 characters, and Werkzeug's client now and then makes 71.
_MAX_BOUNDARY = 200


class FormUpload:
    """A form with its files on disk (``model.upload.Upload``). One thread at a time reads it.

    :ivar texts: name and value of each part that is no file, in their order.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._boundary = secrets.token_hex(16)
        self.texts: list[tuple[str, str]] = []
        self.fields: dict[str, msgspec.Raw] = {}
        self.files = self.size = self.spooled = 0
        self._sound = SoundLength()

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary}"

    @property
    def seconds(self) -> int:
        return self._sound.seconds(self.size)

    def add_text(self, name: str, value: bytes) -> None:
        """:raises InvalidForm: it is no UTF-8."""
        try:
            text = value.decode()
        except UnicodeDecodeError:
            raise InvalidForm(f"The field '{name[:100]}' is not UTF-8. Encode it in UTF-8.", name) from None
        self.texts.append((name, text))
        self.fields.setdefault(name, msgspec.Raw(msgspec.json.encode(text)))

    def begin_file(self, part: File) -> None:
        head = _head_of(self._boundary, part.name, part.filename)
        for name in ("Content-Type", "Content-Transfer-Encoding"):
            if (value := part.headers.get(name)) and value.isprintable():
                head += f"{name}: {value}\r\n"
        self._write(head.encode() + b"\r\n")
        self.files += 1

    def add_to_file(self, data: bytes) -> None:
        if self.size < SoundLength.HEAD:
            self._sound.feed(data)
        self.size += len(data)
        self._write(data)

    def end_file(self) -> None:
        self._write(b"\r\n")

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.spooled += len(data)

    def flush(self) -> None:
        self._file.flush()

    def body(self, model: str, fields: Mapping[str, msgspec.Raw]) -> FormBody:
        texts = [("model", model)]
        texts += [(name, value) for name, value in self.texts if fields.get(name) is self.fields[name]]
        for name, raw in fields.items():
            if name != "model" and raw is not self.fields.get(name):
                texts.append((name, _text_of(raw)))
        head = "".join(
            f"{_head_of(self._boundary, name)}\r\n{value}\r\n" for name, value in texts if name != "model"
        )
        first = f"{_head_of(self._boundary, 'model')}\r\n{model}\r\n"
        end = f"--{self._boundary}--\r\n"
        return FormBody((first + head).encode(), self._file.fileno(), self.spooled, end.encode())

    def close(self) -> None:
        self._file.close()


class FormBody:
    """A form as it is sent (``model.upload.LongBody``)."""

    def __init__(self, head: bytes, fd: int, spooled: int, end: bytes) -> None:
        self._head, self._fd, self._spooled, self._end = head, fd, spooled, end

    def __len__(self) -> int:
        return len(self._head) + self._spooled + len(self._end)

    def pieces(self) -> Iterator[bytes]:
        yield self._head
        for at in range(0, self._spooled, PIECE):
            yield os.pread(self._fd, min(PIECE, self._spooled - at), at)
        yield self._end


class StoredBody:
    """A body on disk, sent as it came (``model.upload.LongBody``)."""

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file = file
        self.size = 0

    def add(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(data)
        self.size += len(data)

    def __len__(self) -> int:
        return self.size

    def pieces(self) -> Iterator[bytes]:
        if self._file is not None:
            self._file.flush()
            yield from FormBody(b"", self._file.fileno(), self.size, b"").pieces()

    def close(self) -> None:
        """Delete it. May be called again."""
        if self._file is not None:
            self._file.close()


def store_body(request: Request, limit: int, hold: Callable[[int], None], folder: str | None) -> StoredBody:
    """The body of a request, unread, on disk. Its reader closes it. Parameters are those of
    :func:`read_upload`.

    :raises CallerError: the body is too large, or does not arrive. :raises Overloaded: there is no space.
    """
    announced = announced_length(request)
    chunked = "HTTP_TRANSFER_ENCODING" in request.environ
    body = StoredBody(_temporary(folder) if announced or chunked else None)

    def spool(stream: Any) -> None:
        while (announced or chunked) and (data := stream.read(STEP)):
            body.add(data)
            if body.size > limit:
                raise too_large(limit)
            hold(body.size)
        if announced is not None and body.size < announced:
            raise BodyNotReceived("The body ended before its announced length. Send it again.")

    try:
        _receive(request, limit, spool)
    except BaseException:
        body.close()
        raise
    return body


def _head_of(boundary: str, name: str, filename: str | None = None) -> str:
    """The first lines of a part. Names are escaped as HTML says: WHATWG, 4.10.21.8."""
    file = "" if filename is None else f'; filename="{_escaped(filename)}"'
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{_escaped(name)}"{file}\r\n'


def _escaped(name: str) -> str:
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


def _text_of(raw: msgspec.Raw) -> str:
    """A value of the settings as a form has it: a text without its quotes, all else as JSON."""
    value = msgspec.json.decode(raw)
    return value if isinstance(value, str) else bytes(raw).decode()


def is_form(request: Request) -> bool:
    return request.mimetype == "multipart/form-data"


Body = TypeVar("Body", FormUpload, StoredBody)
#: Reads the body of a request: its limit, what counts its bytes, and the folder (:func:`read_upload`).
Read = Callable[[Request, int, Callable[[int], None], str | None], Body]


def on_disk(state: RequestState, read: Read[Body]) -> tuple[Body, Callable[[], None]]:
    """Read the request's body onto the disk, within the settings and the caller's share of the space.

    :param read: :func:`read_upload` or :func:`store_body`.
    :returns: the body, and a function that closes it and frees its space.
    :raises CallerError: see ``read``. :raises Overloaded: there is no space for it.
    """
    settings, space = state.gateway.settings, BodyLease(state.gateway.upload_space, state.known.id)
    try:
        body = read(state.request, settings.max_upload_bytes, space.hold, settings.upload_dir)
    except BaseException:
        space.release()
        raise

    def release() -> None:
        body.close()
        space.release()

    return body, release


def read_upload(request: Request, limit: int, hold: Callable[[int], None], folder: str | None) -> FormUpload:
    """The form in the request's body. Its reader closes it.

    :param limit: the largest body, bytes. :param hold: called with the bytes on disk; it may raise.
    :param folder: where the file is made; ``None``: where the system makes temporary files.
    :raises CallerError: the form is broken, too large, or does not arrive.
    :raises Overloaded: there is no space for it.
    """
    boundary = request.mimetype_params.get("boundary", "")
    if not 0 < len(boundary) <= _MAX_BOUNDARY or not boundary.isascii():
        raise InvalidForm("The header Content-Type names no boundary of the form: let the client set it.")
    upload = FormUpload(_temporary(folder))

    def spool(stream: Any) -> None:
        _spool(stream, upload, boundary.encode(), limit, hold)

    try:
        _receive(request, limit, spool)
    except BaseException:
        upload.close()
        raise
    return upload


def _temporary(folder: str | None) -> IO[bytes]:
    """A file without a name. ``/tmp`` is often in memory, ``/var/tmp`` is not."""
    try:
        usual = _ON_DISK if os.access(_ON_DISK, os.W_OK) else None
        return tempfile.TemporaryFile(dir=folder or usual)
    except OSError as error:
        raise Overloaded(f"This server cannot store an upload now: {error.strerror}.") from None


def _receive(request: Request, limit: int, spool: Callable[[Any], None]) -> None:
    """Let ``spool`` read the body. Convert its exceptions."""
    announced = announced_length(request)
    try:
        if (announced or 0) > limit:
            raise too_large(limit)
        spool(request.environ["wsgi.input"])
    except NoThreadToWait:
        raise
    except (BodyTooLarge, Overloaded, InvalidForm, InvalidField):
        discard(request)
        raise
    except TimeoutError:
        raise BodyTooSlow(
            "The form did not arrive in time. Send it again, over a faster connection."
        ) from None
    except (OSError, ParseException):
        raise BodyNotReceived("The form could not be read to its end. Send it again.") from None


def _spool(stream: Any, upload: FormUpload, boundary: bytes, limit: int, hold: Callable[[int], None]) -> None:
    parser, received = _Parser(upload, boundary), 0
    while data := stream.read(STEP):
        received += len(data)
        if received > limit:
            raise too_large(limit)
        parser.feed(data)
        hold(upload.spooled)
    parser.end()
    upload.flush()


class _Parser:
    """Sorts the parts of a form: files into the upload's file, texts into its list."""

    def __init__(self, upload: FormUpload, boundary: bytes) -> None:
        self._upload = upload
        self._decoder = MultipartDecoder(boundary, max_parts=MAX_PARTS)
        self._text: bytearray | None = None
        self._name = ""
        self._texts = 0
        self._ended = False

    def feed(self, data: bytes) -> None:
        """:raises InvalidForm: the form is broken."""
        self._decoder.receive_data(data)
        self._read()
        # The rest is the head of a part, or a possible beginning of the boundary.
        if len(self._decoder.buffer) > MAX_HEAD + STEP and not self._ended:
            raise InvalidForm(
                f"The head of a part of the form is longer than {MAX_HEAD} bytes. Send a shorter one."
            )

    def end(self) -> None:
        """:raises InvalidForm: the form has no end."""
        self._decoder.receive_data(None)
        self._read()
        if not self._ended:
            raise InvalidForm("The form breaks off before its last boundary. Send it again.")

    def _read(self) -> None:
        try:
            while not isinstance(event := self._decoder.next_event(), NeedData):
                if isinstance(event, Epilogue):
                    self._ended = True
                    return
                self._take(event)
        except RequestEntityTooLarge:
            raise InvalidForm(f"The form has more than {MAX_PARTS} parts. Send fewer.") from None
        except (ValueError, AttributeError):
            raise InvalidForm("The form is broken. Send multipart/form-data of RFC 7578.") from None

    def _take(self, event: Any) -> None:
        if isinstance(event, File | Field):
            self._begin(event)
        elif isinstance(event, Data) and self._text is None:
            self._upload.add_to_file(event.data)
            if not event.more_data:
                self._upload.end_file()
        elif isinstance(event, Data):
            self._add_text(event)

    def _begin(self, part: File | Field) -> None:
        if not part.name:
            raise InvalidForm("A part of the form has no name. Name each part.")
        if sum(len(name) + len(value) for name, value in part.headers) > MAX_HEAD:
            raise InvalidForm(
                f"The head of a part of the form is longer than {MAX_HEAD} bytes. Send a shorter one."
            )
        self._name = part.name
        if isinstance(part, File):
            self._text = None
            self._upload.begin_file(part)
        else:
            self._text = bytearray()

    def _add_text(self, event: Data) -> None:
        assert self._text is not None
        self._text += event.data
        self._texts += len(event.data)
        if len(self._text) > MAX_TEXT or self._texts > MAX_TEXTS:
            raise InvalidField(
                f"The field '{self._name[:100]}' is too long: one text may have {MAX_TEXT} bytes and all "
                f"{MAX_TEXTS}. A file needs a file name.",
                param=self._name[:100],
            )
        if not event.more_data:
            self._upload.add_text(self._name, bytes(self._text))


def twice(upload: FormUpload, names: Sequence[str]) -> str | None:
    """The first of these fields that the form has more than once."""
    sent = [name for name, _ in upload.texts]
    return next((name for name in names if sent.count(name) > 1), None)
