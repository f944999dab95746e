"""Reads LiteLLM's names of providers: those that the gateway cannot ask, and models without a provider."""

from __future__ import annotations

import re
from collections.abc import Mapping

_BEDROCK = (
    "Bedrock wants requests signed with AWS keys; with a Bedrock API key write an upstream of kind bedrock "
    "or bedrock-mantle (docs/dialects.md)"
)
_NO_OPENAI = "it has no OpenAI API that takes a fixed key"
#: Providers that the gateway cannot ask, each with the reason.
UNREACHABLE: Mapping[str, str] = {
    "bedrock": _BEDROCK,
    "bedrock_converse": _BEDROCK,
    "sagemaker": "SageMaker wants requests signed with AWS keys",
    "sagemaker_chat": "SageMaker wants requests signed with AWS keys",
    "watsonx": "watsonx wants an IBM access token, which expires",
    "watsonx_text": "watsonx wants an IBM access token, which expires",
    "github_copilot": "GitHub Copilot wants a token that its login makes",
    "chatgpt": "a ChatGPT subscription wants a token that its login makes",
    "oci": "OCI wants signed requests",
    "sap": "SAP wants a token that expires",
    "gigachat": "GigaChat wants a token that expires",
    "databricks": "its base has no version in the path, which the gateway would add",
    "github": "its base has no version in the path, which the gateway would add",
    "cloudflare": "its address has the account in it: give it as api_base, with the provider openai",
    **dict.fromkeys(
        (
            *(
                "replicate",
                "nlp_cloud",
                "aleph_alpha",
                "petals",
                "predibase",
                "maritalk",
                "palm",
                "snowflake",
            ),
            *("triton", "elevenlabs", "deepgram", "assemblyai", "recraft", "stability", "runwayml", "topaz"),
            *("aws_polly", "datarobot", "dotprompt", "langgraph", "a2a", "bytez", "fal_ai"),
        ),
        _NO_OPENAI,
    ),
    "auto_router": "the gateway does not choose a model by the content of a call",
}

#: The provider of a model that is named without one.
_BARE = (
    (
        re.compile(r"gpt-|chatgpt-|o[134](-|$)|text-embedding-|(omni|text)-moderation|whisper-|tts-|dall-e"),
        "openai",
    ),
    (re.compile(r"ft:|davinci|babbage|computer-use"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"command|embed-(english|multilingual)|rerank-"), "cohere"),
    (re.compile(r"gemini-"), "vertex_ai"),
)


def provider_of_bare(model: str) -> str | None:
    """The provider of a model whose name has no provider in front; ``None`` if it is not known."""
    return next((provider for pattern, provider in _BARE if pattern.match(model)), None)


#: Words that LiteLLM takes between provider and model to choose an API, and that are no part of the name.
_API_WORDS = {
    "openai": ("responses/", "chat/", "chat_completions/"),
    "azure": ("responses/", "o_series/", "gpt5_series/", "chat/"),
    "azure_ai": ("responses/",),
}


def model_at(provider: str, name: str) -> str:
    """The provider's own name of a model.

    :param name: what stands behind the provider in LiteLLM's name.
    """
    for word in _API_WORDS.get(provider, ()):
        name = name.removeprefix(word)
    if provider == "huggingface" and name.count("/") >= 2:
        # LiteLLM writes the inference provider first; Hugging Face's own router writes it last.
        inference, _, model = name.partition("/")
        return f"{model}:{inference}"
    return name
