"""Defines four fuzz targets: functions of bytes that fail when a promise is broken.

An exception of an expected class is no failure. ``run.py`` drives the targets with coverage,
``scenarios/test_fuzz.py`` with the kept corpus and with Hypothesis.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import msgspec

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import resolve
from flask_gateway.dialects.error_mapping import MAX_ERROR_BODY, error_for
from flask_gateway.dialects.openai import envelope
from flask_gateway.dialects.sse import EventSplitter, data_of
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Call, Caller, Ids, Operation
from flask_gateway.model.errors import CallerError, GatewayError
from flask_gateway.upstreams.transport.http1 import end_of_head, framing_of, read_head
from flask_gateway.web.request_body import check, parse_fields, take_fallbacks

OPERATIONS = tuple(Operation)


def body(data: bytes) -> None:
    """A request body. The first byte chooses the operation."""
    operation, data = OPERATIONS[data[0] % len(OPERATIONS)] if data else OPERATIONS[0], data[1:]
    try:
        fields = parse_fields(data)
        model, _ = check(operation, fields)
        fields, _ = take_fallbacks(fields)
    except CallerError as error:
        json.dumps(envelope(error)).encode()  # the error can be sent and logged
        return
    # The sent body has the checked model, for any other JSON parser too.
    sent = json.loads(call(operation, model, fields, stream=False).payload(), object_pairs_hook=list)
    assert [value for name, value in sent if name == "model"] == [model]
    assert "fallbacks" not in dict(sent)


def call(
    operation: Operation, model: str, fields: dict[str, msgspec.Raw], *, stream: bool, whole: bool = False
) -> Call:
    ids, caller = Ids("r", "t", "00-1-2-00"), Caller("c", 0)
    return Call(ids, caller, operation, model, fields, stream, 0.0, whole=whole)


def pieces(data: bytes) -> list[bytes]:
    """The rest, cut at up to 16 positions that the first bytes choose."""
    if not data:
        return []
    count, rest = data[0] % 16, data[17:]
    cuts = sorted(byte * len(rest) // 255 for byte in data[1 : 1 + count])
    ends = [*cuts, len(rest)]
    return [rest[start:end] for start, end in zip([0, *cuts], ends, strict=True)]


def sse(data: bytes) -> None:
    """A stream yields the same events however it is cut."""
    parts = pieces(data)
    cut, uncut = EventSplitter(4096), EventSplitter(4096)
    try:
        found = [event for part in parts for event in cut.feed(part)] + [cut.rest()]
        expected = [*uncut.feed(b"".join(parts)), uncut.rest()]
    except GatewayError:
        return
    # A CR at a cut may end a line whose LF follows; it belongs to no event.
    assert [event.strip(b"\r\n") for event in found if event.strip(b"\r\n")] == [
        event.strip(b"\r\n") for event in expected if event.strip(b"\r\n")
    ]
    for event in found:
        data_of(event)


def answer(data: bytes) -> None:
    """An upstream's answer, from the first byte of its head to the end of its transcript."""
    kind, parts = (data[0] if data else 0), pieces(data[1:])
    operation, stream, whole = OPERATIONS[kind % 6], bool(kind & 8), bool(kind & 16)
    asked = call(
        operation,
        "m",
        {"model": msgspec.Raw(b'"m"'), "messages": msgspec.Raw(b"[]")},
        stream=stream,
        whole=whole,
    )
    received = b"".join(parts)
    with suppress(HTTPException):
        end = end_of_head(received)
        if end < 0:
            return
        head = read_head(received[:end])
        framing, content = framing_of(head), b""
        if head.status != 200:
            envelope(error_for(head.status, head.headers, received[end:][:MAX_ERROR_BODY], "u"))
            return
        transcript = transcript_for(asked, "u", hides_usage=bool(kind & 32))
        try:
            for start in range(end, len(received), 1 + kind):
                if framing.over or getattr(transcript, "finished", False):
                    break
                content += (passed := framing.feed(received[start : start + 1 + kind]))
                if passed:
                    transcript.feed(passed)
            if not framing.over:
                framing.end()
            transcript.end()
            assert transcript.ready
            assert transcript.usage is None or transcript.usage.prompt_tokens >= 0
        except GatewayError as error:
            json.dumps(envelope(error)).encode()
            transcript.cut(error)


_FILE = Path(tempfile.gettempdir()) / f"fuzzed-{os.getpid()}.toml"


def settings(data: bytes) -> None:
    """Environment variables, one a line; after a line of dashes, a settings file."""
    text = data.decode("utf-8", "surrogateescape")
    lines, dashes, file = text.partition("\n---\n")
    named = (line.partition("=") for line in lines.split("\n"))
    environ = {f"GATEWAY_{name}": value for name, _, value in named if "\0" not in name + value}
    # Fuzzing must not read secret files of this machine.
    environ = {
        name: value for name, value in environ.items() if "FILE" not in name and name != "GATEWAY_CONFIG"
    }
    if dashes:
        if "_file" in file:
            return
        _FILE.write_bytes(file.encode("utf-8", "surrogateescape"))
        _FILE.chmod(0o600)
        environ["GATEWAY_CONFIG"] = str(_FILE)
    try:
        resolve(environ)
        refusal = ""
    except ConfigError as error:
        refusal = str(error)
    refusal.encode()
    assert "\n" not in refusal


TARGETS: dict[str, Callable[[bytes], None]] = {
    "body": body,
    "sse": sse,
    "answer": answer,
    "settings": settings,
}
