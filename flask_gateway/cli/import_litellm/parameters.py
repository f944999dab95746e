"""Lists the names in ``litellm_params`` and ``model_info``, and what becomes of each."""

from __future__ import annotations

import re
from collections.abc import Mapping

from . import reasons

#: Fields of a request. LiteLLM sends them with every call, unless the caller sends its own.
PINS = frozenset(
    # chat completions of the OpenAI API
    {"temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "n", "presence_penalty"}
    | {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "response_format",
        "tools",
        "tool_choice",
    }
    | {"parallel_tool_calls", "functions", "function_call", "reasoning_effort", "verbosity", "service_tier"}
    | {"store", "user", "modalities", "audio", "prediction", "web_search_options", "safety_identifier"}
    | {"prompt_cache_key", "prompt_cache_retention"}
    # responses, embeddings, completions, rerank
    | {"reasoning", "text", "instructions", "truncation", "include", "max_output_tokens", "max_tool_calls"}
    | {
        "dimensions",
        "encoding_format",
        "input_type",
        "suffix",
        "echo",
        "best_of",
        "top_n",
        "return_documents",
    }
    # other providers and servers
    | {
        "thinking",
        "top_k",
        "min_p",
        "top_a",
        "repetition_penalty",
        "length_penalty",
        "num_ctx",
        "num_predict",
    }
    | {
        "keep_alive",
        "think",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "num_gpu",
        "num_thread",
        "repeat_penalty",
    }
    | {
        "repeat_last_n",
        "tfs_z",
        "format",
        "options",
        "raw",
        "chat_template_kwargs",
        "guided_json",
        "guided_regex",
    }
    | {"guided_choice", "guided_grammar", "guided_decoding_backend", "enable_thinking", "thinking_budget"}
    | {"ignore_eos", "stop_token_ids", "skip_special_tokens", "min_tokens", "use_beam_search", "best_of"}
    | {"provider", "route", "transforms", "plugins", "include_reasoning", "safety_settings", "safetySettings"}
    | {"safe_prompt", "random_seed", "prompt_mode", "search_domain_filter", "search_recency_filter"}
    | {
        "return_citations",
        "return_images",
        "search_mode",
        "search_parameters",
        "context_length_exceeded_behavior",
    }
    | {"reasoning_format", "exclude_reasoning", "include_usage", "output_config", "context_management"}
    | {"anthropic_beta", "max_thinking_tokens", "do_sample", "truncate", "task"}
)

#: Those that are numbers. A file may have them as text, which providers refuse.
NUMBERS = frozenset(
    {"temperature", "top_p", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "seed", "top_k"}
    | {"presence_penalty", "frequency_penalty", "top_logprobs", "min_p", "dimensions", "repetition_penalty"}
)

#: Parameters that make up the place of a deployment and its share. ``deployments.py`` reads them.
PLACE = frozenset(
    {
        "model",
        "api_key",
        "api_base",
        "base_url",
        "custom_llm_provider",
        "litellm_credential_name",
        "api_version",
    }
    | {"weight", "rpm", "tpm", "order", "timeout", "stream_timeout", "max_parallel_requests", "extra_body"}
)

_PRICES = "prices are per token here, or by the names in docs/money.md"
_MODEL_TOKENS = "write tokens into [limits] models: it limits a model over all its upstreams"
_RETRIES = "the gateway has rules of its own for retries (docs/failover.md)"
_HEADERS = (
    "the gateway builds all headers itself; ask the provider for a field of the body that does the same"
)
_TOKENS = "a command prints tokens: api_key_command in [upstreams.NAME] (docs/configuration.md)"
_AWS, _GOOGLE = "the gateway signs no requests for AWS", "the gateway fetches no token from Google"
_CALLER_FIELDS = "the gateway forwards what the caller writes; a provider that refuses a field answers 400"
_NO_TEXT = "the gateway does not change messages"
_NO_GUARDS = reasons.GUARDS

#: Parameters without a counterpart, each with the reason or with what takes its place.
WITHOUT_COUNTERPART: Mapping[str, str] = {
    "organization": "the header OpenAI-Organization is not offered; give the key to a project instead",
    "openai_organization": "the header OpenAI-Organization is not offered; give the key to a project instead",
    "extra_headers": _HEADERS,
    "headers": _HEADERS,
    "default_headers": _HEADERS,
    "extra_query": "the gateway sends no query",
    "drop_params": _CALLER_FIELDS,
    "additional_drop_params": _CALLER_FIELDS,
    "allowed_openai_params": "not needed: the gateway passes every field",
    "modify_params": _NO_TEXT,
    "cache_control_injection_points": f"{_NO_TEXT}: callers mark what the provider should cache",
    "merge_reasoning_content_in_choices": _NO_TEXT,
    "supports_system_message": _NO_TEXT,
    "hf_model_name": _NO_TEXT,
    "max_retries": _RETRIES,
    "num_retries": _RETRIES,
    "retry_policy": _RETRIES,
    "cooldown_time": "the circuit breaker has one time for all: circuit_breaker_reset_seconds",
    "allowed_fails": "the circuit breaker has one limit for all: circuit_breaker_max_failures",
    "tags": "routing by tags is not offered: give each tag's deployments a name of their own",
    "tag_regex": "routing by tags is not offered",
    "region_name": "the region is in the address",
    "allowed_model_region": "routing by region is not offered: give each region a name of its own",
    "itpm": _MODEL_TOKENS,
    "otpm": _MODEL_TOKENS,
    "max_budget": "it is not an amount",
    "budget_duration": "there is no max_budget",
    "default_api_key_rpm_limit": "write rate_limit_per_minute in [keys.NAME]",
    "default_api_key_tpm_limit": "write tokens into [keys.NAME]",
    "input_cost_per_second": _PRICES,
    "output_cost_per_second": _PRICES,
    "input_cost_per_pixel": _PRICES,
    "output_cost_per_pixel": _PRICES,
    "tiered_pricing": _PRICES,
    "base_model": "LiteLLM uses it for prices: write price into [models.NAME] (docs/money.md)",
    "ssl_verify": "certificates are always verified; ca_file in [upstreams.NAME] names a private CA",
    "ssl_certificate": "client certificates are set in [upstreams.NAME], by path",
    "http_client": "an object of Python has no counterpart",
    "mock_response": "a fixed answer is not offered; a mock:// upstream answers without a provider",
    "mock_timeout": "a mock:// upstream can be slow on purpose",
    "configurable_clientside_auth_params": "callers cannot send a key or an address of their own",
    "use_in_pass_through": reasons.RAW,
    "use_litellm_proxy": "give the address of that proxy as an upstream",
    "use_chat_completions_api": "the caller chooses the API by its path",
    "guardrails": _NO_GUARDS,
    "prompt_id": "stored prompts are not offered",
    "prompt_variables": "stored prompts are not offered",
    "prompt_integration": "stored prompts are not offered",
    "bitbucket_config": "stored prompts are not offered",
    "gitlab_config": "stored prompts are not offered",
    "dotprompt_content": "stored prompts are not offered",
    "initial_prompt_value": _NO_TEXT,
    "final_prompt_value": _NO_TEXT,
    "roles": _NO_TEXT,
    "bos_token": _NO_TEXT,
    "eos_token": _NO_TEXT,
    "custom_prompt_dict": _NO_TEXT,
    "vector_store_ids": "vector stores are not offered",
    "metadata": "LiteLLM keeps it for its own logs",
    "litellm_metadata": "LiteLLM keeps it for its own logs",
    "model_info": "LiteLLM reads model_info next to litellm_params, not inside",
    "litellm_trace_id": "LiteLLM keeps it for its own logs",
    "langfuse_prompt_version": reasons.OBSERVERS,
    "caching": reasons.CACHE,
    "cache": reasons.CACHE,
    "ttl": reasons.CACHE,
    "stream": "the caller chooses between a stream and an answer in one piece",
    "stream_options": "the gateway asks for the usage of streams by itself",
    "fallbacks": "LiteLLM reads fallbacks in router_settings or litellm_settings",
    "context_window_fallbacks": "LiteLLM reads fallbacks in router_settings or litellm_settings",
    "messages": _NO_TEXT,
    "custom_tokenizer": "the gateway estimates tokens by characters where a provider reports none",
    "max_file_size_mb": "files are not offered",
    "s3_bucket_name": "batches and files are not offered",
    "gcs_bucket_name": "batches and files are not offered",
    "azure_ad_token": _TOKENS,
    "azure_ad_token_provider": _TOKENS,
    "tenant_id": _TOKENS,
    "client_id": _TOKENS,
    "client_secret": _TOKENS,
    "azure_username": _TOKENS,
    "azure_password": _TOKENS,
    "azure_scope": _TOKENS,
    "token": _TOKENS,
    "project": "give it as a part of the address",
    "space_id": "watsonx is not offered",
    "zen_api_key": "watsonx is not offered",
    "cooldown_seconds": "the circuit breaker has one time for all: circuit_breaker_reset_seconds",
    "tpm_limit": _MODEL_TOKENS,
    "rpm_limit": "LiteLLM reads rpm",
    "max_input_tokens": "LiteLLM reads it in model_info",
}
_PREFIXES: tuple[tuple[str, str], ...] = (
    ("supports_", "the gateway does not check what a model supports: the upstream answers"),
    ("aws_", _AWS),
    ("vertex_", _GOOGLE),
    ("s3_", "batches and files are not offered"),
    ("gcs_", "batches and files are not offered"),
    ("watsonx_", "watsonx is not offered"),
    ("auto_router_", "the gateway does not choose a model by the content of a call"),
    ("complexity_router_", "the gateway does not choose a model by the content of a call"),
    ("adaptive_router_", "the gateway does not choose a model by the content of a call"),
    ("langfuse_", reasons.OBSERVERS),
    ("input_cost_", _PRICES),
    ("output_cost_", _PRICES),
    ("cache_creation_", _PRICES),
    ("cache_read_", _PRICES),
    ("litellm_", "LiteLLM keeps it for itself"),
)

#: Names that do something when they are off.
OFF_COUNTS = frozenset({"ssl_verify", "supports_system_message"})

#: Names of ``model_info`` that describe the model for LiteLLM's own checks and pages.
_INFO = {
    "id": "a candidate is named by its upstream and its model",
    "base_model": "LiteLLM uses it for prices: write price into [models.NAME] (docs/money.md)",
    "access_groups": "groups of models are not offered: list the models of a key in [keys.NAME] models",
    "team_id": "models of one team are not offered: list the models of a key in [keys.NAME] models",
    "max_tokens": "the context window is not checked before a call",
    "max_input_tokens": "the context window is not checked before a call",
    "max_output_tokens": "the context window is not checked before a call",
    "health_check_model": "the circuit breaker tries upstreams with real calls",
    "health_check_timeout": "the circuit breaker tries upstreams with real calls",
    "health_check_params": "the circuit breaker tries upstreams with real calls",
    "disable_background_health_check": "not needed: there are no checks in the background",
    "blocked": "take the model out of the file",
    "description": "a comment in the file does the same",
    "tags": "routing by tags is not offered",
}

_SECRET = re.compile(r"(?i)(secret|passw|token$|_key$|^key$|apikey|credential|authorization)")
#: Beginnings of keys that providers give out, and addresses with a password.
_SECRET_TEXT = re.compile(
    r"(sk-|sk_|pk-|gsk_|xai-|hf_|AIza|AKIA|ghp_|nvapi-|eyJ|Bearer |Basic |os\.environ)|[a-z]+://[^/\s]*@"
)
#: Parameters that look like secrets by their names and are limits of the answer.
_NOT_SECRET = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens", "prompt_cache_key"})


def reason_for(name: str) -> str | None:
    """The reason why a parameter has no counterpart; ``None`` for an unknown name."""
    if name in WITHOUT_COUNTERPART:
        return WITHOUT_COUNTERPART[name]
    return next((reason for prefix, reason in _PREFIXES if name.startswith(prefix)), None)


def reason_for_info(name: str) -> str:
    """The reason why a name in ``model_info`` has no counterpart."""
    if name in _INFO:
        return _INFO[name]
    return reason_for(name) or "LiteLLM shows it to callers; the gateway has no field for it"


def is_secret(name: str) -> bool:
    """Whether the value of a name may be a secret, by the name."""
    return name not in _NOT_SECRET and _SECRET.search(name) is not None


def may_be_secret(text: str) -> bool:
    """Whether a text looks like a key, an address with a password, or a reference to one."""
    return _SECRET_TEXT.match(text) is not None
