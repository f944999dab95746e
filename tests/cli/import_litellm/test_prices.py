"""Prices of deployments: LiteLLM has them per token, the gateway per million tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Import = Callable[..., Any]


def one(params: str = "", info: str = "") -> str:
    inner = ", ".join(filter(None, ("model: openai/gpt-4o", params)))
    return (
        f"model_list:\n- model_name: m\n  litellm_params: {{{inner}}}\n  model_info: {{{info}}}\n"
        "general_settings: {master_key: os.environ/MASTER}\n"
    )


@pytest.mark.parametrize(
    "given",
    ["abc", "-0.1", "1e-30", "0.00000000000001", "1", "[1]", "os.environ/PRICE", "true", ".inf", ".nan"],
)
def test_no_price_is_reported(given: str, import_text: Import) -> None:
    found = import_text(one(f"input_cost_per_token: {given}"))
    assert "price" not in found.settings["models"]["m"]
    assert "ledger" not in found.settings
    assert found.says("left_out", 3, "it is not a price")


@pytest.mark.parametrize(
    ("name", "given", "ours", "price"),
    [
        ("input_cost_per_token", "0.0000025", "input", "2.5"),
        ("output_cost_per_token", "1e-05", "output", "10"),
        ("output_cost_per_token", "'0.00001'", "output", "10"),
        ("input_cost_per_token", "0", "input", "0"),
        ("input_cost_per_token", "0.000000000001", "input", "0.000001"),
        ("cache_read_input_token_cost", "1.25e-6", "cached", "1.25"),
        ("cache_creation_input_token_cost", "3.75e-06", "write_5m", "3.75"),
        ("output_cost_per_reasoning_token", "4.0e-06", "reasoning", "4"),
    ],
)
@pytest.mark.parametrize("place", ["params", "info"])
def test_a_price(name: str, given: str, ours: str, price: str, place: str, import_text: Import) -> None:
    found = import_text(one(**{place: f"{name}: {given}"}))
    assert found.settings["models"]["m"]["price"] == {ours: price}
    assert found.settings["ledger"] == {"data": "ledger"}
    assert found.says("mapped", 3 if place == "params" else 4, f'price.{ours} = "{price}" per million')


def test_parameters_win_over_model_info(import_text: Import) -> None:
    found = import_text(one("input_cost_per_token: 1e-6", "input_cost_per_token: 2e-6"))
    assert found.settings["models"]["m"]["price"] == {"input": "1"}
    assert found.says("changed", 4, "that one counts")


def test_candidates_have_prices_of_their_own(import_text: Import) -> None:
    text = """
model_list:
- {model_name: m, litellm_params: {model: openai/a, input_cost_per_token: 1e-6}}
- {model_name: m, litellm_params: {model: groq/b, input_cost_per_token: 5e-7}}
"""
    ((first, second),) = import_text(text).settings["models"]["m"]["tiers"]
    assert (first["price"], second["price"]) == ({"input": "1"}, {"input": "0.5"})
