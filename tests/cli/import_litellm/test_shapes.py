"""Configurations in the shapes that people publish: what each comes to, and what the report says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_gateway.cli.command import LOOK, USAGE

Import = Callable[..., Any]


@pytest.mark.parametrize(
    ("number", "models", "said"),
    [
        (
            "22",
            {"pine", "together/pine", "groq/pine", "openrouter/pine", "openai/gpt-4o"},
            {16: "billing_callback.billing_callback_instance: /metrics", 29: "the plugin jwt"},
        ),
        ("24", {"local-large", "gpt-latest", "gpt-5.5-thinking", "grok-latest"}, {9: "give the address"}),
        (
            "25",
            {"coder", "coder-small", "gpt-4o", "claude-3-5-sonnet-latest", "embed"},
            {24: "LiteLLM reads it in litellm_settings"},
        ),
        ("26", {"ivory"}, {10: "[limits] models", 22: "--users brings", 18: "/admin/v1"}),
        ("27", set(), {16: "the state store"}),
        ("28", {"mini"}, {19: "/metrics", 23: "files", 25: "files"}),
        (
            "29",
            {"fake", "rerank"},
            {15: "guardrails", 18: "MCP", 20: "search", 23: "vector stores", 26: "prompts"},
        ),
        (
            "30",
            {"fast", "deep"},
            {15: "balance", 20: "retries", 21: "circuit breaker", 24: "not of one upstream"},
        ),
        ("31", {"llama3.2", "mistral", "nomic", "studio", "llamafile"}, {17: "no database"}),
        (
            "32",
            {"chat", "own"},
            {13: "max_end_user_budget_id: no table", 16: "budgets by tag", 19: "x-gateway-user"},
        ),
        ("33", {"a", "7", "c"}, {4: "the caller chooses", 11: "no header can have"}),
        ("34", {"chained", "nim", "cb"}, {7: "its login", 11: "IBM", 13: "AWS keys", 15: "by the content"}),
    ],
)
def test_a_published_shape(
    number: str, models: set[str], said: dict[int, str], import_config: Import
) -> None:
    found = import_config(number)
    assert found.status == LOOK
    assert found.settings.get("models", {}).keys() == models
    for line, part in said.items():
        assert found.says("left_out", line, part), (line, found.said["left_out"])
    assert "PLANTED7secret" not in found.text + repr(found.said)


def test_nothing_to_import_says_why(import_config: Import) -> None:
    bedrock = import_config("21")
    assert bedrock.status == USAGE
    assert "the list of what is left out says why" in bedrock.said["error"][-1]
    assert any("an upstream of kind bedrock" in line for line in bedrock.said["error"])
    stored = import_config("23")
    assert stored.status == USAGE
    assert "LiteLLM has its models in the database" in stored.said["error"][-1]


def test_chains_that_go_round_end(import_config: Import) -> None:
    found = import_config("22")
    assert found.tiers("pine") == [
        ["together_ai/acme/Pine-17B-FP8"],
        ["groq/acme/pine-17b"],
        ["openrouter/acme/pine"],
    ]
    assert found.tiers("groq/pine")[0] == ["groq/acme/pine-17b"]
    assert found.settings["unlisted_models"] == "none"


def test_all_at_one_server(import_config: Import) -> None:
    found = import_config("27")
    (upstream,) = found.settings["upstreams"].values()
    assert found.said["notes"][0].startswith("The result is valid: 1 upstream, ")
    assert upstream["url_env"] == "POOL_BASE_URL"
    assert found.settings["default_upstream"] == "claude"
    assert "unlisted_models" not in found.settings  # LiteLLM routes every name, too


def test_names_of_servers_at_addresses(import_config: Import) -> None:
    assert import_config("31").settings["upstreams"].keys() == {"ollama", "lm_studio", "llamafile"}


def test_text_that_is_meant_as_something_else(import_config: Import) -> None:
    found = import_config("33")
    ((first,), _) = found.settings["models"]["a"]["tiers"]
    assert first["default"] == {"max_tokens": 4096, "temperature": 0.1}
    assert found.says("changed", 6, "a placeholder: the usual variable OPENAI_API_KEY")
    assert found.tiers("c") == [["mistral/m"]]  # an empty api_base is none


def test_budgets_of_a_deployment_and_of_all(import_config: Import) -> None:
    assert import_config("32").settings["limits"] == {
        "budgets": [{"amount": "100", "window": "month"}],
        "models": {"chat": {"budgets": [{"amount": "25", "window": "week"}]}},
    }


def test_models_at_vertex_ai(import_config: Import) -> None:
    found = import_config("20")
    command = ["gcloud", "auth", "print-access-token"]
    host = "https://europe-west{0}-aiplatform.googleapis.com/v1/projects/made-up-project/locations/europe-west{0}"
    # No timeout is set: LiteLLM would wait for 6000 s.
    clocks = {"first_byte_seconds": 120, "idle_seconds": 120, "answer_seconds": 600}
    gemini = {"kind": "vertex", "url": host.format(4), "api_key_command": command, **clocks}
    upstreams = found.settings["upstreams"]
    assert upstreams["vertex"] == gemini
    messages = ["messages", "messages/count_tokens"]
    assert upstreams["vertex-claude"] == {**gemini, "url": host.format(1), "speaks": messages}
    variable = "VERTEX_AI_URL_GOOGLE_CLOUD_PROJECT_GOOGLE_CLOUD_LOCATION"
    assert upstreams["vertex-2"]["url_env"] == variable
    assert found.says(
        "changed", 17, f"url_env = {variable}: set it to https://$GOOGLE_CLOUD_LOCATION-aiplatform"
    )
    assert found.says("changed", 20, "gcloud auth activate-service-account")
    assert found.tiers("Claude Sonnet (EU)") == [["vertex-claude/claude-sonnet-4-6@20260101"]]
    assert found.tiers("Gemini Flash") == [["vertex/google/gemini-3-flash"]]
    assert found.tiers("GPT-5") == [["azure_openai/gpt-5"]]


@pytest.mark.parametrize(
    ("params", "part"),
    [
        ("model: vertex_ai/imagen-4.0, vertex_project: p", "chat and Messages only"),
        ("model: vertex_ai/text-embedding-005, vertex_project: p", "chat and Messages only"),
        ("model: vertex_ai/gemini-3, vertex_project: 'p/../q'", "cannot be used"),
        ("model: vertex_ai/gemini-3, vertex_project: p, vertex_location: EU", "cannot be used"),
        (
            "model: vertex_ai/gemini-3, vertex_project: p, api_base: 'https://own.example'",
            "write url by hand",
        ),
    ],
)
def test_deployments_that_vertex_ai_cannot_be_asked_for(params: str, part: str, import_text: Import) -> None:
    found = import_text(f"model_list:\n- {{model_name: m, litellm_params: {{{params}}}}}\n")
    assert found.status == USAGE
    assert any(part in line for line in found.said["error"])


def test_a_project_without_a_place_has_litellms_own(import_text: Import) -> None:
    params = "{model: vertex_ai_beta/meta/llama-4-maas, vertex_ai_project: pp}"
    found = import_text(f"model_list:\n- {{model_name: m, litellm_params: {params}}}\n")
    assert found.settings["upstreams"]["vertex"]["url"] == (
        "https://us-central1-aiplatform.googleapis.com/v1/projects/pp/locations/us-central1"
    )
    assert found.tiers("m") == [["vertex/meta/llama-4-maas"]]
