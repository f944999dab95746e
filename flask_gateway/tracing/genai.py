"""Names the attributes of spans, in the words of OpenTelemetry's conventions for generative AI.

All of them are in development there and may be renamed, so nothing else in the gateway spells one.
``tests/tracing/test_genai.py`` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from ..model.call import Operation

#: The commit of github.com/open-telemetry/semantic-conventions-genai that the names were taken from
#: (``model/gen-ai/registry.yaml``).
COMMIT: Final = "002c8a6ea1c8a42b14a4527db83b3cabcded610a"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
SYSTEM: Final = "gen_ai.system_instructions"

ERROR: Final = "error.type"
SERVER: Final = "server.address"
PORT: Final = "server.port"
METHOD: Final = "http.request.method"
ROUTE: Final = "http.route"
STATUS: Final = "http.response.status_code"
#: Langfuse shows it as the user.
USER: Final = "user.id"

#: The operations by the convention's names. It has names for the first five alone.
OPERATIONS: Mapping[str, str] = {
    Operation.CHAT: "chat",
    Operation.RESPONSE: "chat",
    Operation.MESSAGE: "chat",
    Operation.COMPLETION: "text_completion",
    Operation.EMBEDDING: "embeddings",
    Operation.MODERATION: "moderations",
    Operation.RERANK: "rerank",
    Operation.COUNT: "count_tokens",
    Operation.TRANSCRIPTION: "transcription",
    Operation.AUDIO_TRANSLATION: "audio_translation",
    Operation.SPEECH: "speech",
    Operation.IMAGE: "image_generation",
    Operation.IMAGE_EDIT: "image_edit",
    Operation.IMAGE_VARIATION: "image_variation",
    Operation.GENERATE: "generate_content",
    Operation.GENERATE_COUNT: "count_tokens",
    Operation.EMBED_CONTENT: "embeddings",
    Operation.EMBED_CONTENTS: "embeddings",
    Operation.REALTIME: "realtime",
    Operation.RESPONSE_SESSION: "responses_session",
    Operation.STORED: "stored_response",
    Operation.RAW: "raw",
}

#: The ends of host names, and the providers behind them.
_HOSTS = (
    ("api.openai.com", "openai"),
    (".openai.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    (".azure.com", "azure.ai.inference"),
    ("api.anthropic.com", "anthropic"),
    (".amazonaws.com", "aws.bedrock"),
    (".api.aws", "aws.bedrock"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("api.cohere.ai", "cohere"),
    ("api.cohere.com", "cohere"),
    ("api.perplexity.ai", "perplexity"),
    ("api.x.ai", "x_ai"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.moonshot.ai", "moonshot_ai"),
    ("ml.cloud.ibm.com", "ibm.watsonx.ai"),
)


def provider_of(url: str, name: str) -> str:
    """The provider of an upstream.

    :param name: of the upstream: it stands for a provider that the convention does not know.
    """
    host = urlsplit(url).hostname or ""
    return next((provider for end, provider in _HOSTS if host.endswith(end)), name)


def operation_of(path: str) -> str:
    """The convention's name of the operation with that path; the path's last part if it has none."""
    return OPERATIONS.get(path.removeprefix("/v1/"), path.rpartition("/")[2])
