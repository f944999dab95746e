"""Implements the behaviours of the scripted upstream: one small function each, and the table of their names.

Tests send the name as ``model``: ``cut,after=2,how=reset,framing=close``.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask_gateway.cli.selftest.scripted_answers import ScriptedAnswer, event, wants_usage
from flask_gateway.cli.selftest.scripted_provider import EVENTS, JSON

if TYPE_CHECKING:
    from kit.scripted_upstream import UpstreamExchange as Exchange

FOR_EVER = 60.0
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


class Options(dict[str, str]):
    """The ``option=value`` pairs of a behaviour."""

    def number(self, name: str, default: float = 0.0) -> float:
        return float(self.get(name, default))

    def count(self, name: str, default: int = 0) -> int:
        return int(self.get(name, default))


# ---------------------------------------------------------------- proper answers


ANSWER = ScriptedAnswer("chatcmpl-scripted", "scripted")
chunk, envelope = ANSWER.chunk, ANSWER.envelope


def chat_events(exchange: Exchange, tokens: int) -> list[bytes]:
    """A role, the tokens, an end, the usage if the request asks for it, and ``[DONE]``."""
    usage = USAGE if wants_usage(exchange.request.json) else None
    return ANSWER.events((f"tok{index} " for index in range(tokens)), usage)


def response_events(tokens: int) -> list[bytes]:
    """The same in the Responses API, without the events that carry nothing."""
    response = {"id": "resp_scripted", "object": "response", "status": "in_progress", "output": []}
    delta = {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0}
    usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    done = {**response, "status": "completed", "usage": usage}
    return [
        event({"type": "response.created", "response": response}, "response.created"),
        *(event({**delta, "delta": f"tok{index} "}, delta["type"]) for index in range(tokens)),
        event({"type": "response.completed", "response": done}, "response.completed"),
    ]


def parts_of(exchange: Exchange, options: Options) -> list[bytes]:
    """A proper answer, in the parts between which it may break."""
    tokens = options.count("tokens", 3)
    if exchange.stream:
        chat = not exchange.request.path.endswith("/responses")
        return chat_events(exchange, tokens) if chat else response_events(tokens)
    if exchange.request.path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}]
        body = json.dumps({"object": "list", "data": data, "model": "scripted", "usage": USAGE})
    else:
        text = "".join(f"tok{index} " for index in range(tokens))
        body = ANSWER.body(text, USAGE).decode()
    return [body[start : start + 40].encode() for start in range(0, len(body), 40)]


def begin(exchange: Exchange, parts: list[bytes], options: Options, headers: str = "") -> None:
    default = "chunked" if exchange.stream else "length"
    kind = EVENTS if exchange.stream else JSON
    exchange.begin(200, kind, options.get("framing", default), sum(map(len, parts)), headers)


def play(exchange: Exchange, parts: list[bytes], options: Options, headers: str = "") -> None:
    """Send an answer: ``first`` seconds before its first part, ``pause`` seconds after each."""
    begin(exchange, parts, options, headers)
    exchange.wait(options.number("first"))
    for part in parts:
        exchange.write(part)
        exchange.wait(options.number("pause"))
    exchange.end()


def ok(exchange: Exchange, options: Options) -> None:
    play(exchange, parts_of(exchange, options), options)


# ---------------------------------------------------------------- statuses and bodies

ERROR_TYPES = {401: "invalid_request_error", 429: "requests"}


def status(exchange: Exchange, options: Options) -> None:
    """An error in OpenAI's envelope: ``code`` is the status, ``kind`` the error's code."""
    code = options.count("code", 500)
    kind = ERROR_TYPES.get(code, "invalid_request_error" if code < 500 else "server_error")
    error = {"message": f"Scripted {code}.", "type": kind, "param": options.get("param")}
    headers = f"Retry-After: {options['after']}\r\n" if "after" in options else ""
    headers += f"retry-after-ms: {options['after_ms']}\r\n" if "after_ms" in options else ""
    error["code"] = options.get("kind", f"scripted_{code}")
    exchange.answer(code, json.dumps({"error": error}).encode(), headers=headers)


def once(exchange: Exchange, options: Options) -> None:
    """Fail the first call with ``code``, then answer properly."""
    if exchange.state.first_time(exchange.request.json.get("model", "")):
        status(exchange, options)
    else:
        ok(exchange, options)


def redirect(exchange: Exchange, options: Options) -> None:
    exchange.answer(302, b"", headers="Location: /v1/elsewhere\r\n")


def nothing(exchange: Exchange, options: Options) -> None:
    exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n")


def html(exchange: Exchange, options: Options) -> None:
    exchange.answer(options.count("code", 200), b"<html><body>Welcome to nginx!</body></html>", "text/html")


def broken_json(exchange: Exchange, options: Options) -> None:
    exchange.answer(200, b'{"id":"chatcmpl-1","choices":[{"ind')


def error_200(exchange: Exchange, options: Options) -> None:
    exchange.answer(200, b'{"error":{"message":"CUDA out of memory at 10.0.0.7","code":"oom"}}')


def error_first(exchange: Exchange, options: Options) -> None:
    play(exchange, [event({"error": {"message": "overloaded", "code": "overloaded"}})], options)


def zipped(exchange: Exchange, options: Options) -> None:
    parts = [gzip.compress(b"".join(parts_of(exchange, options)))]
    play(exchange, parts, options, "Content-Encoding: gzip\r\n")


def talkative(exchange: Exchange, options: Options) -> None:
    """Headers that must not pass the gateway."""
    headers = (
        "Set-Cookie: session=upstream-secret\r\nServer: secret-server/1.0\r\nVia: 1.1 inner\r\n"
        "X-Accel-Redirect: /internal/secret\r\nX-Accel-Limit-Rate: 1\r\nX-Powered-By: upstream-secret\r\n"
        "openai-organization: upstream-secret\r\nx-ratelimit-remaining-requests: 999999\r\n"
        "x-request-id: upstream-secret\r\n"
    )
    play(exchange, parts_of(exchange, options), options, headers)


def echo(exchange: Exchange, options: Options) -> None:
    """Repeats the credential that it received: complete, in events of so many characters (``spelled``), or
    in writes of so many bytes (``torn``)."""
    said = f"You sent {exchange.request.header('authorization')}, thank you."
    code = options.count("code", 200)
    if code != 200:
        error = {"error": {"message": said, "type": "invalid_request_error", "param": None, "code": "echo"}}
        exchange.answer(code, json.dumps(error | {"sent": exchange.request.headers}).encode())
        return
    if not exchange.stream:
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        parts = [
            json.dumps(envelope("chat.completion", [choice]) | {"sent": exchange.request.headers}).encode()
        ]
    else:
        size = options.count("spelled", len(said))
        parts = [f": {said}\n\n".encode(), chunk({"role": "assistant", "content": ""})]
        parts += [chunk({"content": said[at : at + size]}) for at in range(0, len(said), size)]
        parts += [chunk({}, "stop"), event("[DONE]")]
    if torn := options.count("torn"):
        joined = b"".join(parts)
        parts = [joined[at : at + torn] for at in range(0, len(joined), torn)]
    play(exchange, parts, options)


def stale(exchange: Exchange, options: Options) -> None:
    """A proper answer. Then the connection closes silently."""
    ok(exchange, options)
    exchange.hang_up()


# ---------------------------------------------------------------- silence and broken connections


def hang_up_first(exchange: Exchange, options: Options) -> None:
    exchange.hang_up(options.get("how", "close"))


def never(exchange: Exchange, options: Options) -> None:
    exchange.wait(FOR_EVER)


def head_only(exchange: Exchange, options: Options) -> None:
    begin(exchange, [b"x"], options)
    exchange.wait(FOR_EVER)


def head_drip(exchange: Exchange, options: Options) -> None:
    """Headers without an end, byte by byte, ``pause`` seconds apart."""
    exchange.send(b"HTTP/1.1 200 Scripted\r\nContent-Type: text/event-stream\r\nX-Drip: ")
    while True:
        exchange.send(b"x")
        exchange.wait(options.number("pause", 0.05))


def error_drip(exchange: Exchange, options: Options) -> None:
    """A 503 whose body comes byte by byte."""
    exchange.begin(503, JSON, "close")
    while True:
        exchange.send(b"x")
        exchange.wait(options.number("pause", 0.05))


def murmur(exchange: Exchange, options: Options) -> None:
    """Signs of life, ``pause`` seconds apart, and never an answer."""
    begin(exchange, [], Options(options, framing="chunked"))
    opening = chunk({"role": "assistant", "content": ""})
    while True:
        for part in (opening, b": still here\n\n") if exchange.stream else (b" ",):
            exchange.write(part)
            exchange.wait(options.number("pause", 0.05))


def stall(exchange: Exchange, options: Options) -> None:
    """Fall silent after ``after`` tokens."""
    parts = parts_of(exchange, options)
    begin(exchange, parts, options)
    for part in parts[: 1 + options.count("after", 1)]:
        exchange.write(part)
    exchange.wait(FOR_EVER)


def cut(exchange: Exchange, options: Options) -> None:
    """Break after ``after`` tokens and half of the next, by ``how``, in any ``framing``."""
    parts = parts_of(exchange, options)
    begin(exchange, parts, options)
    after = 1 + options.count("after", 1)
    for part in parts[:after]:
        exchange.write(part)
    exchange.write(parts[after][: len(parts[after]) // 2])
    exchange.hang_up(options.get("how", "close"))


def no_end(exchange: Exchange, options: Options) -> None:
    """A stream whose body ends properly before the model has finished."""
    tokens = options.count("tokens", 3)
    play(exchange, chat_events(exchange, tokens)[: 1 + tokens], options)


# ---------------------------------------------------------------- odd streams


def no_done(exchange: Exchange, options: Options) -> None:
    play(exchange, chat_events(exchange, 3)[:-1], options)


def bad_event(exchange: Exchange, options: Options) -> None:
    events = chat_events(exchange, 3)
    play(exchange, [*events[:2], event('{"id": tru'), *events[2:]], options)


def drip(exchange: Exchange, options: Options) -> None:
    body = b"".join(parts_of(exchange, options))
    play(exchange, [body[index : index + 1] for index in range(len(body))], options)


def huge_event(exchange: Exchange, options: Options) -> None:
    events = chat_events(exchange, 1)
    filler = chunk({"content": "x" * options.count("size", 2 * 1024 * 1024)})
    play(exchange, [*events[:2], *[filler] * options.count("times", 1), *events[2:]], options)


def clock(exchange: Exchange, options: Options) -> None:
    """Tokens with the time at which they were sent, ``pause`` seconds apart."""
    begin(exchange, [], options)
    for _ in range(options.count("tokens", 3)):
        exchange.write(chunk({"content": f"at {time.monotonic():.6f}"}))
        exchange.wait(options.number("pause"))
    exchange.write(chunk({}, "stop") + event("[DONE]"))
    exchange.end()


def tools(exchange: Exchange, options: Options) -> None:
    """A tool call, whose arguments come in three pieces."""
    function = {"name": "get_weather", "arguments": ""}
    if not exchange.stream:
        function["arguments"] = '{"city":"Oslo"}'
        message = {"role": "assistant", "content": None}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        body = envelope("chat.completion", [choice]) | {"usage": USAGE}
        return play(exchange, [json.dumps(body).encode()], options)
    opening = {"index": 0, "id": "call_1", "type": "function", "function": function}
    parts = [chunk({"role": "assistant", "content": None, "tool_calls": [opening]})]
    for piece in ('{"ci', 'ty":"Os', 'lo"}'):
        parts.append(chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}))
    return play(exchange, [*parts, chunk({}, "tool_calls"), event("[DONE]")], options)


BEHAVIOURS: dict[str, Callable[[Exchange, Options], None]] = {
    "ok": ok,
    "status": status,
    "once": once,
    "redirect": redirect,
    "nothing": nothing,
    "html": html,
    "broken-json": broken_json,
    "error-200": error_200,
    "error-first": error_first,
    "gzip": zipped,
    "talkative": talkative,
    "echo": echo,
    "stale": stale,
    "hang-up": hang_up_first,
    "never": never,
    "head-only": head_only,
    "head-drip": head_drip,
    "error-drip": error_drip,
    "murmur": murmur,
    "stall": stall,
    "cut": cut,
    "no-end": no_end,
    "no-done": no_done,
    "bad-event": bad_event,
    "drip": drip,
    "huge-event": huge_event,
    "clock": clock,
    "tools": tools,
}
