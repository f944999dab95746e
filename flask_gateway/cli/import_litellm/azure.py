"""Reads LiteLLM's settings of Azure: addresses, the deployment in them, and logins without a key."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

#: LiteLLM's provider for Claude at Azure, which has Anthropic's API alone. Not a name of LiteLLM's.
CLAUDE = "azure_ai/claude"
#: Parameters of a login without a key.
ENTRA = ("azure_ad_token", "tenant_id", "client_id", "client_secret", "azure_username")
#: Prints a token of Entra ID for Azure's models.
ENTRA_COMMAND = (
    *("az", "account", "get-access-token", "--output", "tsv", "--query", "accessToken"),
    *("--resource", "https://cognitiveservices.azure.com"),
)
ENTRA_LOGIN = (
    "it logs in with Entra ID: api_key_command has az print the token; az must be there, and logged in "
    "(az login --service-principal), for the user of the gateway"
)
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/?#]+)")


def provider_of(provider: str, model: str) -> str:
    """The provider, or that of Claude at Azure."""
    return CLAUDE if provider == "azure_ai" and model.startswith("claude") else provider


def deployment_in(address: str) -> str | None:
    """The deployment that an address names. LiteLLM asks that one, whatever the model is called."""
    found = _DEPLOYMENT.search(address)
    return found[1] if found else None


def is_serverless(url: str) -> bool:
    """Whether the address is that of one model, which is no account."""
    return (urlsplit(url).hostname or "").endswith(".models.ai.azure.com")


def shaped(url: str, provider: str) -> str:
    """The base of the API that the gateway calls, for an address of an account."""
    if provider == CLAUDE:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}/anthropic/v1"
    if is_serverless(url) or "/v1" in urlsplit(url).path:
        return url
    return re.sub(r"/(openai|models)(/.*)?$", "", url).rstrip("/") + "/openai/v1"
