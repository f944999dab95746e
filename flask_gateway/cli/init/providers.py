"""Finds the keys of providers in the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from ...config.errors import InvalidValue
from ...config.secrets import USABLE_KEY, Key
from ...config.upstream_url import base_url
from ..providers import PROVIDERS as LISTED
from ..providers import OpenAIProvider


class KnownProvider(NamedTuple):
    """A provider.

    :param variables: the variables in which a key is looked for.
    :param example: a small model of it, for a first call.
    :param kind: of the upstream; empty: none is written.
    """

    name: str
    url: str
    variables: tuple[str, ...]
    example: str
    kind: str


#: The providers that are looked for: the upstream's name, and the name in the table of providers.
_LOOKED_FOR = {
    **{
        name: name
        for name in ("openai", "anthropic", "gemini", "mistral", "groq", "deepseek", "openrouter", "xai")
    },
    "together": "together_ai",
    "fireworks": "fireworks_ai",
    "cerebras": "cerebras",
    "nvidia": "nvidia_nim",
    "cohere": "cohere",
}


def _known(name: str, listed: OpenAIProvider) -> KnownProvider:
    variables = (listed.key, *listed.further_keys)
    return KnownProvider(name, listed.base, variables, listed.example or "MODEL", listed.kind)


PROVIDERS = tuple(_known(name, LISTED[listed]) for name, listed in _LOOKED_FOR.items())
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
    kind: str = ""

    def __repr__(self) -> str:
        return f"ProviderKey({self.provider!r}, {self.url!r}, {self.variable!r}, '****')"


def keys_in(environ: Mapping[str, str]) -> Iterator[ProviderKey]:
    """Yield the usable provider keys in the environment, at most one for each provider."""
    for provider in PROVIDERS:
        for variable in provider.variables:
            key = environ.get(variable, "").strip()
            url = _base(provider, environ)
            if url and _usable(key):
                yield ProviderKey(provider.name, url, variable, key, provider.example, provider.kind)
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
