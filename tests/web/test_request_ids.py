"""Tests the ids of a request: accepted, replaced or generated."""

from __future__ import annotations

import os
import re

import pytest

from flask_gateway.model.call import Ids
from flask_gateway.web.request_ids import new_ids, read_ids

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def read(**headers: str) -> Ids:
    return read_ids({name.replace("_", "-"): value for name, value in headers.items()}.get)


@pytest.mark.parametrize("bad", ["", " ", "a b", "a" * 129, "a\nb", "é", "a;b", "x" * 1_000_000])
def test_an_id_that_is_not_well_formed_is_replaced(bad: str) -> None:
    ids = read(x_request_id=bad, x_trace_id=bad)
    assert re.fullmatch("[0-9a-f]{32}", ids.request)
    assert re.fullmatch("[0-9a-f]{32}", ids.trace)


def test_new_ids_begin_a_trace() -> None:
    ids = new_ids()
    assert re.fullmatch("[0-9a-f]{32}", ids.request)
    assert re.fullmatch(f"00-{ids.trace}-[0-9a-f]{{16}}-00", ids.traceparent)
    assert (ids.tracestate, ids.parent) == ("", "")
    assert new_ids() != ids


@pytest.mark.parametrize("good", ["a", "A-b_c.9", "x" * 128])
def test_a_well_formed_id_is_kept(good: str) -> None:
    ids = read(x_request_id=good, x_trace_id=good)
    assert (ids.request, ids.trace) == (good, good)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        f"00-{TRACE}-0000000000000000-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7-01-more",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7",
        PARENT + "\n",
    ],
)
def test_an_invalid_traceparent_begins_a_new_trace(bad: str) -> None:
    ids = read(traceparent=bad, tracestate="a=b")
    assert TRACE not in ids.traceparent
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", ids.traceparent)
    assert (ids.tracestate, ids.parent) == ("", "")
    assert ids.trace in ids.traceparent


def test_a_traceparent_is_continued_under_a_new_parent() -> None:
    ids = read(traceparent=PARENT, tracestate="vendor=1")
    version, trace, parent, flags = ids.traceparent.split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert parent != "00f067aa0ba902b7"
    assert ids.parent == "00f067aa0ba902b7"
    assert (ids.trace, ids.tracestate) == (TRACE, "vendor=1")


def test_a_later_version_is_continued_as_ours() -> None:
    assert read(traceparent=f"cc-{TRACE}-00f067aa0ba902b7-01-later").traceparent.startswith(f"00-{TRACE}-")


def test_a_valid_trace_id_names_the_new_trace() -> None:
    assert read(x_trace_id=TRACE).traceparent.startswith(f"00-{TRACE}-")
    assert read(x_trace_id="mine").trace == "mine"


def test_a_tracestate_that_is_not_printable_is_dropped() -> None:
    assert read(traceparent=PARENT, tracestate="a=\x7f").tracestate == ""


def test_forked_children_make_different_ids() -> None:
    """uWSGI and ``gunicorn --preload`` import the application once and then fork."""
    reader, writer = os.pipe()
    for _ in range(3):
        child = os.fork()
        if not child:
            os.write(writer, read().request.encode())
            os._exit(0)
        os.waitpid(child, 0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        told = pipe.read().decode()
    assert len({told[at : at + 32] for at in range(0, 96, 32)} | {read().request}) == 4
