"""The fields of LiteLLM's keys: those that have no counterpart first, then how the others map."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from flask_gateway.auth.litellm_fields import (
    LiteLLMKey,
    digest_of,
    key_fields,
    limits_of,
    limits_shown,
    own_secret,
    read,
)
from flask_gateway.model.errors import InvalidField


def mapped(body: bytes, before: dict[str, Any] | None = None) -> dict[str, Any]:
    return key_fields(*read(body, LiteLLMKey), before or {})


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"rpm_limit": "many"}', b"[" * 100_000, b"\xff"])
def test_a_body_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidField, match="does not fit"):
        read(body, LiteLLMKey)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"soft_budget": 1}', "soft_budget"),
        (b'{"budget_duration": "3d", "max_budget": 1}', "budget_duration"),
        (b'{"duration": "1y"}', "duration"),
        (b'{"duration": "9999999d"}', "duration"),
        (b'{"metadata": {"tags": "env"}}', "metadata"),
        (b'{"metadata": {"tags": [1]}}', "metadata"),
    ],
)
def test_a_field_without_a_counterpart_is_refused_by_name(body: bytes, param: str) -> None:
    with pytest.raises(InvalidField) as caught:
        mapped(body)
    assert caught.value.param == param


def test_an_empty_field_without_a_counterpart_is_left_out() -> None:
    assert mapped(b'{"aliases": {}, "soft_budget": null, "spend": 0, "guardrails": []}') == {}


@pytest.mark.parametrize(
    ("models", "ours"), [("[]", None), ("null", None), ('["all-proxy-models", "a"]', None), ('["a"]', ["a"])]
)
def test_no_models_and_all_models_are_every_model(models: str, ours: list[str] | None) -> None:
    assert mapped(f'{{"models": {models}}}'.encode()) == {"models": ours}


def test_a_limit_of_null_is_taken_away_and_the_others_stay() -> None:
    before = {"requests": 5, "tokens": 7, "budgets": [{"amount": "1", "window": "day"}]}
    found = mapped(b'{"rpm_limit": null}', before)
    assert found == {"limits": {"tokens": 7, "budgets": [{"amount": "1", "window": "day"}]}}
    assert mapped(b'{"max_budget": null}', before) == {"limits": {"requests": 5, "tokens": 7}}


@pytest.mark.parametrize(
    ("duration", "window", "shown"), [("24h", "day", "1d"), ("1w", "week", "7d"), (None, "total", None)]
)
def test_a_budget_has_a_window_of_the_calendar(duration: str | None, window: str, shown: str | None) -> None:
    fields = LiteLLMKey(max_budget=0.5, budget_duration=duration)  # type: ignore[arg-type]
    limits = limits_of(fields, {"max_budget"}, {})
    assert [one["window"] for one in limits["budgets"]] == [window]
    assert limits_shown(limits)["budget_duration"] == shown


def test_a_small_budget_is_written_without_an_exponent() -> None:
    assert mapped(b'{"max_budget": 1e-7}')["limits"]["budgets"][0]["amount"] == "0.0000001"


def test_a_key_is_given_by_itself_or_by_its_digest() -> None:
    digest = sha256(b"sk-planted-key").digest()
    assert digest_of("sk-planted-key") == digest_of(digest.hex()) == digest


def test_a_short_key_of_the_senders_choice_is_refused() -> None:
    with pytest.raises(InvalidField, match="at least 24 characters"):
        own_secret("x" * 23)
    assert own_secret(None) == own_secret("") == {}
    assert own_secret("sk-planted-1234567890-abcd")["hint"] == "sk-…abcd"
