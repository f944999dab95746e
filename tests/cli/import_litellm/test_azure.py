"""Azure: Claude by Anthropic's API, the deployment in an address, and the shapes of addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_gateway.cli.import_litellm import azure

Import = Callable[..., Any]
ACCOUNT = "https://r.services.ai.azure.com"


def one(model: str, base: str, *more: str) -> str:
    params = ", ".join((f"model: {model}", f'api_base: "{base}"', "api_key: os.environ/K", *more))
    return f"model_list:\n- {{model_name: m, litellm_params: {{{params}}}}}\n"


@pytest.mark.parametrize(
    "base", [ACCOUNT, f"{ACCOUNT}/", f"{ACCOUNT}/anthropic", f"{ACCOUNT}/anthropic/v1/messages"]
)
def test_claude_at_azure_is_asked_by_anthropics_api(base: str, import_text: Import) -> None:
    found = import_text(one("azure_ai/claude-sonnet-4-5", base, "max_tokens: 4000"))
    (upstream,) = found.settings["upstreams"].values()
    assert (upstream["kind"], upstream["url"]) == ("foundry", f"{ACCOUNT}/anthropic/v1")
    assert found.settings["models"]["m"]["model"] == "claude-sonnet-4-5"


def test_an_address_of_claude_in_a_variable(import_text: Import) -> None:
    found = import_text(one("azure_ai/claude-haiku-4-5", "os.environ/AZURE_AI_API_BASE"))
    (upstream,) = found.settings["upstreams"].values()
    assert (upstream["kind"], upstream["url_env"]) == ("foundry", "AZURE_AI_API_BASE")


def test_the_deployment_in_an_address_is_the_model(import_text: Import) -> None:
    base = "https://r.openai.azure.com/openai/deployments/team-4o/chat/completions?api-version=2024-10-21"
    found = import_text(one("azure/gpt-4o", base))
    assert found.settings["models"]["m"]["model"] == "team-4o"
    assert found.settings["upstreams"]["r"]["url"] == "https://r.openai.azure.com/openai/v1"
    assert found.says("changed", 2, "it names the deployment team-4o")


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://r.openai.azure.com", "https://r.openai.azure.com/openai/v1"),
        (f"{ACCOUNT}/models", f"{ACCOUNT}/openai/v1"),
        ("https://r.openai.azure.com/openai/v1", "https://r.openai.azure.com/openai/v1"),
        ("https://m.eastus2.models.ai.azure.com", "https://m.eastus2.models.ai.azure.com"),
    ],
)
def test_addresses(given: str, url: str) -> None:
    assert azure.shaped(given, "azure_ai") == url


def test_a_provider_is_that_of_claude_by_the_model() -> None:
    assert azure.provider_of("azure_ai", "claude-opus-4-1") == azure.CLAUDE
    assert azure.provider_of("azure_ai", "DeepSeek-R1") == "azure_ai"
    assert azure.provider_of("azure", "claude") == "azure"
    assert azure.deployment_in("https://r.openai.azure.com/openai/v1") is None
