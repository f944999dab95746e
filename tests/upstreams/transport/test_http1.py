"""Where heads and bodies end: whatever is said in whatever pieces, it is read as one thing, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.framing import CHUNKED, pieces, sent

from flask_gateway.upstreams.transport.http1 import (
    MAX_HEAD,
    MAX_HEADERS,
    MAX_LINE,
    MAX_TRAILERS,
    Chunked,
    CutShort,
    Framing,
    MalformedResponse,
    Sized,
    UntilClosed,
    end_of_head,
    framing_of,
    read_head,
)

OK = b"HTTP/1.1 200 OK\r\n"


def of(*fields: str, status: str = "HTTP/1.1 200 OK") -> Framing:
    return framing_of(read_head("\r\n".join([status, *fields, "", ""]).encode("latin-1")))


def fed(framing: Framing, *pieces: bytes) -> bytes:
    """All that is given, up to a fault, which is raised."""
    given = b""
    for piece in pieces:
        given += framing.feed(piece)
        if framing.fault is not None:
            raise framing.fault
    return given


# ---------------------------------------------------------------- heads that are none


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n",
        b"\n\n",
        b"hello\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 20 Short\r\n\r\n",
        b"HTTP/1.1 2000 Long\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b" HTTP/1.1 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        OK + b"No colon\r\n\r\n",
        OK + b": no name\r\n\r\n",
        OK + b"Name : spaced\r\n\r\n",
        OK + b"A: folded\r\n  over two lines\r\n\r\n",
        OK + b"Na\xefve: name\r\n\r\n",
        OK + b"A: bare\rreturn\r\n\r\n",
        OK + b"A: two returns\r\r\n\r\n",
        OK + b"A: null\0byte\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\n\r\n",
    ],
)
def test_an_invalid_head_is_refused(head: bytes) -> None:
    with pytest.raises(MalformedResponse):
        read_head(head[: end_of_head(head)])


def test_the_number_of_headers_is_bounded() -> None:
    fields = b"".join(b"h%d: v\r\n" % number for number in range(MAX_HEADERS))
    assert len(read_head(OK + fields + b"\r\n").headers) == MAX_HEADERS
    with pytest.raises(MalformedResponse, match="more than 100"):
        read_head(OK + fields + b"one: more\r\n\r\n")


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("ends", [True, False])
def test_the_size_of_a_head_is_bounded(over: int, ends: bool) -> None:
    data = OK + b"a: " + b"x" * (MAX_HEAD - len(OK) - 3 - 4 + over) + (b"\r\n\r\n" if ends else b"xxxx")
    if over:
        with pytest.raises(MalformedResponse, match="65536"):
            end_of_head(data)
    else:
        assert end_of_head(data) == (len(data) if ends else -1)


@given(st.data())
def test_the_end_of_a_head_is_found_however_it_comes(data: st.DataObject) -> None:
    text = data.draw(st.text("ab:\r\n ", max_size=40)).encode()
    whole, scanned, found = end_of_head(text), 0, -1
    while scanned < len(text) and found < 0:
        more = data.draw(st.integers(1, len(text) - scanned))
        found = end_of_head(text[: scanned + more], scanned)
        scanned += more
    assert found == whole


def test_a_head_is_read() -> None:
    head = read_head(
        b"HTTP/1.0 404 Not \xfcber\r\nCon-TYPE:\ttext/html \t\r\nEmpty:\r\nTwo: a\r\nX: a: b\r\ntWO: b\n\r\n"
    )
    assert head == (
        0,
        404,
        "Not \xfcber",
        {"con-type": "text/html", "empty": "", "two": "a, b", "x": "a: b"},
    )
    assert read_head(b"HTTP/1.1 200\r\n\r\n") == (1, 200, "", {})
    assert read_head(b"HTTP/1.1 200 \n\n") == (1, 200, "", {})


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_parsed_or_refused(noise: bytes) -> None:
    for data in (noise, OK + noise + b"\r\n\r\n"):
        try:
            end = end_of_head(data)
            head = read_head(data[:end]) if end >= 0 else None
            if head is not None:
                framing_of(head)
        except MalformedResponse:
            continue


# ---------------------------------------------------------------- what frames a body


@pytest.mark.parametrize(
    "fields",
    [
        ["Content-Length: 5, 6"],
        ["Content-Length: 5", "content-length: 6"],
        ["Content-Length: "],
        ["Content-Length: +5"],
        ["Content-Length: -5"],
        ["Content-Length: 5.0"],
        ["Content-Length: 0x5"],
        ["Content-Length: five"],
        ["Content-Length: 1_000"],
        ["Content-Length: \xb2"],
        ["Content-Length: " + "9" * 19],
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: \x0bchunked"],
        ["Transfer-Encoding:"],
    ],
)
def test_ambiguous_framing_is_refused(fields: list[str]) -> None:
    with pytest.raises(MalformedResponse):
        of(*fields)


@pytest.mark.parametrize(
    ("status", "fields", "kind", "reusable"),
    [
        ("HTTP/1.1 200 OK", ["Content-Length: 5"], Sized, True),
        ("HTTP/1.1 200 OK", ["Content-Length: 5", "Content-Length: 5"], Sized, True),
        ("HTTP/1.1 200 OK", ["Content-Length: 5", "Connection: close"], Sized, False),
        ("HTTP/1.1 200 OK", ["Content-Length: 5", "Connection: x,", "Connection: Close"], Sized, False),
        ("HTTP/1.0 200 OK", ["Content-Length: 5"], Sized, False),
        ("HTTP/1.0 200 OK", ["Content-Length: 5", "Connection: Keep-Alive"], Sized, True),
        ("HTTP/1.1 200 OK", [CHUNKED], Chunked, True),
        ("HTTP/1.1 200 OK", [CHUNKED, "Content-Length: 5"], Chunked, False),
        ("HTTP/1.0 200 OK", [CHUNKED, "Connection: keep-alive"], Chunked, False),
        ("HTTP/1.1 200 OK", [], UntilClosed, False),
        ("HTTP/1.1 200 OK", ["Connection: keep-alive"], UntilClosed, False),
        ("HTTP/1.1 204 No", ["Content-Length: 5"], Sized, True),
        ("HTTP/1.1 304 No", [CHUNKED], Sized, True),
        ("HTTP/1.1 101 Up", [], Sized, False),
    ],
)
def test_the_head_selects_the_framing(status: str, fields: list[str], kind: type, reusable: bool) -> None:
    framing = of(*fields, status=status)
    assert type(framing) is kind
    assert framing.reusable is reusable
    assert framing.over is ("200" not in status)


# ---------------------------------------------------------------- chunks that are none


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1_0\r\n",
        b"1 2\r\n",
        b"1234567890abcdef\r\n",
        b";ext\r\n",
        b"1\r\nab\r\n",
        b"1\r\na1\r\n",
        b"\xb2\r\n",
        b"1\na",
        b"1\r\r\na",
        b"1;a\rb\r\na",
        b"1\r\na\n",
        b"1\r\na\r\r\n",
        b"0\r\nT: x\n",
        b"\n",
    ],
)
def test_an_invalid_chunk_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedResponse):
        fed(Chunked(True), raw)
    with pytest.raises(MalformedResponse):
        fed(Chunked(True), *(raw[at : at + 1] for at in range(len(raw))))


@pytest.mark.parametrize("before", [b"", b"1\r\na", b"0\r\n"], ids=["size", "gap", "trailer"])
def test_the_length_of_a_line_between_chunks_is_bounded(before: bytes) -> None:
    for parts in ([before + b"x" * 10_000], [before, *[b"x"] * (MAX_LINE + 1)]):
        with pytest.raises(MalformedResponse, match="does not end"):
            fed(Chunked(True), *parts)


@pytest.mark.parametrize("cut", [0, 1, MAX_LINE, MAX_LINE + 1, MAX_LINE + 2])
def test_the_longest_line_is_as_long_in_one_piece_as_in_two(cut: int) -> None:
    size = b"1;" + b"x" * (MAX_LINE - 3) + b"\r\na\r\n"
    framing = Chunked(True)
    assert fed(framing, size[:cut], size[cut:]) == b"a"


def test_the_size_of_trailers_is_bounded() -> None:
    lines = [b"t: " + b"x" * 997 + b"\r\n"] * (MAX_TRAILERS // 1000)
    framing = Chunked(True)
    assert fed(framing, b"0\r\n", *lines, b"\r\n") == b""
    assert framing.over
    with pytest.raises(MalformedResponse, match="trailers without end"):
        fed(Chunked(True), b"0\r\n", *lines, lines[0])


def test_bytes_before_a_fault_are_kept() -> None:
    framing = Chunked(True)
    assert framing.feed(b"3\r\nabc\r\n2\r\nde\r\nnonsense\r\n") == b"abcde"
    assert framing.fault is not None
    assert not framing.over


# ---------------------------------------------------------------- any body, however it is cut


_BODIES = st.binary(max_size=80)


@settings(max_examples=150)
@given(st.data(), _BODIES)
def test_any_body_in_any_framing_split_anywhere_is_the_same(data: st.DataObject, body: bytes) -> None:
    said = data.draw(sent(body))
    framing = of(*said.fields)
    assert fed(framing, *data.draw(pieces(said.raw))) == body
    if said.fields:
        assert (framing.over, framing.reusable) == (True, True)
    else:
        assert not framing.over
    framing.end()
    assert framing.over


@settings(max_examples=150)
@given(st.data(), _BODIES)
def test_every_truncation_raises(data: st.DataObject, body: bytes) -> None:
    said = data.draw(sent(body).filter(lambda said: said.fields and said.raw))
    framing = of(*said.fields)
    raw = said.raw[: data.draw(st.integers(0, len(said.raw) - 1))]
    given = fed(framing, *data.draw(pieces(raw)))
    assert body.startswith(given)
    assert not framing.over
    with pytest.raises(CutShort):
        framing.end()
    assert not framing.over


@settings(max_examples=100)
@given(st.data(), _BODIES, st.binary(min_size=1, max_size=20))
def test_bytes_behind_the_end_are_no_body_and_the_connection_is_closed(
    data: st.DataObject, body: bytes, surplus: bytes
) -> None:
    said = data.draw(sent(body).filter(lambda said: said.fields and said.raw))
    framing = of(*said.fields)
    # In one piece with the last byte; what comes later, nobody reads.
    assert fed(framing, *data.draw(pieces(said.raw[:-1])), said.raw[-1:] + surplus) == body
    assert framing.over
    assert not framing.reusable


@settings(max_examples=150)
@given(st.data(), st.binary(max_size=60))
def test_any_bytes_at_all_are_taken_alike_however_they_are_cut(data: st.DataObject, noise: bytes) -> None:
    raw = data.draw(st.sampled_from([b"", b"3\r\nabc\r\n", b"5\r\nab", b"0\r\n", b"2\r"])) + noise

    def taken(*parts: bytes) -> tuple[bytes, bool, str]:
        framing, given = Chunked(True), b""
        for part in parts:
            given += framing.feed(part)
            if framing.over or framing.fault:
                break
        return given, framing.over, str(framing.fault)

    assert taken(*data.draw(pieces(raw))) == taken(raw) or not raw
