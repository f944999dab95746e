"""Tests which references to stored state are found in bodies and events."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.model.call import Operation
from flask_gateway.routing.references import ids_in_events, references

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["id", "type", "file_id", "role"]), inner)
    ),
)


@given(st.dictionaries(st.sampled_from(["input", "conversation", "prompt", "tools"]), _json))
def test_odd_bodies_raise_no_exception(body: dict[str, Any]) -> None:
    fields = msgspec.json.decode(msgspec.json.encode(body), type=dict[str, msgspec.Raw])
    for one in references(Operation.RESPONSE, fields):
        assert one.param in body


def test_a_file_is_found_at_the_end_of_a_long_input() -> None:
    for pad in range((1 << 20) - 40, (1 << 20) + 40):
        raw = msgspec.Raw(b'"' + b"x" * pad + b'","file_id": "f"')
        assert [one.param for one in references(Operation.CHAT, {"messages": raw})] == ["messages"]


def test_a_broken_event_has_no_ids() -> None:
    assert ids_in_events(b'data: {"type":"response.created","response":{"id":\n\n') == []
