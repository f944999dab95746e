"""Lists the settings of LiteLLM that have no counterpart, by section, with what takes their place.

The names are those of LiteLLM's ``docs/proxy/config_settings``.
"""

from __future__ import annotations

from collections.abc import Mapping

_RETRIES = "the gateway has rules of its own for retries (docs/failover.md)"
_LOGS = "GATEWAY_LOG and GATEWAY_SERVER_LOG_LEVEL set what is logged (docs/observability.md)"
_OBSERVERS = "/metrics takes the place for Prometheus, the log for the rest (docs/observability.md)"
_DATABASE = (
    "there is no database: keys are in the file (--keys brings LiteLLM's), usage is in /metrics and the log"
)
_BUDGETS = "budgets are not offered here"
_MANAGEMENT = (
    "there is no management API: the file is the place of keys and models, and is read when it changes"
)
_PAGE = "LiteLLM's web page has no counterpart"
_LOGIN = "callers have API keys here; JWT, OAuth and SSO are not offered"
_ROUTES = "every route needs a key; which models a key may call is set in [keys.NAME] models"
_HEALTH = "circuit breakers watch upstreams by real calls; /health and /readyz answer without a key"
_ALERTS = "Prometheus alerts take the place (deploy/alerts.yml)"
_SECRETS = "secrets are in variables (…_env) or files (…_file); a secret manager can write those"
_GUARDS = "guardrails are not offered"
_MCP = "MCP servers are not offered"
_CACHE = "a cache of answers is not offered"
_TAGS = "routing by tags is not offered: give each tag's deployments a name of their own"
_TOKENS = "the gateway does not change messages or fields"
_CONTEXT = "the context window is not checked before a call; a refusal of length goes to the next model"
_FILES = "files, batches, assistants and vector stores are not offered"
_RAW = "raw pass-through routes are not offered"
_HEADERS = "headers of callers are not forwarded"
_ADDRESS = "GATEWAY_BIND sets the address, and the proxy in front has the rest (docs/deploy.md)"
_PROMPTS = "the log has prompts only with GATEWAY_LOG_PROMPTS=on"
_CUSTOM = "code of one's own is not loaded"
_STATE = "the state store keeps only limits and circuit breakers, and sizes itself"


def _each(reason: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


LITELLM_SETTINGS: Mapping[str, str] = {
    **_each(
        "the gateway forwards what the caller writes; a provider that refuses a field answers 400",
        "drop_params",
    ),
    **_each(
        _RETRIES,
        "num_retries num_retries_per_request max_retries retry_after",
    ),
    **_each(
        _LOGS,
        "set_verbose verbose debug suppress_debug_info log_raw_request_response log_level json_logs",
    ),
    **_each(
        _OBSERVERS,
        "success_callback failure_callback callbacks service_callbacks service_callback "
        "input_callback audit_log_callbacks langfuse_default_tags default_team_settings "
        "team_config prometheus_initialize_budget_metrics custom_prometheus_metadata_labels "
        "custom_prometheus_tags prometheus_metrics_config s3_callback_params datadog_params "
        "datadog_llm_observability_params gcs_pub_sub_use_v1 generic_logger_headers "
        "require_auth_for_metrics_endpoint prometheus_emit_stream_label callback_settings "
        "langfuse_host enable_end_user_cost_tracking_prometheus_only "
        "disable_end_user_cost_tracking_prometheus_only cost_discount_config cost_margin_config "
        "use_langfuse otel argilla_dataset_name standard_logging_payload_excluded_fields",
    ),
    **_each(
        _PROMPTS,
        "turn_off_message_logging redact_user_api_key_info redact_messages_in_exceptions",
    ),
    **_each(
        _CACHE,
        "cache cache_params caching caching_with_models enable_caching_on_provider_specific_optional_params",
    ),
    **_each(
        _BUDGETS,
        "max_budget budget_duration max_end_user_budget max_end_user_budget_id max_user_budget "
        "internal_user_budget_duration max_internal_user_budget default_max_internal_user_budget "
        "max_ui_session_budget disable_end_user_cost_tracking provider_budget_config",
    ),
    **_each(
        _MANAGEMENT,
        "upperbound_key_generate_params default_key_generate_params default_internal_user_params "
        "key_generation_settings default_team_params default_user_params store_audit_logs "
        "enable_key_alias_format_validation public_model_groups public_model_groups_links "
        "public_agent_groups",
    ),
    **_each(
        _TOKENS,
        "modify_params enable_json_schema_validation disable_add_transform_inline_image_block "
        "disable_hf_tokenizer_download disable_copilot_system_to_assistant "
        "disable_stop_sequence_limit LITELLM_DISABLE_STOP_SEQUENCE_LIMIT enable_preview_features "
        "add_function_to_prompt reasoning_auto_summary disable_token_counter "
        "route_all_chat_openai_to_responses use_chat_completions_url_for_anthropic_messages "
        "always_include_stream_usage",
    ),
    **_each(
        _GUARDS,
        "guardrails banned_keywords_list blocked_user_list llamaguard_model_name "
        "llamaguard_unsafe_content_categories llm_guard_mode "
        "google_moderation_confidence_threshold openai_moderations_model_name "
        "presidio_ad_hoc_recognizers output_parse_pii prompt_injection_params "
        "lakera_prompt_injection guardrail_list",
    ),
    **_each(
        _MCP,
        "mcp_aliases mcp_semantic_tool_filter enable_mcp",
    ),
    **_each(
        _TAGS,
        "tag_budget_config",
    ),
    **_each(
        _CUSTOM,
        "custom_provider_map callback_class",
    ),
    **_each(
        "certificates are always verified; ca_file names a private CA",
        "ssl_verify ssl_certificate ssl_security_level ssl_ecdh_curve",
    ),
    **_each(
        "the gateway tries IPv6 and IPv4 at once",
        "force_ipv4",
    ),
    **_each(
        "the header OpenAI-Organization is not offered",
        "organization",
    ),
    **_each(
        "keys are set for each upstream: api_key_env in [upstreams.NAME]",
        "api_key openai_key azure_key anthropic_key",
    ),
    **_each(
        "addresses are set for each upstream: url in [upstreams.NAME]",
        "api_base",
    ),
    **_each(
        "nothing is sent home",
        "telemetry",
    ),
    **_each(
        "max_concurrent_per_key limits the calls of one key",
        "max_parallel_requests",
    ),
    **_each(
        "write [models.NAME.default] for each model: LiteLLM does not read it either",
        "default_params",
    ),
    **_each(
        _HEADERS,
        "forward_traceparent_to_llm_provider add_user_information_to_llm_headers return_response_headers",
    ),
    **_each(
        _FILES,
        "vector_store_registry files_settings",
    ),
    **_each(
        _PROMPTS,
        "global_prompt_directory global_prompt_manager prompt_directory",
    ),
}

ROUTER_SETTINGS: Mapping[str, str] = {
    **_each(
        _RETRIES,
        "num_retries max_retries retry_after retry_policy model_group_retry_policy "
        "disable_retry_on_max_parallel_request_limit_error",
    ),
    **_each(
        "the circuit breaker counts all failures of an upstream alike",
        "allowed_fails_policy",
    ),
    **_each(
        "a circuit breaker is always there; circuit_breaker_max_failures sets when it opens",
        "disable_cooldowns",
    ),
    **_each(
        _CONTEXT,
        "enable_pre_call_checks enable_pre_call_check optional_pre_call_checks",
    ),
    **_each(
        "the balance has no further settings",
        "routing_strategy_args",
    ),
    **_each(
        _TAGS,
        "enable_tag_filtering tag_filtering_match_any",
    ),
    **_each(
        _LOGS,
        "set_verbose debug_level",
    ),
    **_each(
        _CACHE,
        "cache_responses cache_kwargs caching_groups",
    ),
    **_each(
        _BUDGETS,
        "provider_budget_config",
    ),
    **_each(
        "priorities of calls are not offered",
        "default_priority polling_interval scheduler",
    ),
    **_each(
        "all tiers of a model are asked, within its timeout",
        "max_fallbacks",
    ),
    **_each(
        "connections to upstreams are pooled and renewed by themselves",
        "client_ttl",
    ),
    **_each(
        _ALERTS,
        "alerting_config",
    ),
    **_each(
        _FILES,
        "assistants_config search_tools",
    ),
    **_each(
        _GUARDS,
        "guardrail_list",
    ),
    **_each(
        "a mistake in the file is refused with its line: check lists all",
        "ignore_invalid_deployments",
    ),
    **_each(
        "an SDK's argument has no counterpart",
        "router_general_settings",
    ),
    **_each(
        "calls of one model are routed one by one",
        "deployment_affinity_ttl_seconds enable_weighted_failover",
    ),
    **_each(
        _STATE,
        "redis_ssl redis_username redis_max_connections",
    ),
    **_each(
        "the gateway does not choose a model by the content of a call",
        "auto_router auto_router_config",
    ),
}

GENERAL_SETTINGS: Mapping[str, str] = {
    **_each(
        _DATABASE,
        "database_url database_type database_args database_connection_pool_limit "
        "database_connection_timeout database_connection_pool_timeout "
        "allow_requests_on_db_unavailable store_model_in_db supported_db_objects "
        "disable_prisma_schema_update use_prisma_migrate proxy_batch_write_at "
        "proxy_batch_polling_interval proxy_budget_rescheduler_min_time "
        "proxy_budget_rescheduler_max_time disable_reset_budget "
        "disable_adding_master_key_hash_to_db use_redis_transaction_buffer "
        "database_extra_connection_params database_host database_name database_username "
        "database_password database_region read_database_url",
    ),
    **_each(
        "usage is in /metrics and the log",
        "disable_spend_logs disable_spend_updates maximum_spend_logs_retention_period "
        "maximum_spend_logs_retention_interval maximum_spend_logs_cleanup_cron disable_error_logs "
        "spend_report_frequency disable_usage_tracking",
    ),
    **_each(
        _PROMPTS,
        "store_prompts_in_spend_logs",
    ),
    **_each(
        _BUDGETS,
        "max_budget budget_duration max_end_user_budget reject_clientside_metadata_tags",
    ),
    **_each(
        "end users are not told apart: a caller is a key",
        "user_header_name user_header_mappings enforce_user_param enforced_params always_include_end_user",
    ),
    **_each(
        _MANAGEMENT,
        "custom_key_generate custom_key_update default_team_disabled service_account_settings "
        "default_internal_user_params key_management_system key_management_settings "
        "disable_master_key_return user_api_key_cache_ttl admin_only_routes",
    ),
    **_each(
        _SECRETS,
        "use_azure_key_vault use_google_kms use_aws_secret_manager key_management_system "
        "key_management_settings",
    ),
    **_each(
        _LOGIN,
        "custom_auth custom_auth_run_common_checks enable_jwt_auth litellm_jwtauth "
        "enable_oauth2_auth enable_oauth2_proxy_auth oauth2_config_mappings allow_user_auth "
        "custom_sso custom_ui_sso_sign_in_handler custom_auth_settings",
    ),
    **_each(
        _ROUTES,
        "public_routes allowed_routes role_permissions allowed_ips user_mcp_management_mode",
    ),
    **_each(
        "callers send their key as Authorization: Bearer or api-key",
        "litellm_key_header_name",
    ),
    **_each(
        "the proxy in front passes the address on (docs/deploy.md)",
        "use_x_forwarded_for",
    ),
    **_each(
        _HEALTH,
        "background_health_checks health_check_interval health_check_details "
        "health_check_concurrency health_check_endpoint use_shared_health_check "
        "enable_health_check_routing health_check_staleness_threshold",
    ),
    **_each(
        _ALERTS,
        "alerting alerting_threshold alerting_args alert_types alert_to_webhook_url alert_type_config",
    ),
    **_each(
        _PAGE,
        "ui ui_access_mode ui_username ui_password ui_settings litellm_license disable_admin_ui",
    ),
    **_each(
        "a call names its model",
        "completion_model embedding_model moderation_model image_generation_model "
        "infer_model_from_keys default_model",
    ),
    **_each(
        "GATEWAY_THREADS, max_streams and max_concurrent_per_key limit calls in flight",
        "max_parallel_requests global_max_parallel_requests",
    ),
    **_each(
        "answers have no limit of size",
        "max_response_size_mb",
    ),
    **_each(
        _RAW,
        "pass_through_endpoints use_client_credentials_pass_through_routes",
    ),
    **_each(
        _HEADERS,
        "forward_client_headers_to_llm_api forward_openai_org_id "
        "forward_llm_provider_auth_headers add_user_information_to_llm_headers",
    ),
    **_each(
        "callers cannot send a key or an address of their own",
        "allow_client_side_credentials",
    ),
    **_each(
        "answers of the Responses API are bound to the upstream that made them (docs/routing.md)",
        "disable_responses_id_security",
    ),
    **_each(
        _RETRIES,
        "disable_retry_on_max_parallel_request_limit_error",
    ),
    **_each(
        _MCP,
        "mcp_client_side_auth_header_name mcp_internal_ip_ranges mcp_trusted_proxy_ranges mcp_servers",
    ),
    **_each(
        _FILES,
        "vector_store_registry",
    ),
    **_each(
        "a key that may call a model may call its fallbacks",
        "enforce_fallback_model_access",
    ),
    **_each(
        _STATE,
        "coordination_redis coordination_redis_params",
    ),
    **_each(
        _ADDRESS,
        "port host server_root_path",
    ),
    **_each(
        "GATEWAY_CORS_ORIGINS allows pages to call from a browser",
        "enable_cors allowed_origins cors_origins",
    ),
    **_each(
        "nothing is sent home",
        "telemetry disable_telemetry",
    ),
    **_each(
        _CUSTOM,
        "custom_callbacks",
    ),
    **_each(
        _LOGS,
        "debug detailed_debug json_logs log_level",
    ),
}

#: Whole sections without a counterpart.
SECTIONS: Mapping[str, str] = {
    "guardrails": _GUARDS,
    "policies": _GUARDS,
    "policy_attachments": _GUARDS,
    "callback_settings": _OBSERVERS,
    "mcp_servers": _MCP,
    "mcp_tools": _MCP,
    "mcp_settings": _MCP,
    "assistant_settings": _FILES,
    "finetune_settings": _FILES,
    "files_settings": _FILES,
    "vector_store_registry": _FILES,
    "vector_stores": _FILES,
    "search_tools": "search tools are not offered",
    "agent_list": "agents are not offered",
    "agents": "agents are not offered",
    "prompts": "stored prompts are not offered",
    "sso_config": _LOGIN,
    "default_vertex_config": "Vertex AI wants a Google access token, which expires",
    "include": "only this file was read: import each included file by itself, or put them into one",
    "tool_registry": _CUSTOM,
    "skills": "agents are not offered",
    "worker_registry": _ADDRESS,
    "cost_margin_config": _BUDGETS,
    "budgets": _BUDGETS,
    "tags": _TAGS,
    "teams": _MANAGEMENT,
    "users": _MANAGEMENT,
}
