"""Lists the settings of LiteLLM that have no counterpart, by section, with what takes their place.

The names are those of LiteLLM's ``docs/proxy/config_settings``.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import reasons

LITELLM_SETTINGS: Mapping[str, str] = {
    **reasons.each(
        reasons.RETRIES,
        "num_retries num_retries_per_request max_retries retry_after",
    ),
    **reasons.each(
        reasons.LOGS,
        "set_verbose verbose debug suppress_debug_info log_raw_request_response log_level json_logs",
    ),
    **reasons.each(
        reasons.OBSERVERS,
        """
        success_callback failure_callback callbacks service_callbacks service_callback input_callback
        audit_log_callbacks langfuse_default_tags default_team_settings team_config
        prometheus_initialize_budget_metrics custom_prometheus_metadata_labels custom_prometheus_tags
        prometheus_metrics_config s3_callback_params datadog_params datadog_llm_observability_params
        gcs_pub_sub_use_v1 generic_logger_headers require_auth_for_metrics_endpoint
        prometheus_emit_stream_label callback_settings langfuse_host
        enable_end_user_cost_tracking_prometheus_only disable_end_user_cost_tracking_prometheus_only
        cost_discount_config cost_margin_config use_langfuse otel argilla_dataset_name
        standard_logging_payload_excluded_fields
        """,
    ),
    **reasons.each(
        reasons.PROMPTS,
        "turn_off_message_logging redact_user_api_key_info redact_messages_in_exceptions",
    ),
    **reasons.each(
        reasons.CACHE,
        """
        cache cache_params caching caching_with_models enable_caching_on_provider_specific_optional_params
        """,
    ),
    **reasons.each(
        reasons.BUDGETS,
        """
        max_ui_session_budget disable_end_user_cost_tracking
        """,
    ),
    **reasons.each(
        reasons.USERS,
        """
        max_user_budget internal_user_budget_duration max_internal_user_budget
        default_max_internal_user_budget
        """,
    ),
    **reasons.each(
        reasons.MANAGEMENT,
        """
        upperbound_key_generate_params default_key_generate_params default_internal_user_params
        key_generation_settings default_team_params default_user_params store_audit_logs
        enable_key_alias_format_validation public_model_groups public_model_groups_links public_agent_groups
        """,
    ),
    **reasons.each(
        reasons.TOKENS,
        """
        modify_params enable_json_schema_validation disable_add_transform_inline_image_block
        disable_hf_tokenizer_download disable_copilot_system_to_assistant disable_stop_sequence_limit
        LITELLM_DISABLE_STOP_SEQUENCE_LIMIT enable_preview_features add_function_to_prompt
        reasoning_auto_summary disable_token_counter route_all_chat_openai_to_responses
        use_chat_completions_url_for_anthropic_messages always_include_stream_usage
        """,
    ),
    **reasons.each(
        reasons.GUARDS,
        """
        guardrails banned_keywords_list blocked_user_list llamaguard_model_name
        llamaguard_unsafe_content_categories llm_guard_mode google_moderation_confidence_threshold
        openai_moderations_model_name presidio_ad_hoc_recognizers output_parse_pii prompt_injection_params
        lakera_prompt_injection guardrail_list
        """,
    ),
    **reasons.each(
        reasons.MCP,
        "mcp_aliases mcp_semantic_tool_filter enable_mcp",
    ),
    **reasons.each(
        "budgets by tag are not offered: give what has a tag a key or a team of its own, with budgets",
        "tag_budget_config",
    ),
    **reasons.each(
        reasons.CUSTOM,
        "custom_provider_map callback_class",
    ),
    **reasons.each(
        "certificates are always verified; ca_file names a private CA",
        "ssl_verify ssl_certificate ssl_security_level ssl_ecdh_curve",
    ),
    **reasons.each(
        "the gateway tries IPv6 and IPv4 at once",
        "force_ipv4",
    ),
    **reasons.each(
        "the header OpenAI-Organization is not offered",
        "organization",
    ),
    **reasons.each(
        "keys are set for each upstream: api_key_env in [upstreams.NAME]",
        "api_key openai_key azure_key anthropic_key",
    ),
    **reasons.each(
        "addresses are set for each upstream: url in [upstreams.NAME]",
        "api_base",
    ),
    **reasons.each(
        "nothing is sent home",
        "telemetry",
    ),
    **reasons.each(
        "max_concurrent_per_key limits the calls of one key",
        "max_parallel_requests",
    ),
    **reasons.each(
        "write [models.NAME.default] for each model: LiteLLM does not read it either",
        "default_params",
    ),
    **reasons.each(
        reasons.HEADERS,
        """
        forward_traceparent_to_llm_provider add_user_information_to_llm_headers return_response_headers
        """,
    ),
    **reasons.each(
        reasons.FILES,
        "vector_store_registry files_settings",
    ),
    **reasons.each(
        reasons.PROMPTS,
        "global_prompt_directory global_prompt_manager prompt_directory",
    ),
}

ROUTER_SETTINGS: Mapping[str, str] = {
    **reasons.each(
        reasons.RETRIES,
        """
        num_retries max_retries retry_after retry_policy model_group_retry_policy
        disable_retry_on_max_parallel_request_limit_error
        """,
    ),
    **reasons.each(
        "the circuit breaker counts all failures of an upstream alike",
        "allowed_fails_policy",
    ),
    **reasons.each(
        "a circuit breaker is always there; circuit_breaker_max_failures sets when it opens",
        "disable_cooldowns",
    ),
    **reasons.each(
        reasons.CONTEXT,
        "enable_pre_call_checks enable_pre_call_check optional_pre_call_checks",
    ),
    **reasons.each(
        "the balance has no further settings",
        "routing_strategy_args",
    ),
    **reasons.each(
        reasons.TAGS,
        "enable_tag_filtering tag_filtering_match_any",
    ),
    **reasons.each(
        reasons.LOGS,
        "set_verbose debug_level",
    ),
    **reasons.each(
        reasons.CACHE,
        "cache_responses cache_kwargs caching_groups",
    ),
    **reasons.each(
        "priorities of calls are not offered",
        "default_priority polling_interval scheduler",
    ),
    **reasons.each(
        "all tiers of a model are asked, within its timeout",
        "max_fallbacks",
    ),
    **reasons.each(
        "connections to upstreams are pooled and renewed by themselves",
        "client_ttl",
    ),
    **reasons.each(
        reasons.ALERTS,
        "alerting_config",
    ),
    **reasons.each(
        reasons.FILES,
        "assistants_config search_tools",
    ),
    **reasons.each(
        reasons.GUARDS,
        "guardrail_list",
    ),
    **reasons.each(
        "a mistake in the file is refused with its line: check lists all",
        "ignore_invalid_deployments",
    ),
    **reasons.each(
        "an SDK's argument has no counterpart",
        "router_general_settings",
    ),
    **reasons.each(
        "calls of one model are routed one by one",
        "deployment_affinity_ttl_seconds enable_weighted_failover",
    ),
    **reasons.each(
        reasons.STATE,
        "redis_ssl redis_username redis_max_connections",
    ),
    **reasons.each(
        "the gateway does not choose a model by the content of a call",
        "auto_router auto_router_config",
    ),
}

#: Whole sections without a counterpart.
SECTIONS: Mapping[str, str] = {
    "guardrails": reasons.GUARDS,
    "policies": reasons.GUARDS,
    "policy_attachments": reasons.GUARDS,
    "callback_settings": reasons.OBSERVERS,
    "mcp_servers": reasons.MCP,
    "mcp_tools": reasons.MCP,
    "mcp_settings": reasons.MCP,
    "assistant_settings": reasons.FILES,
    "finetune_settings": reasons.FILES,
    "files_settings": reasons.FILES,
    "vector_store_registry": reasons.FILES,
    "vector_stores": reasons.FILES,
    "search_tools": "search tools are not offered",
    "agent_list": "agents are not offered",
    "agents": "agents are not offered",
    "prompts": "stored prompts are not offered",
    "sso_config": reasons.LOGIN,
    "default_vertex_config": "it is for pass-through routes; write vertex_project into each deployment",
    "tool_registry": reasons.CUSTOM,
    "skills": "agents are not offered",
    "worker_registry": reasons.ADDRESS,
    "cost_margin_config": reasons.BUDGETS,
    "budgets": reasons.BUDGETS,
    "tags": reasons.TAGS,
    "teams": reasons.MANAGEMENT,
    "users": reasons.MANAGEMENT,
}
