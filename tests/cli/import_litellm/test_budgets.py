"""Budgets and teams of LiteLLM become budgets and teams here, and no call is refused for want of a price."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flask_gateway import create_app
from flask_gateway.cli.command import USAGE
from flask_gateway.cli.import_litellm.budgets import Unbudgeted, budget_of
from flask_gateway.config.load import load
from flask_gateway.pricing.table import shipped
from flask_gateway.state.memory import MemoryStore

Import = Callable[..., Any]
MODEL = "model_list:\n- model_name: m\n  litellm_params: {model: openai/gpt-4o, api_key: os.environ/K}\n"
MASTER = "general_settings: {master_key: os.environ/MASTER}\n"


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def table(folder: Path, name: str, *rows: dict[str, Any]) -> str:
    """Write a table: as JSON, or as CSV if its name says so."""
    path = folder / name
    with path.open("w", newline="") as file:
        if name.endswith(".json"):
            json.dump(rows, file, indent=1)
        else:
            writer = csv.DictWriter(file, sorted({column for row in rows for column in row}))
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


@pytest.mark.parametrize(
    ("duration", "window", "note"),
    [
        ("", "total", ""),
        ("1d", "day", "calendar"),
        ("24h", "day", "calendar"),
        ("daily", "day", "calendar"),
        ("86400s", "day", "calendar"),
        ("7d", "week", "calendar"),
        ("1w", "week", "calendar"),
        ("168h", "week", "calendar"),
        ("30d", "month", "calendar"),
        ("1mo", "month", "calendar"),
        ("720h", "month", "calendar"),
        ("1h", "day", "the shortest window that holds 1h"),
        ("2d", "week", "the shortest window"),
        ("14d", "month", "the shortest window"),
        ("90d", "total", "longer than every window"),
        ("sk-PLANTED7secret", "total", "cannot be read"),
        ("0d", "total", "cannot be read"),
    ],
)
def test_a_duration_becomes_a_window(duration: str, window: str, note: str) -> None:
    found = budget_of("5", duration)
    assert (found.amount, found.window) == ("5", window)
    assert note in found.note
    assert bool(note) == bool(found.note)
    assert "PLANTED7secret" not in found.note


@pytest.mark.parametrize(
    "amount", ["", "0", "0.0", "-1", "nan", "inf", "many", "1e-12", "1e9", "1e30", "[1]"]
)
def test_an_amount_that_is_no_budget(amount: str) -> None:
    with pytest.raises(Unbudgeted):
        budget_of(amount, "1d")


@pytest.mark.parametrize(
    ("amount", "ours"), [("150", "150"), ("0.30000000000000004", "0.3"), ("1e3", "1000"), ("1.50", "1.5")]
)
def test_an_amount(amount: str, ours: str) -> None:
    assert budget_of(amount, "").amount == ours


@pytest.mark.parametrize("section", ["litellm_settings", "general_settings"])
def test_the_budget_of_all_calls(section: str, import_text: Import) -> None:
    found = import_text(f"{MODEL}{section}: {{max_budget: 20, budget_duration: 7d}}\n")
    assert found.settings["limits"] == {"budgets": [{"amount": "20", "window": "week"}]}
    assert found.settings["ledger"] == {"data": "ledger"}
    assert "price" not in found.settings["models"]["m"]  # the gateway finds it by the upstream's address
    assert found.says("changed", 4, "where LiteLLM counts 7d from a reset")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("max_budget: 0", "a budget is above 0"),
        ("max_budget: lots", "not an amount"),
        ("max_budget: os.environ/BUDGET", "not an amount"),
        ("budget_duration: 30d", "there is no max_budget"),
    ],
)
def test_no_budget_of_all_calls(given: str, line: str, import_text: Import) -> None:
    found = import_text(f"{MODEL}litellm_settings: {{{given}}}\n")
    assert found.settings.keys() & {"limits", "ledger"} == set()
    assert found.says("left_out", 4, line)


def test_the_budget_of_end_users_needs_a_key(import_text: Import) -> None:
    text = f"{MODEL}litellm_settings: {{max_end_user_budget: 4}}\n"
    assert import_text(text).says("left_out", 4, "there is no key")
    found = import_text(text + MASTER)
    users = {"budgets": [{"amount": "4", "window": "total"}]}
    assert found.settings["keys"]["master"]["users"] == users
    assert found.says("changed", 4, "once for each key")


@pytest.mark.parametrize("name", ["keys.csv", "keys.json"])
def test_budgets_and_teams_of_keys(name: str, import_text: Import, tmp_path: Path) -> None:
    web = {"token": digest("sk-a"), "key_alias": "web", "max_budget": 12.5, "budget_duration": "30d"}
    shop = {"team_id": "t-1", "team_alias": "the shop", "team_max_budget": 100.0, "team_tpm_limit": 5000}
    keys = table(
        tmp_path,
        name,
        {**web, "spend": 1.25, "team_id": "t-2", "models": "{}"},
        {"token": digest("sk-b"), "key_alias": "cart", "max_budget": 3, "rpm_limit": 7, **shop},
        {"token": digest("sk-c"), "key_alias": "idle", "max_budget": 0.0},
    )
    found = import_text(MODEL + MASTER, "--keys", keys)
    settings = found.settings
    assert settings["keys"]["web"] == {
        "sha256": digest("sk-a"),
        "team": "t-2",
        "budgets": [{"amount": "12.5", "window": "month"}],
    }
    assert settings["keys"]["cart"]["budgets"] == [{"amount": "3", "window": "total"}]
    assert (settings["keys"]["cart"]["team"], settings["keys"]["cart"]["rate_limit_per_minute"]) == (
        "the-shop",
        7,
    )
    assert settings["teams"]["the-shop"] == {
        "tokens": 5000,
        "budgets": [{"amount": "100", "window": "total"}],
    }
    assert "idle" not in settings["keys"]
    assert f"# {name}:" in found.text  # a line of the table is not taken for one of the configuration
    first = 2 if name.endswith("csv") else 1
    assert found.says("changed", first, "where LiteLLM counts 30d from a reset")
    assert found.says("left_out", first, 'adjustments {"subject": "key:web", "amount": "1.25"}')
    assert found.says("left_out", first + 2, "its budget is 0, so it may call nothing")


def test_the_table_of_teams(import_text: Import, tmp_path: Path) -> None:
    limits = {"max_budget": "50", "budget_duration": "1d", "tpm_limit": "900", "rpm_limit": "8"}
    teams = table(
        tmp_path,
        "teams.csv",
        {"team_id": "t-1", "team_alias": "search", "max_parallel_requests": "3", "models": "{m}", **limits},
        {"team_id": "t-2", "team_alias": "search", "spend": "4", "blocked": "t"},
        {"team_id": "t-3", "team_alias": "", "max_budget": "odd"},
    )
    keys = table(
        tmp_path,
        "keys.csv",
        {"token": digest("sk-a"), "key_alias": "a", "team_id": "t-1", "models": "{all-team-models}"},
        {"token": digest("sk-b"), "key_alias": "b", "team_id": "t-2"},
        {"token": digest("sk-c"), "key_alias": "c", "team_id": "t-4"},
    )
    found = import_text(MODEL + MASTER, "--keys", keys, "--teams", teams)
    assert found.settings["teams"] == {
        "search": {
            "requests": 8,
            "tokens": 900,
            "concurrent": 3,
            "budgets": [{"amount": "50", "window": "day"}],
        },
        "search-2": {},
        "t-3": {},
        "t-4": {},
    }
    assert found.settings["keys"]["a"]["models"] == ["m"]
    assert found.settings["keys"].keys() == {"master", "a", "c"}
    assert found.says("left_out", 3, "its team is blocked")
    assert found.says("left_out", 3, '{"subject": "team:search-2", "amount": "4"}')
    assert found.says("left_out", 4, "not an amount")
    assert found.says("left_out", 4, "[teams.t-4] without limits: --teams brings those")


def test_budgets_of_single_models(import_text: Import, tmp_path: Path) -> None:
    web = {"gpt-4o": {"budget_limit": "0.5", "time_period": "1d"}, "a b": {"max_budget": 2}}
    rows = [
        {"token": digest("sk-a"), "key_alias": "web", "model_max_budget": web},
        {"token": digest("sk-b"), "key_alias": "app", "model_max_budget": {"m": 3}},
        {"token": digest("sk-c"), "key_alias": "odd", "model_max_budget": {"m": None}},
        {"token": digest("sk-d"), "key_alias": "off", "model_max_budget": [1]},
        {"token": digest("sk-e"), "key_alias": "two", "model_max_budget": {"m": {"tpm_limit": 1}}},
    ]
    teams = table(tmp_path, "teams.json", {"team_id": "t", "model_max_budget": {"m": 4}})
    found = import_text(MODEL, "--keys", table(tmp_path, "keys.json", *rows), "--teams", teams)
    keys = found.settings["keys"]
    assert keys["web"]["model_limits"] == {
        "gpt-4o": {"budgets": [{"amount": "0.5", "window": "day"}]},
        "a b": {"budgets": [{"amount": "2", "window": "total"}]},
    }
    assert keys["app"]["model_limits"] == {"m": {"budgets": [{"amount": "3", "window": "total"}]}}
    assert found.settings["teams"]["t"]["model_limits"].keys() == {"m"}
    assert found.settings["ledger"] == {"data": "ledger"}
    assert [name for name in keys if "model_limits" not in keys[name]] == ["odd", "off", "two"]
    assert found.says("left_out", 3, "not an amount")
    assert found.says("left_out", 4, "not an object")
    assert found.says("left_out", 5, "limits requests or tokens, too")


@pytest.mark.parametrize("content", ["[1]", "[{}]", "[", '{"token": "x"}', "id\n1\n"])
@pytest.mark.parametrize("option", ["--keys", "--teams"])
def test_a_file_that_is_no_table(option: str, content: str, import_text: Import, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text(content)
    found = import_text(MODEL + MASTER, option, str(tmp_path / "odd.json"))
    assert (found.status, found.settings) == (USAGE, {})
    assert "odd.json" in found.said["error"][-1]


# ---------------------------------------------------------------- prices that budgets need

SHAPES = """
model_list:
- {model_name: own, litellm_params: {model: openai/birch, api_base: "http://gpu:8000/v1"}}
- {model_name: resold, litellm_params: {model: openai/gpt-4o, api_base: "http://proxy:8000/v1"}}
- {model_name: half, litellm_params: {model: groq/oak, input_cost_per_token: 1e-6}}
- {model_name: known, litellm_params: {model: openai/gpt-4o}}
- {model_name: star, litellm_params: {model: openai/gpt-4o, api_base: "http://proxy:8000/v1"}}
- {model_name: star, litellm_params: {model: openai/birch, api_base: "http://gpu:8000/v1"}}
- {model_name: "groq/*", litellm_params: {model: "groq/*"}}
"""


def test_a_budget_gives_every_candidate_a_price(import_text: Import) -> None:
    found = import_text(f"{SHAPES}litellm_settings: {{max_budget: 5}}\n")
    models = found.settings["models"]
    assert models["own"]["price"] == "free"
    assert found.says("changed", 3, 'price = "free": no price is known here, so no budget counts it')
    assert models["resold"]["price"]["output"] == "10"
    assert found.says("changed", 4, "openai/gpt-4o in the table")
    assert models["half"]["price"] == {"input": "1", "output": "0"}
    assert found.says("changed", 5, "price.output = 0")
    assert "price" not in models["known"]
    assert [one["price"] == "free" for one in models["star"]["tiers"][0]] == [False, True]
    assert found.says("changed", 9, "a budget refuses its models without a known price")


def test_without_a_budget_no_price_is_made(import_text: Import) -> None:
    models = import_text(SHAPES).settings["models"]
    assert [name for name, model in models.items() if "price" in model] == ["half"]


@pytest.mark.parametrize(
    ("info", "verdict", "text"),
    [
        ("base_model: azure/gpt-4o", "changed", "what the table says of it now"),
        ("base_model: gpt-4o", "changed", "what the table says of it now"),
        ("base_model: azure/unheard-of", "left_out", "does not know it"),
        ("base_model: azure/gpt-4o, input_cost_per_token: 1e-6", "mapped", "that one counts"),
    ],
)
def test_a_base_model_has_the_price(info: str, verdict: str, text: str, import_text: Import) -> None:
    params = '{model: azure/mine, api_base: "https://a.openai.azure.example", api_key: os.environ/K}'
    found = import_text(
        f"model_list:\n- model_name: m\n  litellm_params: {params}\n  model_info: {{{info}}}\n"
    )
    assert found.says(verdict, 4, text), found.said
    price = found.settings["models"]["m"].get("price", {})
    assert price.get("output") == ("10" if verdict == "changed" else None)


def test_an_imported_budget_is_in_force(import_text: Import, tmp_path: Path) -> None:
    keys = table(tmp_path, "keys.csv", {"token": digest("sk-a-key-of-a-caller"), "max_budget": "0.000001"})
    found = import_text(MODEL, "--keys", keys)
    settings = load(
        {"K": "a-key", "GATEWAY_CONFIG": str(found.folder / "gateway.toml"), "GATEWAY_STATE": "memory://"}
    )
    mocks = [
        msgspec.structs.replace(one, url="mock://it", prices=shipped().provider_of(one.url))
        for one in settings.upstreams
    ]
    app = create_app(msgspec.structs.replace(settings, upstreams=tuple(mocks)), MemoryStore())
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"Authorization": "Bearer sk-a-key-of-a-caller"}
    answers = [app.test_client().post("/v1/chat/completions", json=body, headers=headers) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {429}
    assert answers[0].get_json()["error"]["code"] == "insufficient_quota"
