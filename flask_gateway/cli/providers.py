"""Lists the providers with an API that the gateway speaks: their bases, and the variables of their keys.

Where a provider is a kind of upstream (``config/kinds.py``), the base is that of the kind. The others are
those of LiteLLM 1.88 (``litellm/litellm_core_utils/get_llm_provider_logic.py``) where it uses a provider's
OpenAI API, and else those of the provider's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..config.kinds import KINDS


class OpenAIProvider(msgspec.Struct, frozen=True):
    """A provider with an OpenAI API.

    :param base: the base URL; empty where everyone has an address of their own.
    :param key: the variable that usually holds the key; empty if it needs none.
    :param base_variable: the variable that LiteLLM reads the base from, if there is no ``api_base``.
    :param further_keys: other variables in which a key of it is looked for.
    :param example: a small model of it, for a first call.
    :param path: appended to a base that the user gives without a path.
    :param kind: of the upstream (``config/kinds.py``); empty: any server with an OpenAI API.
    :param note: how calls differ from those that LiteLLM makes; empty if they do not.
    """

    base: str = ""
    key: str = ""
    base_variable: str = ""
    path: str = ""
    note: str = ""
    further_keys: tuple[str, ...] = ()
    example: str = ""
    kind: str = ""


_TRANSLATED = "LiteLLM translates to this provider's own API; the gateway calls its OpenAI-compatible one"
_OLLAMA = OpenAIProvider("http://localhost:11434", "OLLAMA_API_KEY", "OLLAMA_API_BASE", "", "")
_AZURE = OpenAIProvider(
    key="AZURE_API_KEY",
    base_variable="AZURE_API_BASE",
    path="/openai/v1",
    note="the gateway calls Azure's v1 API, which takes no api_version, with the deployment's name as model",
    kind="azure",
)
_OPENAI = OpenAIProvider("https://api.openai.com/v1", "OPENAI_API_KEY", example="gpt-4o-mini")

_COHERE = OpenAIProvider(
    KINDS["cohere"].url, "COHERE_API_KEY", note=_TRANSLATED, further_keys=("CO_API_KEY",), kind="cohere"
)

#: By LiteLLM's names.
PROVIDERS: Mapping[str, OpenAIProvider] = {
    "openai": _OPENAI,
    "text-completion-openai": _OPENAI,
    "custom_openai": OpenAIProvider(key="OPENAI_API_KEY"),
    "openai_like": OpenAIProvider(key="OPENAI_LIKE_API_KEY", base_variable="OPENAI_LIKE_API_BASE"),
    "litellm_proxy": OpenAIProvider(key="LITELLM_PROXY_API_KEY", base_variable="LITELLM_PROXY_API_BASE"),
    "hosted_vllm": OpenAIProvider(key="HOSTED_VLLM_API_KEY", base_variable="HOSTED_VLLM_API_BASE"),
    "vllm": OpenAIProvider(),
    "lm_studio": OpenAIProvider("http://localhost:1234/v1", "LM_STUDIO_API_KEY", "LM_STUDIO_API_BASE"),
    "llamafile": OpenAIProvider("http://127.0.0.1:8080/v1", "", "LLAMAFILE_API_BASE"),
    "ollama": _OLLAMA,
    "ollama_chat": _OLLAMA,
    "xinference": OpenAIProvider("http://127.0.0.1:9997/v1", "XINFERENCE_API_KEY", "XINFERENCE_API_BASE"),
    "docker_model_runner": OpenAIProvider(
        "http://localhost:12434/engines/v1", "DOCKER_MODEL_RUNNER_API_KEY", "DOCKER_MODEL_RUNNER_API_BASE"
    ),
    "infinity": OpenAIProvider(key="INFINITY_API_KEY", base_variable="INFINITY_API_BASE"),
    "oobabooga": OpenAIProvider(),
    "azure": _AZURE,
    "azure_text": _AZURE,
    "azure_ai": OpenAIProvider(
        key="AZURE_AI_API_KEY",
        base_variable="AZURE_AI_API_BASE",
        path="/openai/v1",
        note=_AZURE.note,
        kind="azure",
    ),
    "azure_ai/claude": OpenAIProvider(
        key="AZURE_AI_API_KEY", base_variable="AZURE_AI_API_BASE", path="/anthropic/v1", kind="foundry"
    ),
    "anthropic": OpenAIProvider(
        KINDS["anthropic"].url, "ANTHROPIC_API_KEY", example="claude-haiku-4-5", kind="anthropic"
    ),
    "vertex_ai": OpenAIProvider(
        note="the gateway calls Vertex AI's OpenAI API, and its Messages API for Claude; "
        "gcloud must be there, and logged in, for the user of the gateway",
        kind="vertex",
    ),
    "gemini": OpenAIProvider(
        KINDS["gemini"].url,
        "GEMINI_API_KEY",
        note=_TRANSLATED,
        further_keys=("GOOGLE_API_KEY",),
        example="gemini-2.5-flash",
        kind="gemini",
    ),
    "cohere": _COHERE,
    "cohere_chat": _COHERE,
    "groq": OpenAIProvider(KINDS["groq"].url, "GROQ_API_KEY", example="llama-3.1-8b-instant", kind="groq"),
    "mistral": OpenAIProvider(
        KINDS["mistral"].url, "MISTRAL_API_KEY", example="mistral-small-latest", kind="mistral"
    ),
    "codestral": OpenAIProvider("https://codestral.mistral.ai/v1", "CODESTRAL_API_KEY"),
    "deepseek": OpenAIProvider(
        KINDS["deepseek"].url, "DEEPSEEK_API_KEY", example="deepseek-chat", kind="deepseek"
    ),
    "together_ai": OpenAIProvider(
        KINDS["together"].url, "TOGETHERAI_API_KEY", further_keys=("TOGETHER_API_KEY",), kind="together"
    ),
    "openrouter": OpenAIProvider(KINDS["openrouter"].url, "OPENROUTER_API_KEY", kind="openrouter"),
    "fireworks_ai": OpenAIProvider(
        KINDS["fireworks"].url, "FIREWORKS_AI_API_KEY", further_keys=("FIREWORKS_API_KEY",), kind="fireworks"
    ),
    "xai": OpenAIProvider(KINDS["xai"].url, "XAI_API_KEY", kind="xai"),
    "cerebras": OpenAIProvider("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "nvidia_nim": OpenAIProvider(
        "https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY", further_keys=("NVIDIA_API_KEY",)
    ),
    "perplexity": OpenAIProvider(
        "https://api.perplexity.ai",
        "PERPLEXITYAI_API_KEY",
        note="the gateway calls it below /v1, where its documentation has other paths: try it first",
    ),
    "deepinfra": OpenAIProvider("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "sambanova": OpenAIProvider("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    "hyperbolic": OpenAIProvider("https://api.hyperbolic.xyz/v1", "HYPERBOLIC_API_KEY"),
    "novita": OpenAIProvider("https://api.novita.ai/v3/openai", "NOVITA_API_KEY"),
    "moonshot": OpenAIProvider("https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    "dashscope": OpenAIProvider(
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"
    ),
    "volcengine": OpenAIProvider("https://ark.cn-beijing.volces.com/api/v3", "VOLCENGINE_API_KEY"),
    "zai": OpenAIProvider("https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
    "minimax": OpenAIProvider("https://api.minimax.io/v1", "MINIMAX_API_KEY"),
    "ai21": OpenAIProvider("https://api.ai21.com/studio/v1", "AI21_API_KEY"),
    "ai21_chat": OpenAIProvider("https://api.ai21.com/studio/v1", "AI21_API_KEY"),
    "lambda_ai": OpenAIProvider("https://api.lambda.ai/v1", "LAMBDA_API_KEY"),
    "nebius": OpenAIProvider("https://api.studio.nebius.ai/v1", "NEBIUS_API_KEY"),
    "featherless_ai": OpenAIProvider("https://api.featherless.ai/v1", "FEATHERLESS_AI_API_KEY"),
    "friendliai": OpenAIProvider("https://api.friendli.ai/serverless/v1", "FRIENDLI_TOKEN"),
    "huggingface": OpenAIProvider("https://router.huggingface.co/v1", "HUGGINGFACE_API_KEY"),
    "vercel_ai_gateway": OpenAIProvider("https://ai-gateway.vercel.sh/v1", "VERCEL_AI_GATEWAY_API_KEY"),
    "baseten": OpenAIProvider("https://inference.baseten.co/v1", "BASETEN_API_KEY"),
    "ovhcloud": OpenAIProvider("https://oai.endpoints.kepler.ai.cloud.ovh.net/v1", "OVHCLOUD_API_KEY"),
    "morph": OpenAIProvider("https://api.morphllm.com/v1", "MORPH_API_KEY"),
    "meta_llama": OpenAIProvider("https://api.llama.com/compat/v1", "LLAMA_API_KEY"),
    "nscale": OpenAIProvider("https://inference.api.nscale.com/v1", "NSCALE_API_KEY"),
    "inception": OpenAIProvider("https://api.inceptionlabs.ai/v1", "INCEPTION_API_KEY"),
    "jina_ai": OpenAIProvider("https://api.jina.ai/v1", "JINA_AI_API_KEY"),
    "voyage": OpenAIProvider("https://api.voyageai.com/v1", "VOYAGE_API_KEY"),
    "v0": OpenAIProvider("https://api.v0.dev/v1", "V0_API_KEY"),
    "wandb": OpenAIProvider("https://api.inference.wandb.ai/v1", "WANDB_API_KEY"),
    "aiml": OpenAIProvider("https://api.aimlapi.com/v1", "AIML_API_KEY"),
    "cometapi": OpenAIProvider("https://api.cometapi.com/v1", "COMETAPI_KEY"),
    "gradient_ai": OpenAIProvider("https://inference.do-ai.run/v1", "GRADIENT_AI_API_KEY"),
    "anyscale": OpenAIProvider("https://api.endpoints.anyscale.com/v1", "ANYSCALE_API_KEY"),
    "clarifai": OpenAIProvider("https://api.clarifai.com/v2/ext/openai/v1", "CLARIFAI_API_KEY"),
    # Those of ``litellm/llms/openai_like/providers.json``.
    "publicai": OpenAIProvider("https://api.publicai.co/v1", "PUBLICAI_API_KEY", "PUBLICAI_API_BASE"),
    "veniceai": OpenAIProvider("https://api.venice.ai/api/v1", "VENICE_AI_API_KEY"),
    "xiaomi_mimo": OpenAIProvider("https://api.xiaomimimo.com/v1", "XIAOMI_MIMO_API_KEY"),
    "scaleway": OpenAIProvider("https://api.scaleway.ai/v1", "SCW_SECRET_KEY"),
    "synthetic": OpenAIProvider("https://api.synthetic.new/openai/v1", "SYNTHETIC_API_KEY"),
    "apertis": OpenAIProvider("https://api.stima.tech/v1", "STIMA_API_KEY"),
    "nano-gpt": OpenAIProvider("https://nano-gpt.com/api/v1", "NANOGPT_API_KEY"),
    "poe": OpenAIProvider("https://api.poe.com/v1", "POE_API_KEY"),
    "chutes": OpenAIProvider("https://llm.chutes.ai/v1", "CHUTES_API_KEY"),
    "abliteration": OpenAIProvider("https://api.abliteration.ai/v1", "ABLITERATION_API_KEY"),
    "llamagate": OpenAIProvider("https://api.llamagate.dev/v1", "LLAMAGATE_API_KEY"),
    "gmi": OpenAIProvider("https://api.gmi-serving.com/v1", "GMI_API_KEY"),
    "aihubmix": OpenAIProvider("https://aihubmix.com/v1", "AIHUBMIX_API_KEY", "AIHUBMIX_API_BASE"),
    "crusoe": OpenAIProvider(
        "https://managed-inference-api-proxy.crusoecloud.com/v1", "CRUSOE_API_KEY", "CRUSOE_API_BASE"
    ),
}
