"""The event splitter: however the bytes arrive, the same events come out."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.examples import examples

from flask_gateway.dialects.sse import EventSplitter, data_of
from flask_gateway.model.errors import UpstreamMalformed


def split(*chunks: bytes) -> list[bytes]:
    splitter = EventSplitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    rest = splitter.rest()
    return [*events, rest] if rest else events


def test_an_event_that_never_ends_is_refused_and_not_collected() -> None:
    splitter = EventSplitter(max_event=100)
    with pytest.raises(UpstreamMalformed):
        splitter.feed(b"data: " + b"x" * 200)


def test_a_large_feed_of_small_events_is_no_large_event() -> None:
    assert len(EventSplitter(max_event=100).feed(b"data: x\n\n" * 1000)) == 1000


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_ending_of_the_standard(end: bytes) -> None:
    stream = end.join([b"data: a", b"data: b", b"", b": note", b"", b"data: c", b"", b""])
    assert [data_of(event) for event in split(stream)] == [b"a\nb", None, b"c"]


def test_crlf_cut_between_its_halves() -> None:
    assert split(b"data: a\r\n\r", b"\ndata: b\r\n\r\n") == [b"data: a", b"data: b"]


def test_a_byte_order_mark_is_not_part_of_the_first_event() -> None:
    assert split(b"\xef\xbb\xbfdata: a\n\n") == [b"data: a"]
    assert split(b"\xef", b"\xbb", b"\xbfdata: a\n\n") == [b"data: a"]


def test_the_rest_is_an_event_whose_end_never_came() -> None:
    assert split(b"data: a\n\ndata: [DONE]") == [b"data: a", b"data: [DONE]"]


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: x", b"x"),
        (b"data:x", b"x"),
        (b"data:  x", b" x"),
        (b"data", b""),
        (b"event: e\ndata: x", b"x"),
        (b"data: x\nid: 1\ndata: y", b"x\ny"),
        (b": comment", None),
        (b"database: x", None),
    ],
)
def test_data_lines(event: bytes, data: bytes | None) -> None:
    assert data_of(event) == data


_pieces = st.sampled_from(
    [b"data: a", b"data: {}", b": c", b"x", b"\n", b"\r\n", b"\r", b"\n\n", b"\xef\xbb\xbf"]
)


@settings(max_examples=examples(600, 3000), deadline=None)
@given(st.lists(_pieces, max_size=30).map(b"".join), st.data())
def test_any_split_of_any_stream_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(edges)]
    assert split(*chunks) == split(stream)


@settings(max_examples=500, deadline=None)
@given(st.lists(_pieces, max_size=30).map(b"".join))
def test_the_events_are_those_of_a_plain_reading(stream: bytes) -> None:
    """One reading in two lines, for what takes the splitter sixty: normal line ends, then cut."""
    plain = re.sub(rb"\r\n|\r", b"\n", stream.removeprefix(b"\xef\xbb\xbf"))
    expected = [event.strip(b"\n") for event in plain.split(b"\n\n")]
    got = [re.sub(rb"\r\n|\r", b"\n", event).strip(b"\n") for event in split(stream)]
    assert got == [event for event in expected if event]
