"""Tests what six configurations, in the shapes that published ones have, become."""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from flask_gateway.cli.command import LOOK

Import = Callable[..., Any]


def test_a_small_team(import_config: Import) -> None:
    found = import_config("01")
    assert found.status == LOOK
    assert found.settings["upstreams"].keys() == {"openai", "anthropic"}
    assert [found.tiers(model) for model in ("writer", "reviewer", "gpt-5.4-nano")] == [
        [["openai/gpt-5.4-mini"]],
        [["anthropic/claude-sonnet-4-6"]],
        [["openai/gpt-5.4-nano"]],
    ]
    assert {one["total_seconds"] for one in found.settings["upstreams"].values()} == {300}
    assert found.settings["answer_timeout_seconds"] == 300
    assert found.settings["rate_limit_per_minute"] == 0
    assert found.settings["keys"] == {"master": {"key_env": "LITELLM_MASTER_KEY"}}
    assert found.settings["upstreams"]["anthropic"]["kind"] == "anthropic"
    assert found.settings["upstreams"]["anthropic"]["unsupported"] == "drop"
    assert found.says("changed", 20, "drop_params")
    assert found.says("left_out", 22, "rules of its own for retries")


def test_own_servers(import_config: Import) -> None:
    found = import_config("02")
    assert found.tiers("birch") == [["gpu-a/birch-30b-instruct*3", "gpu-b/birch-30b-instruct"]]
    assert found.settings["models"]["birch"]["balance"] == "least_requests"
    keys = {name for name, one in found.settings["upstreams"].items() if "api_key_env" in one}
    assert keys == {"alder"}  # EMPTY, none and dummy stand for no key
    assert found.settings["upstreams"]["alder"]["url_env"] == "ALDER_URL"
    assert found.settings["upstreams"]["ollama"]["url"] == "http://localhost:11434/v1"
    ((candidate,),) = found.settings["models"]["alder-vision"]["tiers"]
    assert (candidate["total_seconds"], candidate["first_token_seconds"]) == (120, 45)
    assert found.says("left_out", 11, "supports_function_calling")
    assert found.says("left_out", 24, "supports_vision")
    assert found.says("mapped", 40, "the caller's path chooses the operation")
    assert found.says("changed", 30, "the slash at its end is left off")
    # No timeout is set: LiteLLM would wait for 6000 s.
    assert (found.settings["request_timeout_seconds"], found.settings["answer_timeout_seconds"]) == (120, 600)


def test_chains_of_fallbacks(import_config: Import) -> None:
    found = import_config("03")
    assert found.tiers("quick")[:3] == [
        ["groq/pine-8b-instant*3", "cerebras/pine-8b"],
        ["mistral/oak-large-latest*1000", "openrouter/mistralai/oak-large"],
        ["deepseek/deepseek-chat"],
    ]
    assert found.tiers("careful")[:2] == [["mistral/oak-large-latest"], ["openrouter/mistralai/oak-large"]]
    assert found.tiers("last-resort") == [["deepseek/deepseek-chat"]]
    assert found.settings["models"]["quick"]["aliases"] == ["default", "old-name-of-quick"]
    breaker = ("circuit_breaker_max_failures", "circuit_breaker_reset_seconds")
    assert [found.settings[name] for name in breaker] == [5, 45]
    assert found.says("changed", 27, "asked after a refusal of length")
    assert found.says("left_out", 29, "a refusal by a content filter is an answer")
    assert found.says("left_out", 33, "retry_policy")
    assert found.says("changed", 32, "hidden")


def test_azure_and_money(import_config: Import) -> None:
    found = import_config("04")
    assert found.settings["upstreams"]["azure_north"]["url_env"] == "AZURE_NORTH_BASE"
    assert found.settings["upstreams"]["azure_north"]["url_path"] == "/openai/v1"
    assert found.settings["upstreams"]["azure_south"]["api_key_env"] == "AZURE_SOUTH_KEY"
    assert found.tiers("clerk") == [["azure_north/clerk-prod", "azure_south/clerk-backup"]]
    assert found.settings["models"]["index"]["price"] == {"input": "0.02", "output": "0"}
    assert found.settings["ledger"] == {"data": "ledger"}
    assert found.settings["limits"] == {"budgets": [{"amount": "150", "window": "month"}]}
    users = {"budgets": [{"amount": "4", "window": "total"}]}
    assert found.settings["keys"]["master"]["users"] == users
    prices = [one["price"] for one in found.settings["models"]["clerk"]["tiers"][0]]
    assert [(price["input"], price["output"]) for price in prices] == [("2.5", "15")] * 2
    assert found.says("changed", 54, "where LiteLLM counts 30d from a reset")
    assert found.settings["state_env"] == "REDIS_URL"
    assert found.says("changed", 63, "redis://:$REDIS_PASSWORD@redis.internal.example:6379/0")
    for line, part in {
        29: "access_groups",
        42: "cache of answers",
        43: "prometheus, langfuse: /metrics takes the place",
        52: "there is no database",
        56: "user_header_name",
        57: "spend_logs",
    }.items():
        assert found.says("left_out", line, part), line


def test_wildcards_and_pinned_parameters(import_config: Import) -> None:
    found = import_config("05")
    assert found.settings["default_upstream"] == "openrouter"
    assert "openai" in found.settings["upstreams"]
    models = found.settings["models"]
    assert models["thinker (slow)"]["default"] == {"reasoning_effort": "high"}
    fast = {"reasoning_effort": "low", "max_completion_tokens": 2048, "temperature": 0.2}
    assert models["thinker/fast"]["default"] == fast
    assert models["claude-for-code"]["default"]["thinking"] == {"type": "enabled", "budget_tokens": 4000}
    assert models["house-style"]["set"] == {"think": True, "guided_json": {"type": "object"}}
    assert found.says("left_out", 7, "organization")
    assert found.says("left_out", 29, "cache_control_injection_points")
    assert found.says("left_out", 31, "extra_headers")
    assert found.says("changed", 35, "no version")
    assert found.says("left_out", 42, "empty")


def test_a_configuration_that_grew_over_years(import_config: Import) -> None:
    found = import_config("06")
    assert found.settings["models"].keys() == {"cedar", "drawing"}
    assert found.says("changed", 31, "it stands twice")
    assert found.settings["circuit_breaker_max_failures"] == 4
    assert [
        found.says("left_out", line, f"entry {number} is left out")
        for line, number in ((7, 1), (16, 3), (23, 5))
    ] == [
        True,
        True,
        True,
    ]
    for line, part in {
        9: "belongs into litellm_params",
        15: "supports_images",
        47: "unknown",
        50: "include more-models.yaml: it cannot be read",
    }.items():
        assert found.says("left_out", line, part), line
    assert found.says("changed", 14, "a secret in the open")
    assert found.says("changed", 37, "a secret in the open")
    assert found.says("left_out", 38, "a secret in the open")


def test_an_odd_provider_comes_with_its_address(import_text: Import) -> None:
    text = "model_list:\n- model_name: o\n  litellm_params: {model: zhongshu/larch, api_base: https://z.example/v1}"
    found = import_text(text)
    assert found.tiers("o") == [["z/larch"]]
    assert found.says("changed", 3, "its provider is not known")


@pytest.mark.parametrize("more", [(), ("--env-out",)])
def test_secrets_in_the_open_are_kept_apart(
    import_config: Import, more: tuple[str, ...], tmp_path: Any
) -> None:
    variables = tmp_path / "gateway.env"
    found = import_config("06", *more, *([str(variables)] if more else []))
    if more:
        assert found.settings["upstreams"]["mistral"]["api_key_env"] == "KEY_OF_MISTRAL"
        kept = [variables]
        assert "LITELLM_MASTER_KEY=sk-made-up-master\n" in variables.read_text()
    else:
        assert found.settings["keys"]["master"]["key_file"] == "secrets/litellm_master_key"
        kept = list((tmp_path / "secrets").iterdir())
        assert (tmp_path / "secrets/key_of_mistral").read_text() == "not-a-real-key-0123456789abcdef\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    printed = found.text + repr(found.said)
    assert not [secret for secret in ("not-a-real-key", "sk-made-up", "made-up@") if secret in printed]


@pytest.mark.parametrize("number", [f"{number:02}" for number in range(1, 35) if number not in (21, 23)])
def test_the_report_names_every_setting(number: str, import_config: Import) -> None:
    found = import_config(number)
    lists = ("mapped", "changed", "left_out")
    said = [one.partition(" ")[2].partition(": ")[0] for verdict in lists for one in found.said[verdict]]
    document = yaml.safe_load((found.folder / "config.yaml").read_text())
    for section in ("litellm_settings", "router_settings", "general_settings", "environment_variables"):
        for name in document.get(section) or {}:
            assert any(one.startswith(f"{section}.{name}") for one in said), (section, name)
    for place, item in enumerate(document["model_list"], 1):
        if any(f"entry {place} is left out" in one for one in found.said["left_out"]):
            continue
        at = f"model_list[{place}] {item['model_name']}"
        for section in ("litellm_params", "model_info"):
            for name in {*item.get(section, {})} - {"model"}:
                assert any(one.startswith(f"{at}.{section}.{name}") for one in said), (at, section, name)
