"""Generates HTTP/1.1 bodies in every framing, for property tests."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

CHUNKED = "Transfer-Encoding: Chunked"


class Sent(NamedTuple):
    """The bytes of a body on the wire, and the header fields that frame them."""

    fields: list[str]
    raw: bytes


_TEXT = st.text("abc=\";, \t'0", max_size=12).map(str.encode)


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> Sent:
    """The body in chunks of any size, with extensions and trailers."""
    raw, at = b"", 0
    end = b"\r\n"
    while at < len(body):
        size = draw(st.integers(1, len(body) - at))
        digits = draw(st.sampled_from([b"%x", b"%X", b"%04x"])) % size
        ext = draw(st.one_of(st.just(b""), _TEXT.map(lambda text: b" ;" + text)))
        raw += digits + ext + end + body[at : at + size] + end
        at += size
    last = draw(st.sampled_from([b"0", b"000", b"0;last"]))
    trailers = draw(st.lists(_TEXT.map(lambda text: b"T: " + text + end), max_size=2))
    return Sent([CHUNKED], raw + last + end + b"".join(trailers) + end)


@st.composite
def sent(draw: st.DrawFn, body: bytes) -> Sent:
    """The body in any framing: chunked, by length, or until the connection closes."""
    how = draw(st.sampled_from(["chunked", "length", "close"]))
    if how == "chunked":
        return draw(chunked(body))
    return Sent([f"Content-Length: {len(body)}"] if how == "length" else [], body)


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The data, split at arbitrary positions."""
    at = sorted(draw(st.sets(st.integers(1, max(1, len(data) - 1)), max_size=12)))
    return [part for a, b in zip([0, *at], [*at, len(data)], strict=True) if (part := data[a:b])]
