"""Tests the errors that callers cause: they do not count against an upstream."""

from __future__ import annotations

import pytest

from flask_gateway.model import errors
from flask_gateway.model.errors import CallerError, StateNotHere, Unauthorized, Verdict


def kinds() -> list[type[CallerError]]:
    found, pending = [], [CallerError]
    while pending:
        found.append(pending.pop())
        pending += found[-1].__subclasses__()
    return found


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_a_callers_error_says_nothing_about_an_upstream(kind: type[CallerError]) -> None:
    assert 400 <= kind.status < 500
    assert (kind.origin, kind.verdict) == ("gateway", Verdict.IGNORED)
    # Another upstream may have a place for the field.
    assert kind.retry_elsewhere is (kind is errors.UnsupportedField)


def test_a_401_names_its_scheme() -> None:
    assert Unauthorized("x").headers["WWW-Authenticate"] == "Bearer"
    assert errors.KeyRevoked("x").headers["WWW-Authenticate"] == "Bearer"


def test_a_previous_response_has_openais_own_code() -> None:
    assert StateNotHere("x", "previous_response_id").code == "previous_response_not_found"
    assert StateNotHere("x", "input").code == "state_not_here"
    assert StateNotHere("x", "input").param == "input"
