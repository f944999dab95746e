"""Forms with files: read into a file on disk, and made again with the model first."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Request
from kit.media_provider import received
from werkzeug.test import EnvironBuilder

from flask_gateway.cli.selftest.scripted_provider import Request as Received
from flask_gateway.model.errors import (
    BodyNotReceived,
    BodyTooLarge,
    BodyTooSlow,
    InvalidField,
    InvalidForm,
    Overloaded,
)
from flask_gateway.web.upload import MAX_PARTS, FormUpload, read_upload, twice

LIMIT = 1_000_000


def request(body: Any, boundary: str = "B", **environ: Any) -> Request:
    made = EnvironBuilder(method="POST").get_environ()
    made |= {"CONTENT_TYPE": f"multipart/form-data; boundary={boundary}"}
    made |= {"wsgi.input": io.BytesIO(body) if isinstance(body, bytes) else body}
    made |= {"CONTENT_LENGTH": str(len(body))} if isinstance(body, bytes) else {}
    return Request(made | environ)


def part(head: str, data: bytes = b"x") -> bytes:
    return b"--B\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n"


END = b"--B--\r\n"
MODEL, FILE = part('name="model"', b"whisper-1"), part('name="file"; filename="a.mp3"', b"\r\n--C\r" * 9)


def read(body: Any, hold: Callable[[int], None] = lambda size: None, folder: str | None = None) -> FormUpload:
    return read_upload(request(body), LIMIT, hold, folder)


def sent(upload: FormUpload, model: str = "m", **changes: Any) -> list[tuple[str, str]]:
    """The parts that an upstream reads: name, and text or file name."""
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in changes.items()}
    body = upload.body(model, {**upload.fields, **raw})
    data = b"".join(body.pieces())
    assert len(data) == len(body)
    got = received(Received("POST", "/", [["Content-Type", upload.content_type]], data))
    return [(one.name, one.value) for one in got.parts]


def test_the_model_comes_first_wherever_it_stood() -> None:
    for body in (FILE + MODEL + END, MODEL + FILE + END):
        upload = read(body)
        assert upload.fields["model"] == msgspec.Raw(b'"whisper-1"')
        assert sent(upload, "other") == [("model", "other"), ("file", "a.mp3")]
        assert (upload.files, upload.size) == (1, 54)
        upload.close()


def test_the_bytes_of_a_file_are_kept_with_any_boundary_in_them() -> None:
    data = b"\r\n--C--\r\n --B--" + bytes(range(256)) * 2000 + b"\r\n"
    upload = read(part('name="file"; filename="a"', data) + MODEL + END)
    body = upload.body("m", upload.fields)
    assert data in b"".join(body.pieces())
    assert b"".join(body.pieces()) == b"".join(body.pieces())
    upload.close()


def test_texts_with_one_name_stay_and_those_of_the_settings_replace_them() -> None:
    upload = read(MODEL + part('name="t[]"', b"a") + part('name="t[]"', b"b") + FILE + END)
    assert sent(upload)[1:3] == [("t[]", "a"), ("t[]", "b")]
    changed = sent(upload, **{"t[]": "c", "temperature": 0.2, "on": True})
    assert changed[1:4] == [("t[]", "c"), ("temperature", "0.2"), ("on", "true")]
    assert twice(upload, ("model", "t[]")) == "t[]"
    assert twice(upload, ("model",)) is None
    upload.close()


def test_odd_names_stay_within_their_quotes() -> None:
    upload = read(MODEL + part('name="file"; filename="a%22;b\\"é.mp3"') + END)
    head = b"".join(upload.body("m", upload.fields).pieces())
    assert 'filename="a%22;b%22é.mp3"'.encode() in head
    upload.close()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", InvalidForm),
        (MODEL, InvalidForm),
        (MODEL + END[:-5], InvalidForm),
        (b"--B\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END, InvalidForm),
        (part("filename=x") + END, InvalidForm),
        (part('name="a"') * (MAX_PARTS + 1) + END, InvalidForm),
        (part('name="a"', b"\xff") + END, InvalidForm),
        (part('name="a"', b"x" * 140_000) + END, InvalidField),
        (part('name="a"', b"x" * 100_000) * 3 + END, InvalidField),
        (part(f'name="{"a" * 9000}"') + END, InvalidForm),
        (b"--B\r\nX-Long: " + b"a" * 200_000, InvalidForm),
        (b"a" * 200_000, InvalidForm),
        (part('name="file"; filename="a"', bytes(LIMIT)) + END, BodyTooLarge),
    ],
)
def test_a_broken_form_is_refused(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(body)


@pytest.mark.parametrize("boundary", ["", "a" * 201])
def test_a_form_needs_a_boundary(boundary: str) -> None:
    with pytest.raises(InvalidForm):
        read_upload(request(MODEL + END, boundary), LIMIT, lambda size: None, None)


class Broken:
    """A body whose reading fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def read(self, size: int) -> bytes:
        raise self._error


@pytest.mark.parametrize(
    ("fault", "error"), [(TimeoutError(), BodyTooSlow), (ConnectionResetError(), BodyNotReceived)]
)
def test_a_form_that_does_not_arrive(fault: Exception, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(Broken(fault))


def test_the_space_on_disk_is_counted_and_may_be_full(tmp_path: Path) -> None:
    held: list[int] = []
    read(FILE + MODEL + END, held.append).close()
    assert held[-1] > 54

    def refuse(size: int) -> None:
        raise Overloaded("This server's disk space for uploads is full.")

    with pytest.raises(Overloaded):
        read(FILE + MODEL + END, refuse)
    with pytest.raises(Overloaded, match="cannot store an upload"):
        read(FILE + MODEL + END, folder=str(tmp_path / "missing"))
    assert list(tmp_path.iterdir()) == []
