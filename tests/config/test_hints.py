"""Tests the hints for names that other gateways use: each leads to a setting that exists."""

from __future__ import annotations

import re

import pytest

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.hints import FIELDS, VARIABLES, for_field
from flask_gateway.config.load import load
from flask_gateway.config.options import OPTIONS, PREFIX


def test_a_hint_of_a_variable_names_a_setting_that_exists() -> None:
    known = {option.variable for option in OPTIONS}
    for name, hint in VARIABLES.items():
        assert PREFIX + name not in known, "a name that exists needs no hint"
        assert set(re.findall(r"GATEWAY_[A-Z_]+", hint)) <= known, hint


# GATEWAY_PORT has another hint first: Kubernetes sets it.
@pytest.mark.parametrize("name", sorted(VARIABLES.keys() - {"PORT"}))
def test_a_variable_of_another_gateway_is_refused_with_its_hint(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"GATEWAY_API_KEYS": "a-key-of-a-test-1", PREFIX + name: "1"})
    assert VARIABLES[name] in str(caught.value)


def test_a_field_has_the_hint_of_its_section_whatever_its_case() -> None:
    assert for_field(("upstreams", "a"), "Base_URL") == "did you mean url?"
    assert for_field(("models", "a"), "fallback") == "did you mean fallbacks?"
    assert for_field(("keys", "a"), "fallback") is None
    assert for_field(("tables", "a"), "url") is None
    assert for_field((), "url") is None


def test_no_field_has_two_hints_by_its_case() -> None:
    for fields in FIELDS.values():
        assert all(name == name.lower() for name in fields)
