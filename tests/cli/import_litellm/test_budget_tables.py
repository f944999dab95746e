"""LiteLLM's tables of budgets, users and end users, and budgets of providers and deployments."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from flask_gateway.cli.command import USAGE

Import = Callable[..., Any]
MODEL = "model_list:\n- model_name: m\n  litellm_params: {model: openai/gpt-4o, api_key: os.environ/K}\n"
MASTER = "general_settings: {master_key: os.environ/MASTER}\n"


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


class Tables:
    """Writes tables as lists of objects, and names them as options."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, **tables: list[dict[str, Any]]) -> list[str]:
        options: list[str] = []
        for name, rows in tables.items():
            path = self._folder / f"{name}.json"
            path.write_text(json.dumps(rows))
            options += [f"--{name.replace('_', '-')}", str(path)]
        return options


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)


def key(name: str, **more: Any) -> dict[str, Any]:
    return {"token": digest(name), "key_alias": name, **more}


TIER = {
    "budget_id": "tier",
    "max_budget": 12.5,
    "budget_duration": "30d",
    "rpm_limit": 60,
    "tpm_limit": 1000,
    "model_max_budget": {"m": 1},
    "max_parallel_requests": None,
}


def test_a_key_has_the_limits_of_its_budget_where_it_has_none_of_its_own(
    import_text: Import, tables: Tables
) -> None:
    keys = [
        key("a", budget_id="tier"),
        key("b", budget_id="tier", rpm_limit=5, max_budget=2, budget_duration=None),
        key("c", budget_id="tier", budget_duration="1d"),  # the duration of before stays behind
        key("d", budget_id="gone"),
        key("e", budget_id="zero"),
    ]
    zero = {"budget_id": "zero", "max_budget": 0.0}
    found = import_text(MODEL, *tables(keys=keys, budgets=[TIER, zero]))
    month = [{"amount": "12.5", "window": "month"}]
    limits = {"m": {"budgets": [{"amount": "1", "window": "total"}]}}
    ours = found.settings["keys"]
    assert ours["a"] == {
        "sha256": digest("a"), "rate_limit_per_minute": 60, "tokens": 1000, "budgets": month,
        "model_limits": limits,
    }  # fmt: skip
    assert (ours["b"]["rate_limit_per_minute"], ours["b"]["tokens"]) == (5, 1000)
    assert ours["b"]["budgets"] == [{"amount": "2", "window": "total"}]
    assert ours["c"]["budgets"] == month
    assert ours["d"] == {"sha256": digest("d")}
    assert "e" not in ours
    assert found.says("mapped", 1, "the limits of the budget tier")
    assert found.says("left_out", 4, "--budgets brings LiteLLM_BudgetTable")
    assert found.says("left_out", 5, "its budget is 0")


def test_the_limits_of_a_user_hold_for_the_keys_without_a_team(import_text: Import, tables: Tables) -> None:
    users = [
        {"user_id": "u-1", "user_email": "ann@example.org", "max_budget": 9, "models": ["m"], "spend": 2},
        {"user_id": "u-2", "user_alias": "bob", "max_budget": None, "models": []},
        {"user_id": "u-3", "max_budget": 0.0},
        {"user_id": "u-4", "models": ["no-default-models"]},
    ]
    keys = [
        key("one", user_id="u-1"),
        key("two", user_id="u-1", models=["m", "other"]),
        key("shared", user_id="u-1", team_id="t"),
        key("bobs", user_id="u-2"),
        key("broke", user_id="u-3"),
        key("nothing", user_id="u-4"),
        key("nobody", user_id="u-9"),
    ]
    found = import_text(MODEL, *tables(keys=keys, users=users, teams=[{"team_id": "t"}]))
    ours, teams = found.settings["keys"], found.settings["teams"]
    assert teams["user-ann-example.org"] == {"budgets": [{"amount": "9", "window": "total"}]}
    assert {name: one.get("team") for name, one in ours.items()} == {
        "one": "user-ann-example.org",
        "two": "user-ann-example.org",
        "shared": "t",
        "bobs": None,
        "nobody": None,
    }
    assert ours["one"]["models"] == ours["two"]["models"] == ["m"]
    assert found.says("changed", 1, "the limits of its user")
    assert found.says("left_out", 1, '{"subject": "team:user-ann-example.org", "amount": "2"}')
    assert found.says("left_out", 5, "the budget of its user is 0")
    assert found.says("left_out", 6, "no model that its team or its user may call")


@pytest.mark.parametrize(
    ("own", "teams", "models"),
    [
        ([], ["m"], ["m"]),
        (["m", "x"], ["m"], ["m"]),
        (["m"], [], ["m"]),
        (["m"], ["all-proxy-models"], ["m"]),
        (["all-proxy-models"], ["m", "x"], ["m", "x"]),
        (["all-team-models"], ["m"], ["m"]),
        (["openai/a"], ["openai/*"], ["openai/a"]),
        (["x"], ["m"], None),
    ],
)
def test_a_key_may_call_what_its_team_may_call_too(
    own: list[str], teams: list[str], models: list[str] | None, import_text: Import, tables: Tables
) -> None:
    rows = tables(keys=[key("a", team_id="t", models=own)], teams=[{"team_id": "t", "models": teams}])
    ours = import_text(MODEL, *rows).settings.get("keys", {})
    assert ours.get("a", {}).get("models") == models


def test_end_users_have_the_limits_of_their_budgets(import_text: Import, tables: Tables) -> None:
    end_users = [
        {"user_id": "alice", "budget_id": "tier"},
        {"user_id": "bob", "budget_id": None},
        {"user_id": "carol", "blocked": True, "budget_id": "tier"},
        {"user_id": "x" * 65, "budget_id": "tier"},
    ]
    text = f"{MODEL}{MASTER}litellm_settings: {{max_end_user_budget_id: small}}\n"
    small = {"budget_id": "small", "max_budget": 1, "budget_duration": "1d", "rpm_limit": 3}
    found = import_text(text, *tables(budgets=[TIER, small], end_users=end_users))
    (master,) = found.settings["keys"].values()
    assert master["users"] == {"requests": 3, "budgets": [{"amount": "1", "window": "day"}]}
    assert master["user_limits"] == {
        "alice": {"requests": 60, "tokens": 1000, "budgets": [{"amount": "12.5", "window": "month"}]}
    }
    assert found.says("changed", 1, "once for each key")
    assert found.says("left_out", 1, "budgets of single models are of keys and teams")
    assert found.says("left_out", 3, "an end user cannot be")
    assert found.says("left_out", 4, "up to 64 printable characters")
    assert found.settings["ledger"] == {"data": "ledger"}


def test_end_users_without_a_key_or_a_table(import_text: Import, tables: Tables) -> None:
    found = import_text(MODEL, *tables(end_users=[{"user_id": "alice"}]))
    assert found.says("left_out", 1, "there is no key")
    found = import_text(f"{MODEL}litellm_settings: {{max_end_user_budget_id: small}}\n")
    assert found.says("left_out", 4, "--budgets brings")


@pytest.mark.parametrize("option", ["--budgets", "--users", "--end-users"])
def test_a_file_that_is_no_table(option: str, import_text: Import, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text("id\n1\n")
    found = import_text(MODEL + MASTER, option, str(tmp_path / "odd.json"))
    assert (found.status, found.settings) == (USAGE, {})
    assert "odd.json" in found.said["error"][-1]


# ---------------------------------------------------------------- providers and deployments


def models(*params: str) -> str:
    entries = [f"- {{model_name: m{place}, litellm_params: {{{one}}}}}\n" for place, one in enumerate(params)]
    return "model_list:\n" + "".join(entries)


DAY = [{"amount": "100", "window": "day"}]


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        (models("model: openai/a", "model: openai/b"), {"budgets": DAY}),
        (models("model: openai/a", "model: groq/b"), {"models": {"m0": {"budgets": DAY}}}),
        (models("model: openai/a", "model: openai/b", "model: groq/c"), None),
        (models("model: groq/a"), None),
        (models("model: openai/a", "model: groq/b") + "router_settings: {fallbacks: [{m0: [m1]}]}\n", None),
        (models("model: groq/b") + '- {model_name: "openai/*", litellm_params: {model: "openai/*"}}\n', None),
    ],
)
def test_the_budget_of_a_provider_is_that_of_all_calls_or_of_its_only_model(
    text: str, limits: dict[str, Any] | None, import_text: Import
) -> None:
    given = "provider_budget_config: {openai: {budget_limit: 100, time_period: 1d}}"
    if "router_settings" in text:
        found = import_text(text.replace("{fallbacks", f"{{{given}, fallbacks"))
    else:
        section = "litellm_settings" if "groq/c" in text else "router_settings"
        found = import_text(f"{text}{section}: {{{given}}}\n")
    assert found.settings.get("limits") == limits
    verdict = "left_out" if limits is None else "changed"
    assert any("provider_budget_config openai" in said for said in found.said[verdict])


@pytest.mark.parametrize(
    ("params", "limits"),
    [
        (("model: openai/a, max_budget: 100, budget_duration: 1d", "model: openai/b"), {"m0": DAY}),
        (("model: openai/a, max_budget: 100, budget_duration: 1d", "model: openai/a"), None),
        (("model: openai/a, max_budget: lots",), None),
        (("model: openai/a, budget_duration: 1d",), None),
    ],
)
def test_the_budget_of_a_deployment_is_that_of_its_model_if_no_other_asks_it(
    params: tuple[str, ...], limits: dict[str, Any] | None, import_text: Import
) -> None:
    found = import_text(models(*params))
    ours = found.settings.get("limits", {}).get("models")
    assert ours == (limits and {name: {"budgets": budgets} for name, budgets in limits.items()})
    assert bool(found.said["left_out"]) == (limits is None)
