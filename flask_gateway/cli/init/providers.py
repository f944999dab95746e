"""Lists providers that speak the OpenAI API: the variable that holds a key, and the base URL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from ...config.errors import InvalidValue
from ...config.secrets import USABLE_KEY, Key
from ...config.upstream_url import base_url


class KnownProvider(NamedTuple):
    """A provider.

    :param variables: the variables in which its own SDK looks for a key.
    :param example: a small model of it, for a first call.
    """

    name: str
    url: str
    variables: tuple[str, ...]
    example: str = "MODEL"


#: From the providers' documentation of their OpenAI-compatible interfaces, November 2026.
PROVIDERS = (
    KnownProvider("openai", "https://api.openai.com", ("OPENAI_API_KEY",), "gpt-4o-mini"),
    KnownProvider("anthropic", "https://api.anthropic.com", ("ANTHROPIC_API_KEY",), "claude-haiku-4-5"),
    KnownProvider(
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        "gemini-2.5-flash",
    ),
    KnownProvider("mistral", "https://api.mistral.ai", ("MISTRAL_API_KEY",), "mistral-small-latest"),
    KnownProvider("groq", "https://api.groq.com/openai", ("GROQ_API_KEY",), "llama-3.1-8b-instant"),
    KnownProvider("deepseek", "https://api.deepseek.com", ("DEEPSEEK_API_KEY",), "deepseek-chat"),
    KnownProvider("openrouter", "https://openrouter.ai/api", ("OPENROUTER_API_KEY",)),
    KnownProvider("together", "https://api.together.xyz", ("TOGETHER_API_KEY", "TOGETHERAI_API_KEY")),
    KnownProvider("fireworks", "https://api.fireworks.ai/inference", ("FIREWORKS_API_KEY",)),
    KnownProvider("xai", "https://api.x.ai", ("XAI_API_KEY",)),
    KnownProvider("cerebras", "https://api.cerebras.ai", ("CEREBRAS_API_KEY",)),
    KnownProvider("nvidia", "https://integrate.api.nvidia.com", ("NVIDIA_API_KEY", "NVIDIA_NIM_API_KEY")),
    KnownProvider("cohere", "https://api.cohere.ai/compatibility", ("COHERE_API_KEY", "CO_API_KEY")),
)
#: Where OpenAI's SDKs look for another base than OpenAI's own.
OPENAI_BASE = "OPENAI_BASE_URL"
_LOOPBACK = ("localhost", "127.", "::1")


class ProviderKey(NamedTuple):
    """A key in the environment. ``repr`` does not show it."""

    provider: str
    url: str
    variable: str
    key: str
    example: str = "MODEL"

    def __repr__(self) -> str:
        return f"ProviderKey({self.provider!r}, {self.url!r}, {self.variable!r}, '****')"


def keys_in(environ: Mapping[str, str]) -> Iterator[ProviderKey]:
    """Yield the usable provider keys in the environment, at most one for each provider."""
    for provider in PROVIDERS:
        for variable in provider.variables:
            key = environ.get(variable, "").strip()
            url = _base(provider, environ)
            if url and _usable(key):
                yield ProviderKey(provider.name, url, variable, key, provider.example)
                break


def _base(provider: KnownProvider, environ: Mapping[str, str]) -> str | None:
    """The base URL; ``None`` if the key is for this machine: it may be the key of a gateway here."""
    url = environ.get(OPENAI_BASE, "") if provider.name == "openai" else ""
    try:
        host = urlsplit(base_url(url)).hostname or "" if url else ""
    except InvalidValue:
        return None
    return None if host.startswith(_LOOPBACK) else url or provider.url


def _usable(key: str) -> bool:
    try:
        Key(USABLE_KEY).parse(key)
    except InvalidValue:
        return False
    return True
