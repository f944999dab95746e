"""Tests the parameters of an admin's URL: one that is misspelled is refused, and numbers have bounds."""

from __future__ import annotations

import pytest
from flask import Flask

from flask_gateway.auth.key_pages import whole
from flask_gateway.model.errors import InvalidField
from flask_gateway.web.admin.parameters import arguments_of


def test_an_unknown_parameter_is_refused_with_the_known_ones() -> None:
    with Flask(__name__).test_request_context("/?limt=5"):
        with pytest.raises(InvalidField, match="known are limit, after") as caught:
            arguments_of("limit", "after")
        assert caught.value.param == "limt"


def test_a_parameter_that_is_empty_is_as_one_that_is_missing() -> None:
    with Flask(__name__).test_request_context("/?after=&limit=5"):
        assert arguments_of("limit", "after") == {"limit": "5", "after": None}


@pytest.mark.parametrize("text", ["0", "101", "-1", "1.5", "", "x", "٣", "9" * 16])
def test_a_number_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="limit: expected a whole number from 1 to 100"):
        whole("limit", text, 20, 100)


def test_a_number_within_bounds() -> None:
    assert whole("limit", "100", 20, 100) == 100
    assert whole("limit", None, 20, 100) == 20
