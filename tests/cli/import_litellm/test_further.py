"""Tests further configurations: of the documentation, groups, guards, anchors, wildcards, and mistakes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_gateway.cli.command import LOOK, OK, USAGE
from flask_gateway.cli.main import main

Import = Callable[..., Any]


def one(*params: str, **sections: str) -> str:
    """A configuration with one model."""
    inner = ", ".join(("model: openai/gpt-4o", *params))
    more = "".join(f"{name}: {value}\n" for name, value in sections.items())
    return f"model_list:\n- model_name: m\n  litellm_params: {{{inner}}}\n{more}"


MASTER = "{master_key: os.environ/MASTER}"


def test_everything_mapped_exits_with_0(import_text: Import) -> None:
    found = import_text(
        one("temperature: 0.5", general_settings=MASTER, litellm_settings="{request_timeout: 60}")
    )
    assert (found.status, found.said["changed"], found.said["left_out"]) == (OK, [], [])


def test_the_documentation_of_litellm(import_config: Import) -> None:
    found = import_config("07")
    assert found.tiers("gpt-4o") == [
        ["endpoint-europe/gpt-4o-eu", "endpoint-canada/gpt-4o-ca*3"],
        ["openai/gpt-3.5-turbo"],
    ]
    assert found.settings["models"]["gpt-4o"]["aliases"] == ["gpt-4"]
    assert found.settings["upstreams"]["endpoint-canada"]["url"].endswith(".com/openai/v1")
    assert found.tiers("zephyr-beta")[0] == [
        "huggingface/HuggingFaceH4/zephyr-7b-beta",
        "huggingface-8002/HuggingFaceH4/zephyr-7b-beta*2",
    ]
    assert found.tiers("vllm-models") == [["local-4000/facebook/opt-125m"]]
    assert found.settings["upstreams"]["openai"]["api_key_env"] == "OPENAI_API_KEY"
    assert (found.settings["answer_timeout_seconds"], found.settings["max_body_bytes"]) == (30, 20971520)
    assert found.says("changed", 53, "line 63 sets it too")
    assert found.says("changed", 65, "redis://:$REDIS_PASSWORD@redis.internal:6380/0")
    assert found.says("left_out", 16, "Bedrock wants requests signed")
    assert found.says("left_out", 54, "its fallback bedrock-claude is not there")
    assert found.says("changed", 69, "so short that it is refused")


def test_groups_and_limits_of_deployments(import_config: Import) -> None:
    found = import_config("08")
    ((first, second), *_) = found.settings["models"]["chat"]["tiers"]
    assert (first["weight"], first["max_in_flight"]) == (3, 20)
    assert (second["weight"], second["max_in_flight"], second["total_seconds"]) == (7, 50, 900)
    assert second["first_byte_seconds"] == 300  # a call that may take 900 s may be silent for long
    assert found.tiers("chat")[1:] == [["cohere/rerank-v3.5"], ["openai-2/gpt-4o"]]
    for line, part in {7: "routing by tags", 21: "team", 31: "routing by tags", 37: "budgets"}.items():
        assert found.says("left_out", line, part), line


def test_sections_without_counterpart_are_named(import_config: Import) -> None:
    found = import_config("09")
    assert found.settings["models"]["claude"]["default"] == {"max_tokens": 4096}
    for line, part in {
        19: "guardrails",
        22: "MCP",
        37: "JWT",
        39: "pass-through",
        44: "JWT",
    }.items():
        assert found.says("left_out", line, part), line
    assert found.settings["upstreams"]["anthropic"]["kind"] == "anthropic"


def test_anchors_and_mistakes(import_config: Import) -> None:
    found = import_config("10")
    assert found.settings["models"].keys() == {"small", "large", "shell", "entra"}
    entra = found.settings["upstreams"]["x"]
    assert entra["api_key_command"][:3] == ["az", "account", "get-access-token"]
    assert found.says("changed", 21, "it logs in with Entra ID")
    assert found.settings["models"]["large"]["default"] == {"temperature": 0, "stop": ["<|end|>", "</s>"]}
    assert found.settings["upstreams"]["groq"]["api_key_env"] == "GROQ_API_KEY"
    for line, part in {22: "credential nowhere", 24: "without credentials"}.items():
        assert found.says("left_out", line, part), line
    assert found.says("left_out", 26, "LiteLLM reads it in router_settings")
    assert found.says("left_out", 29, "did you mean router_settings?")


def test_wildcards(import_config: Import) -> None:
    found = import_config("11")
    assert found.settings["upstreams"].keys() == {"anthropic", "claude", "openai", "openai-2"}
    assert found.settings["default_upstream"] == "openai-2"
    assert found.settings["upstreams"]["openai"]["api_key_env"] == "SECOND_KEY"
    assert found.tiers("own") == [["anthropic/claude-x"]]
    assert found.says("left_out", 8, "no counterpart")
    assert found.says("left_out", 9, "its model is a wildcard")
    assert found.says("left_out", 12, "a wildcard has no fallbacks")


@pytest.mark.parametrize(
    ("names", "unlisted"),
    [
        (["m"], "none"),
        (["m", "openai/*", "groq/*"], ["groq/*", "openai/*"]),
        (["m", "openai/*", "*"], None),
        (["m", "odd-*-name"], "none"),  # this wildcard is left out
    ],
)
def test_names_that_litellm_refuses_are_refused(
    names: list[str], unlisted: list[str] | str | None, import_text: Import
) -> None:
    entries = [f'- {{model_name: "{name}", litellm_params: {{model: "{_of(name)}"}}}}\n' for name in names]
    found = import_text("model_list:\n" + "".join(entries))
    assert found.settings.get("unlisted_models") == unlisted


def _of(name: str) -> str:
    return name if "/" in name else f"openai/{name}"


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (one(router_settings="{allowed_fails: 0}"), {"circuit_breaker_max_failures": 1}),
        (one(router_settings="{cooldown_time: 2.5}"), {"circuit_breaker_reset_seconds": 2.5}),
        (
            one(router_settings="{timeout: 900}"),
            {"request_timeout_seconds": 300},
        ),
        (one(router_settings="{redis_url: redis://r:1/2}"), {"state": "redis://r:1/2"}),
        (one(router_settings="{redis_url: os.environ/R}"), {"state_env": "R"}),
        (one(router_settings="{redis_host: r}"), {"state": "redis://r:6379/0"}),
        (
            one(environment_variables="{LITELLM_MASTER_KEY: os.environ/M}"),
            {"keys": {"master": {"key_env": "M"}}},
        ),
    ],
)
def test_a_general_setting(text: str, settings: dict[str, Any], import_text: Import) -> None:
    found = import_text(text).settings
    assert {name: found.get(name) for name in settings} == settings


@pytest.mark.parametrize(
    ("param", "verdict", "part"),
    [
        ("num_retries: 0", "left_out", "rules of its own"),
        ("temprature: 1", "left_out", "did you mean temperature?"),
        ("api_key: os.environ/A b", "left_out", "no header"),
        ("extra_body: {api_key: x}", "left_out", "may hold a secret"),
        ("extra_body: {stream: true}", "left_out", "the caller decides"),
        ("stop: [null]", "left_out", "JSON has no such value"),
        ("tpm: 5", "left_out", "tokens in [limits]"),
        ("order: first", "left_out", "not a positive number"),
        ("mock_response: hi", "left_out", "mock://"),
        ("aws_region_name: eu", "left_out", "AWS"),
        ("api_key: os.environ/K", "mapped", "api_key_env = K"),
        ("drop_params: false", "mapped", "off, as here"),
        ("ssl_verify: false", "left_out", "certificates are always verified"),
        ("supports_system_message: false", "left_out", "does not change messages"),
        ("api_base: http://h/v1/chat/completions", "changed", "left off"),
    ],
)
def test_a_parameter(param: str, verdict: str, part: str, import_text: Import) -> None:
    found = import_text(one(param))
    assert any(part in said for said in found.said[verdict]), found.said


def test_an_alias_of_an_alias_and_cycles(import_text: Import) -> None:
    models = "".join(f"- {{model_name: {name}, litellm_params: {{model: groq/{name}}}}}\n" for name in "abc")
    chains = "fallbacks: [{a: [b]}, {b: [c, a]}, {c: [x]}], model_group_alias: {x: a, y: x}"
    found = import_text(f"model_list:\n{models}router_settings: {{{chains}}}")
    assert found.tiers("a") == [["groq/a"], ["groq/b"], ["groq/c"]]
    assert found.tiers("c") == [["groq/c"], ["groq/a"], ["groq/b"]]
    assert found.settings["models"]["a"]["aliases"] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("[1, 2]", "it is not a mapping"),
        ("a: [", "line 1: it is not valid YAML"),
        ("model_list: []", "it has no model"),
        ("- a\n- b: {", "line 2: it is not valid YAML"),
        ("\x00", "characters that YAML does not allow"),
    ],
)
def test_an_unusable_file_exits_with_2(text: str, said: str, import_text: Import) -> None:
    found = import_text(text)
    assert (found.status, found.text) == (USAGE, "")
    assert said in found.said["error"][-1]


def test_nothing_is_overwritten(
    import_text: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, source = tmp_path / "mine.toml", tmp_path / "config.yaml"
    target.write_text("mine")
    source.write_text(one())
    assert main(["import", "litellm", str(source), "-o", str(target)], {}) == USAGE
    assert "nothing is overwritten" in capsys.readouterr().err
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key_of_openai").write_text("mine")
    assert import_text(one("api_key: sk-made-up-1234567890")).status == USAGE
    assert target.read_text() == (tmp_path / "secrets" / "key_of_openai").read_text() == "mine"


def test_strict_makes_nothing_unless_everything_is_mapped(import_text: Import, tmp_path: Path) -> None:
    found = import_text(one("drop_params: true", "api_key: sk-made-up-1234567890"), "--strict")
    assert (found.status, found.text) == (LOOK, "")
    assert not (tmp_path / "secrets").exists()


def test_without_an_output_the_settings_go_to_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "config.yaml"
    source.write_text(one("api_key: sk-made-up-1234567890"))
    assert main(["import", "litellm", str(source)], {}) == LOOK
    out, err = capsys.readouterr()
    assert 'api_key_env = "KEY_OF_OPENAI"' in out
    assert "Changed in meaning" in err
    assert "sk-made-up" not in out + err
    assert list(tmp_path.iterdir()) == [source]


def test_without_pyyaml_the_package_is_named(import_text: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    found = import_text(one())
    assert found.status == USAGE
    assert "PyYAML" in found.said["error"][-1]


@pytest.mark.parametrize(
    ("number", "tiers"),
    [
        ("12", {"gpt-3.5-turbo": 3}),
        ("13", {"llama-3-8b": 1}),
        ("15", {"claude-sonnet": 1, "haiku": 1}),
        ("16", {"free": 1, "ds": 1}),
        ("18", {"qwen": 1, "lm": 1, "tgi": 1, "xin": 1, "proxy": 1}),
        ("19", {"o3": 1, "pplx": 1, "tg": 1}),
    ],
)
def test_further_shapes_become_models(number: str, tiers: dict[str, int], import_config: Import) -> None:
    """The number is that of candidates in the first tier. A secret in the open is never shown."""
    found = import_config(number)
    assert found.status == LOOK
    assert {name: len(found.tiers(name)[0]) for name in found.settings["models"]} == tiers
    assert "sk-1234" not in found.text + repr(found.said)


def test_a_salt_key_is_of_the_database(import_text: Import) -> None:
    found = import_text(one(general_settings="{master_key: os.environ/M, salt_key: sk-planted-salt}"))
    assert found.says("left_out", 4, "there is no database")
    assert "sk-planted-salt" not in str(found)


@pytest.mark.parametrize("provider", ["chutes", "scaleway", "poe", "nano-gpt", "veniceai"])
def test_providers_that_litellm_lists_in_json(provider: str, import_text: Import) -> None:
    found = import_text(f"model_list: [{{model_name: m, litellm_params: {{model: {provider}/a/b}}}}]\n")
    assert found.tiers("m") == [[f"{provider}/a/b"]]
