"""The kinds of upstreams as data: URL, operations, credential, timeouts and quirks of each.

A kind is what an upstream's ``kind`` names. A provider is a row here, no class. ``docs/dialects.md`` has the
table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import quote

import msgspec

from ..model.call import ANTHROPIC, GEMINI, HEARING, MEDIA, OPENAI, Operation
from ..model.quirks import Effort, InlineSystem, Quirks


class CredentialHeader(StrEnum):
    """The header that carries the upstream's key."""

    BEARER = "Authorization: Bearer"
    X_API_KEY = "x-api-key"
    API_KEY = "api-key"


class KeyCommand(msgspec.Struct, frozen=True):
    """A command that prints a key. :param seconds: how long one is used that does not say it itself."""

    arguments: tuple[str, ...]
    seconds: float


_CHAT = (Operation.CHAT,)
_USUAL = (Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDING)
_LOCAL = (*_USUAL, Operation.RESPONSE, Operation.MESSAGE)

#: Timeouts of hosted models, seconds. They may think for minutes before the first word.
HOSTED_CLOCKS: Mapping[str, float] = {
    "first_byte": 60.0,
    "first_token": 120.0,
    "idle": 60.0,
    "answer": 300.0,
    "total": 1800.0,
}


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of upstream.

    :param url: the base URL where an upstream of this kind sets none; empty: each sets its own.
    :param speaks: the operations that it takes.
    :param credential: carries the key.
    :param clocks: seconds by their names in ``Timeouts``; the general settings give the others.
    :param anthropic_path: where Anthropic's operations are, from the root of the host; empty: below the
        base URL.
    :param openai_path: appended to the base URL for OpenAI's operations.
    :param model_in_path: whether Anthropic's operations are at Vertex AI's paths, with the model in them.
    :param stream_usage: whether it accepts a request for the usage of a stream.
    :param quirks: what a translated request to it depends on.
    :param checks_signatures: whether it refuses reasoning of other providers.
    :param quota_without_wait: a 429 without ``retry-after`` says that the account may spend no more.
    """

    url: str = ""
    speaks: tuple[Operation, ...] = _USUAL
    credential: CredentialHeader = CredentialHeader.BEARER
    clocks: Mapping[str, float] = {}
    anthropic_path: str = ""
    openai_path: str = ""
    model_in_path: bool = False
    stream_usage: bool = True
    quota_without_wait: bool = False
    checks_signatures: bool = False
    quirks: Quirks = Quirks()

    def url_of(self, base: str, operation: Operation) -> str:
        """The URL of an operation.

        :param base: of the upstream, with its version.
        """
        if operation in ANTHROPIC and self.anthropic_path:
            scheme, _, rest = base.partition("://")
            base = f"{scheme}://{rest.partition('/')[0]}{self.anthropic_path}"
        if operation in ANTHROPIC:
            return f"{base}/{operation}"
        path = Operation.RESPONSE if operation is Operation.RESPONSE_SESSION else operation
        return f"{base}{self.openai_path}/{path}"

    def anthropic_url_of(self, base: str, operation: Operation, model: str, *, stream: bool) -> str:
        """The URL of an operation of Anthropic's API for one model.

        :param base: as for :meth:`url_of`.
        """
        if not self.model_in_path:
            return self.url_of(base, operation)
        if operation is Operation.COUNT:
            return f"{base}{_VERTEX_MODELS}/count-tokens:rawPredict"
        method = "streamRawPredict" if stream else "rawPredict"
        return f"{base}{_VERTEX_MODELS}/{quote(model, safe='@')}:{method}"

    def gemini_url_of(self, base: str, operation: Operation, model: str, query: str) -> str:
        """The URL of an operation of Google's API. :param query: of a stream; empty: an answer in one piece.

        https://ai.google.dev/api, and for Vertex AI
        https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
        """
        method = "streamGenerateContent" if query else operation
        root = f"{base}{_VERTEX_GOOGLE}" if self.model_in_path else f"{base.removesuffix('/openai')}/models"
        return f"{root}/{quote(model, safe='@')}:{method}{f'?{query}' if query else ''}"

    def gemini_headers_of(self, key: str | None) -> dict[str, str]:
        """The headers that carry the key to Google's API. Vertex AI takes tokens as Bearer."""
        return self.headers_of(key) if self.model_in_path or not key else {"x-goog-api-key": key}

    def headers_of(self, key: str | None) -> dict[str, str]:
        """The headers that carry the upstream's key; none without a key.

        Azure takes its keys in ``api-key``, and tokens of Entra ID, which are JSON Web Tokens, as Bearer.
        """
        if not key:
            return {}
        is_token = (
            self.credential is CredentialHeader.API_KEY and key.startswith("eyJ") and key.count(".") == 2
        )
        if self.credential is CredentialHeader.BEARER or is_token:
            return {"Authorization": f"Bearer {key}"}
        return {str(self.credential): key}


_NO_QUIRKS = Quirks()


def _hosted(url: str, speaks: tuple[Operation, ...] = _USUAL, quirks: Quirks = _NO_QUIRKS) -> Kind:
    return Kind(url=url, speaks=speaks, clocks=HOSTED_CLOCKS, quirks=quirks)


#: Servers of open models: they return the reasoning, and have no PDF documents.
_OPEN = Quirks(top_k=True, documents=False, reasoning_field="reasoning_content")


#: The models of Anthropic at Vertex AI, below the base URL of a project's location.
#: https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai
_VERTEX_MODELS = "/publishers/anthropic/models"
_VERTEX_GOOGLE = "/publishers/google/models"

#: The kind of upstreams that name none.
DEFAULT = "openai"

#: By the name that the settings use. ``openai`` is any server with that API, and has no clocks of its own.
KINDS: Mapping[str, Kind] = {
    DEFAULT: Kind(speaks=(*OPENAI, *MEDIA)),
    "anthropic": Kind(
        url="https://api.anthropic.com/v1",
        speaks=ANTHROPIC,
        credential=CredentialHeader.X_API_KEY,
        clocks=HOSTED_CLOCKS,
        quota_without_wait=True,
        checks_signatures=True,
    ),
    "azure": Kind(
        speaks=(*_USUAL, Operation.RESPONSE, *MEDIA),
        credential=CredentialHeader.API_KEY,
        clocks=HOSTED_CLOCKS,
        quirks=Quirks(max_tokens_field="max_completion_tokens", openai_fields=True),
    ),
    "foundry": Kind(
        speaks=ANTHROPIC,
        credential=CredentialHeader.API_KEY,
        clocks=HOSTED_CLOCKS,
        anthropic_path="/anthropic/v1",
        checks_signatures=True,
    ),
    "bedrock": _hosted("", _CHAT),
    "bedrock-mantle": Kind(
        speaks=(Operation.CHAT, Operation.RESPONSE, Operation.MESSAGE),
        clocks=HOSTED_CLOCKS,
        anthropic_path="/anthropic/v1",
        checks_signatures=True,
    ),
    "gemini": _hosted(
        "https://generativelanguage.googleapis.com/v1beta/openai",
        (Operation.CHAT, Operation.EMBEDDING, Operation.IMAGE, *GEMINI),
        Quirks(thought_signatures=True),
    ),
    "vertex": Kind(
        speaks=(Operation.CHAT, *ANTHROPIC, Operation.GENERATE, Operation.GENERATE_COUNT),
        clocks=HOSTED_CLOCKS,
        openai_path="/endpoints/openapi",
        model_in_path=True,
    ),
    "vllm": Kind(speaks=(*OPENAI, *ANTHROPIC, *HEARING), quirks=_OPEN),
    "sglang": Kind(speaks=(*_LOCAL, Operation.RERANK), quirks=_OPEN),
    "llamacpp": Kind(speaks=(*_LOCAL, Operation.RERANK), quirks=_OPEN),
    "ollama": Kind(url="http://127.0.0.1:11434/v1", speaks=_LOCAL, quirks=Quirks(documents=False)),
    "lmstudio": Kind(url="http://127.0.0.1:1234/v1", speaks=_LOCAL, quirks=Quirks(documents=False)),
    "mistral": _hosted(
        "https://api.mistral.ai/v1",
        (*_USUAL, Operation.MODERATION, Operation.TRANSCRIPTION),
        Quirks(inline_system=InlineSystem.FOLD, short_tool_ids=True, documents=False, effort=Effort.NONE),
    ),
    "deepseek": Kind(
        url="https://api.deepseek.com/v1",
        speaks=(Operation.CHAT, Operation.MESSAGE),
        clocks=HOSTED_CLOCKS,
        anthropic_path="/anthropic/v1",
        quirks=Quirks(documents=False, reasoning_field="reasoning_content"),
    ),
    "groq": _hosted(
        "https://api.groq.com/openai/v1", (Operation.CHAT, Operation.RESPONSE, *HEARING, Operation.SPEECH)
    ),
    "xai": _hosted("https://api.x.ai/v1", (Operation.CHAT, Operation.RESPONSE, Operation.IMAGE)),
    "openrouter": _hosted("https://openrouter.ai/api/v1", (*_USUAL, Operation.RESPONSE, Operation.MESSAGE)),
    "together": _hosted(
        "https://api.together.ai/v1",
        (*_USUAL, Operation.RERANK, *HEARING, Operation.SPEECH, Operation.IMAGE),
    ),
    "fireworks": _hosted(
        "https://api.fireworks.ai/inference/v1", (*_USUAL, Operation.RESPONSE, Operation.MESSAGE)
    ),
    # LiteLLM's SDK in a process of its own (``sidecar``), or a LiteLLM proxy.
    "litellm": Kind(speaks=(Operation.CHAT, Operation.EMBEDDING), clocks=HOSTED_CLOCKS),
    "cohere": Kind(
        url="https://api.cohere.ai/compatibility/v1",
        speaks=(Operation.CHAT, Operation.EMBEDDING),
        clocks=HOSTED_CLOCKS,
        stream_usage=False,
    ),
}
