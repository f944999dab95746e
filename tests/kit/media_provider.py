"""Runs a provider of sound and pictures for tests. It keeps the forms that it gets, and answers by the model.

The model names the answer: ``status-503``, ``cut``, ``held``, ``json``, ``page``, ``tokens``. Others get good
ones.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

from werkzeug.formparser import parse_form_data

from flask_gateway.cli.selftest.scripted_provider import (
    EVENTS,
    POLL,
    Exchange,
    PeerLeft,
    Request,
    ScriptedServer,
)

#: How long the sound of the model ``held`` goes on, unless the client leaves, seconds.
HELD = 120.0
SOUND = b"\xff\xfb" + bytes(range(256)) * 64
TOKENS = {
    "type": "tokens",
    "input_tokens": 20,
    "input_token_details": {"text_tokens": 2, "audio_tokens": 18},
    "output_tokens": 7,
    "total_tokens": 27,
}
PICTURE_TOKENS = {"input_tokens": 11, "output_tokens": 4160, "total_tokens": 4171}


class Part(NamedTuple):
    """A part of a form; ``digest`` of a file."""

    name: str
    value: str
    digest: str = ""


class Received(NamedTuple):
    """A request of the gateway's."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    parts: list[Part]

    @property
    def model(self) -> str:
        fields = {part.name: part.value for part in self.parts}
        return str(fields.get("model") or self.json.get("model", ""))

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body[:1] == b"{" else {}


def received(request: Request) -> Received:
    headers = {name.lower(): value for name, value in request.headers}
    return Received(request.method, request.path, headers, request.body, _parts(request.body, headers))


def _parts(body: bytes, headers: dict[str, str]) -> list[Part]:
    kind = headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        return []
    environ = {"wsgi.input": BytesIO(body), "CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(body))}
    environ |= {"REQUEST_METHOD": "POST"}
    _, fields, files = parse_form_data(environ, stream_factory=lambda *_, **__: BytesIO())
    texts = [Part(name, value) for name, value in fields.items(multi=True)]
    return texts + [
        Part(name, file.filename or "", hashlib.sha256(file.read()).hexdigest())
        for name, file in files.items(multi=True)
    ]


def events(*documents: dict[str, Any]) -> list[bytes]:
    return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in documents]


class MediaProvider:
    """A provider on a port of its own.

    :param answer: answers a request; by default with sound and pictures.
    """

    def __init__(self, answer: Callable[[Exchange, Received], None] | None = None) -> None:
        self.requests: list[Received] = []
        self._answer = answer or answer_media
        self._server = ScriptedServer(self._serve)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}/v1"

    @property
    def last(self) -> Received:
        return self.requests[-1]

    def close(self) -> None:
        self._server.close()
        self._thread.join()

    def _serve(self, sock: socket.socket, request: Request, _peer: int) -> bool:
        exchange, got = Exchange(sock, request), received(request)
        self.requests.append(got)
        try:
            self._answer(exchange, got)
        except PeerLeft:
            return False
        return exchange.keep_alive


def answer_media(exchange: Exchange, got: Received) -> None:
    model = got.model
    if model.startswith("status-"):
        error = {"message": "Scripted.", "type": "server_error", "param": None, "code": None}
        exchange.answer(int(model[7:]), json.dumps({"error": error}).encode())
    elif got.path.endswith("/audio/speech"):
        speech(exchange, got, model)
    elif "/audio/" in got.path:
        transcript(exchange, got, model)
    else:
        pictures(exchange, got)


def speech(exchange: Exchange, got: Received, model: str) -> None:
    if model == "json":
        exchange.answer(200, b'{"error":{"message":"No voice.","type":"server_error"}}')
    elif model == "page":
        exchange.answer(200, b"<html><title>Login</title></html>", "text/html")
    elif got.json.get("stream_format") == "sse":
        done = {"type": "speech.audio.done", "usage": {**PICTURE_TOKENS, "output_tokens": 9}}
        play(exchange, events({"type": "speech.audio.delta", "audio": "AAAA"}, done))
    else:
        exchange.begin(200, "image/svg+xml" if model == "odd" else "audio/mpeg")
        exchange.write(SOUND)
        if model == "cut":
            exchange.hang_up("reset")
        elif model == "held":
            exchange.wait(HELD)
        else:
            exchange.write(SOUND)
            exchange.end()


def play(exchange: Exchange, parts: list[bytes]) -> None:
    exchange.begin(200, EVENTS)
    for part in parts:
        exchange.write(part)
    exchange.end()


def transcript(exchange: Exchange, got: Received, model: str) -> None:
    fields = {part.name: part.value for part in got.parts}
    usage = TOKENS if model == "tokens" else {"type": "duration", "seconds": 9}
    if fields.get("stream") == "true":
        deltas = [{"type": "transcript.text.delta", "delta": text} for text in ("Hello ", "there")]
        play(
            exchange, events(*deltas, {"type": "transcript.text.done", "text": "Hello there", "usage": usage})
        )
    elif fields.get("response_format") in ("text", "srt", "vtt"):
        exchange.answer(200, b"Hello there\n", "text/plain; charset=utf-8")
    else:
        more = {} if model == "silent" else {"usage": usage}
        exchange.answer(200, json.dumps({"text": "Hello there", **more}).encode())


def pictures(exchange: Exchange, got: Received) -> None:
    edit = not got.path.endswith("/generations")
    fields = {part.name: part.value for part in got.parts} | got.json
    if fields.get("stream") in (True, "true"):
        kind = "image_edit" if edit else "image_generation"
        partial = {"type": f"{kind}.partial_image", "b64_json": "AAAA", "partial_image_index": 0}
        done = {"type": f"{kind}.completed", "b64_json": "AAAA", "usage": PICTURE_TOKENS}
        play(exchange, events(partial, done))
        return
    count = int(fields.get("n") or 1)
    answer: dict[str, Any] = {"created": 1, "data": [{"b64_json": "AAAA"}] * count}
    if got.model != "silent":
        answer["usage"] = PICTURE_TOKENS
    exchange.answer(200, json.dumps(answer).encode())
