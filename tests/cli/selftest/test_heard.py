"""Tests what the parsers of several APIs share: the reading of a named event."""

from __future__ import annotations

import pytest

from flask_gateway.cli.selftest.heard import Heard, named_event


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"type":"a"}',
        b'event: a\ndata: {"type":"b"}',
        b"event: a\ndata: {",
        b"event: a\ndata: []",
    ],
)
def test_an_event_without_its_name_is_a_flaw(event: bytes) -> None:
    heard = Heard()
    assert named_event(heard, event) is None
    assert heard.flaws == ["an event that is not a JSON object with its name"]


def test_the_fields_of_an_event_with_its_name() -> None:
    heard = Heard()
    assert named_event(heard, b'event: a\ndata: {"type":"a","x":1}') == {"type": "a", "x": 1}
    assert heard.flaws == []
