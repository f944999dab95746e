"""Tests the state of a request: it is apart from what others keep in ``g``, and each request has its own."""

from __future__ import annotations

import pytest
from flask import Flask, g
from kit.calls import AUTH

from flask_gateway.web.request_state import RequestState, current_context, gateway, request_state


def test_a_request_has_a_state_of_its_own_which_no_attribute_of_g_replaces(app: Flask) -> None:
    seen: list[RequestState] = []

    def look() -> str:
        g.state = g.caller = "of an extension"
        seen.append(request_state())
        assert current_context().g is g._get_current_object()  # type: ignore[attr-defined]
        assert gateway() is app.extensions["gateway"]
        assert request_state().known.id
        return "ok"

    app.add_url_rule("/look", view_func=look)
    client = app.test_client()
    for _ in range(2):
        assert client.get("/look", headers=AUTH).text == "ok"
    first, second = seen
    assert first is not second
    assert first.ids != second.ids


def test_before_the_hook_there_are_no_ids_and_no_caller() -> None:
    state = RequestState()
    assert (state.ids.request, state.caller, state.code) == ("-", None, None)
    with pytest.raises(AssertionError):
        _ = state.known


def test_outside_a_request_there_is_no_state() -> None:
    with pytest.raises(RuntimeError):
        request_state()
