"""Lists the names in ``general_settings`` that have no counterpart, with what takes their place."""

from __future__ import annotations

from collections.abc import Mapping

from . import reasons

GENERAL_SETTINGS: Mapping[str, str] = {
    **reasons.each(
        reasons.DATABASE,
        """
        database_url database_type database_args database_connection_pool_limit database_connection_timeout
        database_connection_pool_timeout allow_requests_on_db_unavailable store_model_in_db
        supported_db_objects disable_prisma_schema_update use_prisma_migrate proxy_batch_write_at
        proxy_batch_polling_interval proxy_budget_rescheduler_min_time proxy_budget_rescheduler_max_time
        disable_reset_budget disable_adding_master_key_hash_to_db use_redis_transaction_buffer
        database_extra_connection_params database_host database_name database_username database_password
        database_region read_database_url salt_key
        """,
    ),
    **reasons.each(
        "usage is in /metrics, the log and [ledger]",
        """
        disable_spend_logs disable_spend_updates maximum_spend_logs_retention_period
        maximum_spend_logs_retention_interval maximum_spend_logs_cleanup_cron disable_error_logs
        spend_report_frequency disable_usage_tracking
        """,
    ),
    **reasons.each(
        reasons.PROMPTS,
        "store_prompts_in_spend_logs",
    ),
    **reasons.each(
        reasons.BUDGETS,
        "reject_clientside_metadata_tags",
    ),
    **reasons.each(
        "x-gateway-user, safety_identifier or user names the end user; users in [keys.NAME] limits each",
        """
        user_header_name user_header_mappings enforce_user_param enforced_params always_include_end_user
        """,
    ),
    **reasons.each(
        reasons.MANAGEMENT,
        """
        custom_key_generate custom_key_update default_team_disabled service_account_settings
        default_internal_user_params key_management_system key_management_settings disable_master_key_return
        user_api_key_cache_ttl admin_only_routes
        """,
    ),
    **reasons.each(
        reasons.SECRETS,
        """
        use_azure_key_vault use_google_kms use_aws_secret_manager key_management_system
        key_management_settings
        """,
    ),
    **reasons.each(
        reasons.LOGIN,
        """
        custom_auth custom_auth_run_common_checks enable_jwt_auth litellm_jwtauth enable_oauth2_auth
        enable_oauth2_proxy_auth oauth2_config_mappings allow_user_auth custom_sso
        custom_ui_sso_sign_in_handler custom_auth_settings
        """,
    ),
    **reasons.each(
        reasons.ROUTES,
        "public_routes allowed_routes role_permissions allowed_ips user_mcp_management_mode",
    ),
    **reasons.each(
        "callers send their key as Authorization: Bearer or api-key",
        "litellm_key_header_name",
    ),
    **reasons.each(
        "the proxy in front passes the address on (docs/deploy.md)",
        "use_x_forwarded_for",
    ),
    **reasons.each(
        reasons.HEALTH,
        """
        background_health_checks health_check_interval health_check_details health_check_concurrency
        health_check_endpoint use_shared_health_check enable_health_check_routing
        health_check_staleness_threshold
        """,
    ),
    **reasons.each(
        reasons.ALERTS,
        """
        alerting alerting_threshold alerting_args alert_types alert_to_webhook_url alert_type_config
        """,
    ),
    **reasons.each(
        reasons.PAGE,
        "ui ui_access_mode ui_username ui_password ui_settings litellm_license disable_admin_ui",
    ),
    **reasons.each(
        "a call names its model",
        """
        completion_model embedding_model moderation_model image_generation_model infer_model_from_keys
        default_model
        """,
    ),
    **reasons.each(
        "GATEWAY_THREADS, max_streams and max_concurrent_per_key limit calls in flight",
        "max_parallel_requests global_max_parallel_requests",
    ),
    **reasons.each(
        "answers have no limit of size",
        "max_response_size_mb",
    ),
    **reasons.each(
        reasons.RAW,
        "pass_through_endpoints use_client_credentials_pass_through_routes",
    ),
    **reasons.each(
        reasons.HEADERS,
        """
        forward_client_headers_to_llm_api forward_openai_org_id forward_llm_provider_auth_headers
        add_user_information_to_llm_headers
        """,
    ),
    **reasons.each(
        "callers cannot send a key or an address of their own",
        "allow_client_side_credentials",
    ),
    **reasons.each(
        "answers of the Responses API are bound to the upstream that made them (docs/routing.md)",
        "disable_responses_id_security",
    ),
    **reasons.each(
        reasons.RETRIES,
        "disable_retry_on_max_parallel_request_limit_error",
    ),
    **reasons.each(
        reasons.MCP,
        """
        mcp_client_side_auth_header_name mcp_internal_ip_ranges mcp_trusted_proxy_ranges mcp_servers
        """,
    ),
    **reasons.each(
        reasons.FILES,
        "vector_store_registry",
    ),
    **reasons.each(
        "a key that may call a model may call its fallbacks",
        "enforce_fallback_model_access",
    ),
    **reasons.each(
        reasons.STATE,
        "coordination_redis coordination_redis_params",
    ),
    **reasons.each(
        reasons.ADDRESS,
        "port host server_root_path",
    ),
    **reasons.each(
        "GATEWAY_CORS_ORIGINS allows pages to call from a browser",
        "enable_cors allowed_origins cors_origins",
    ),
    **reasons.each(
        "nothing is sent home",
        "telemetry disable_telemetry",
    ),
    **reasons.each(
        reasons.CUSTOM,
        "custom_callbacks",
    ),
    **reasons.each(
        reasons.LOGS,
        "debug detailed_debug json_logs log_level",
    ),
}
