"""Tests the example of a required end user."""

from __future__ import annotations

from typing import Any

import pytest
from required_user import RequiredUser

from flask_gateway.plugin import Operation, UserRequired
from flask_gateway.testing import GuardConformance, call_of


class TestRequiredUser(GuardConformance):
    admitted = {"messages": [], "user": "ann"}  # noqa: RUF012  # the suite declares it

    def make(self) -> object:
        return RequiredUser()


@pytest.mark.parametrize(
    "fields", [{"user": "ann"}, {"safety_identifier": "ann"}, {"metadata": {"user_id": "ann"}}]
)
def test_a_named_user_is_admitted(fields: dict[str, Any]) -> None:
    for operation in (Operation.CHAT, Operation.MESSAGE):
        assert RequiredUser().admit(call_of(operation, **fields))


@pytest.mark.parametrize(
    "fields", [{}, {"user": ""}, {"user": "  "}, {"user": 7}, {"user": "u" * 5000}, {"metadata": ["user_id"]}]
)
def test_others_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UserRequired):
        RequiredUser().admit(call_of(**fields))
