"""Implements hostile behaviours of an upstream: a second table like ``behaviours.py``."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask_gateway.cli.selftest.scripted_provider import EVENTS, JSON
from kit.behaviours import Options, begin, chat_events, envelope, ok, parts_of

if TYPE_CHECKING:
    from kit.scripted_upstream import UpstreamExchange as Exchange

PLANTED = "planted-by-the-upstream"
MIB = 1024 * 1024


def planted(text: str = PLANTED) -> bytes:
    """A complete answer with its own text, including the head."""
    message = {"role": "assistant", "content": text}
    body = json.dumps(
        envelope("chat.completion", [{"index": 0, "message": message, "finish_reason": "stop"}])
    )
    head = f"HTTP/1.1 200 Scripted\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def headed(exchange: Exchange, options: Options) -> None:
    """A proper answer under ``count`` further headers of ``size`` bytes each."""
    headers = f"X-Filler: {'x' * options.count('size', 1)}\r\n" * options.count("count", 1)
    begin(exchange, parts_of(exchange, options), options, headers)
    for part in parts_of(exchange, options):
        exchange.write(part)
    exchange.end()


def endless_head(exchange: Exchange, options: Options) -> None:
    exchange.send(b"HTTP/1.1 200 Scripted\r\nX-Endless: ")
    while True:
        exchange.send(b"x" * 65536)


def interim(exchange: Exchange, options: Options) -> None:
    """Interim responses without end: a thousand at once, or one and a ``pause``."""
    pause = options.number("pause")
    while True:
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n" * (1 if pause else 1000))
        exchange.wait(pause)


def upgrade(exchange: Exchange, options: Options) -> None:
    exchange.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + planted()
    )
    exchange.hang_up()


def old(exchange: Exchange, options: Options) -> None:
    """No head at all, as in HTTP/0.9."""
    exchange.send(planted().partition(b"\r\n\r\n")[2])
    exchange.hang_up()


def two_lengths(exchange: Exchange, options: Options) -> None:
    body = planted()
    exchange.send(b"HTTP/1.1 200 Scripted\r\nContent-Length: 2\r\nContent-Length: 500\r\n\r\n{}" + body)
    exchange.hang_up()


def bomb(exchange: Exchange, options: Options) -> None:
    """``size`` MiB of zeros in a thousandth of that, as an answer or, with ``code``, as an error."""
    body = gzip.compress(bytes(MIB)) * options.count("size", 64)  # each is a member of its own, RFC 1952
    kind = EVENTS if exchange.stream else JSON
    exchange.answer(options.count("code", 200), body, kind, "Content-Encoding: gzip\r\n")


def smuggled_bomb(exchange: Exchange, options: Options) -> None:
    """The same with gzip as the transfer encoding."""
    exchange.send(b"HTTP/1.1 200 Scripted\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")
    exchange.send(b"14\r\n" + gzip.compress(b"")[:20] + b"\r\n0\r\n\r\n")


def endless(exchange: Exchange, options: Options) -> None:
    """A body without end: JSON text or one event, after ``after`` tokens."""
    begin(exchange, [], Options(options, framing="chunked"))
    if exchange.stream:
        for part in chat_events(exchange, options.count("after"))[: 1 + options.count("after")]:
            exchange.write(part)
    exchange.write(b"data: " if exchange.stream else b'{"choices":"')
    while True:
        exchange.write(b"x" * 65536)


def endless_error(exchange: Exchange, options: Options) -> None:
    exchange.begin(500, JSON, "close")
    while True:
        exchange.send(b"x" * 65536)


def endless_trailers(exchange: Exchange, options: Options) -> None:
    begin(exchange, [], Options(options, framing="chunked"))
    exchange.send(b"1\r\n{\r\n0\r\n")
    while True:
        exchange.send(b"X-Trailer: x\r\n" * 1000)


def endless_size(exchange: Exchange, options: Options) -> None:
    begin(exchange, [], Options(options, framing="chunked"))
    while True:
        exchange.send(b"0" * 65536)


def empty_events(exchange: Exchange, options: Options) -> None:
    """Comments and role events without end, and no content."""
    begin(exchange, [], Options(options, framing="chunked"))
    while True:
        exchange.write(b": still here\n\n" * 2000)
        exchange.write(chat_events(exchange, 0)[0] * 50)


def behind(exchange: Exchange, options: Options) -> None:
    """A proper answer, followed at once by an unsolicited one."""
    ok(exchange, options)
    exchange.send(planted())


def later(exchange: Exchange, options: Options) -> None:
    """A proper answer, and an unsolicited one when the connection lies in the pool."""
    ok(exchange, options)
    time.sleep(options.number("pause", 0.1))
    exchange.send(planted())


def short_length(exchange: Exchange, options: Options) -> None:
    """A Content-Length shorter than the answer. The rest looks like another answer."""
    body = b"".join(parts_of(exchange, options))
    exchange.begin(200, JSON, "length", len(body))
    exchange.send(body + planted())


def away(exchange: Exchange, options: Options) -> None:
    """A redirect to ``to``, by default the metadata service of cloud machines."""
    to = options.get("to", "169.254.169.254/latest/meta-data/")
    exchange.answer(options.count("code", 307), b"", headers=f"Location: http://{to}\r\n")


def liar(exchange: Exchange, options: Options) -> None:
    """A proper answer of one kind under the content type of the other."""
    exchange.answer(200, b"".join(parts_of(exchange, options)), JSON if exchange.stream else EVENTS)


def page(exchange: Exchange, options: Options) -> None:
    """An HTML page under the expected content type."""
    page = b"<html><script>alert(1)</script></html>"
    exchange.answer(200, page, EVENTS if exchange.stream else JSON)


def split(exchange: Exchange, options: Options) -> None:
    """An error whose words would end a header if they were sent in one."""
    words = f"a\r\nSet-Cookie: {PLANTED}=1\r\n\r\n\0\x7fé"
    error = {"message": words, "type": words, "param": words, "code": words}
    body = json.dumps({"error": error}, ensure_ascii=False).encode()
    exchange.answer(options.count("code", 400), body, headers=f"Retry-After: {PLANTED}\r\n")


HOSTILE: dict[str, Callable[[Exchange, Options], None]] = {
    "headed": headed,
    "endless-head": endless_head,
    "interim": interim,
    "upgrade": upgrade,
    "old": old,
    "two-lengths": two_lengths,
    "bomb": bomb,
    "smuggled-bomb": smuggled_bomb,
    "endless": endless,
    "endless-error": endless_error,
    "endless-trailers": endless_trailers,
    "endless-size": endless_size,
    "empty-events": empty_events,
    "behind": behind,
    "later": later,
    "short-length": short_length,
    "away": away,
    "liar": liar,
    "page": page,
    "split": split,
}
