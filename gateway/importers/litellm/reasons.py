"""What of a LiteLLM config nothing here corresponds to, by block and key, and why."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

BLOCKS: Final = frozenset({"router_settings", "litellm_settings", "general_settings", "environment_variables"})
SECTIONS: Final = BLOCKS | {
    "model_list", "include", "guardrails", "credential_list", "callback_settings", "mcp_servers", "mcp_tools",
    "finetune_settings", "files_settings", "vector_store_registry", "search_tools", "prompts", "policies",
    "policy_attachments", "assistant_settings", "default_vertex_config", "redis_settings", "agents", "worker_config",
}  # fmt: skip
"""What a config of LiteLLM may have at its top."""

ALWAYS: Final = "this is always so here"

_NO_HOOK: Final = "nothing is sent to other services from here; write a hook (hooks.post), or read /metrics and the log"
_NO_CACHE: Final = "answers are not kept here"
_NO_STORE: Final = "each process keeps its own cooldowns and counters; there is no shared store"
_NO_DATABASE: Final = "there is no database, and so no keys, users, teams, budgets or spending"
_NO_BUDGET: Final = "there are no budgets here"
_NO_LIMIT: Final = "calls and tokens are not limited here"
_NO_CHECKS: Final = "upstreams are not called to see how they are; cooldowns learn it from requests"
_NO_ALERTS: Final = "no alerts are sent; make them of /metrics"
_NO_MCP: Final = "chat and embeddings are all that is served here"

TOP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "guardrails": "write them as hooks: hooks.pre sees each request, hooks.post each answer",
        "callback_settings": _NO_HOOK,
        **dict.fromkeys(("policies", "policy_attachments"), "write them as hooks"),
        **dict.fromkeys(
            (
                "mcp_servers", "mcp_tools", "finetune_settings", "files_settings", "vector_store_registry",
                "search_tools", "prompts", "assistant_settings", "agents",
            ),
            _NO_MCP,
        ),
        "redis_settings": _NO_STORE,
        "default_vertex_config": "there are no pass-through routes here",
        "worker_config": "how the server runs is said by the flags of `gateway serve`",
    }
)  # fmt: skip

ROUTER: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "redis_host", "redis_password", "redis_port", "redis_url", "redis_db", "cache_kwargs",
                "client_ttl",
            ),
            _NO_STORE,
        ),
        **dict.fromkeys(("cache_responses", "caching_groups"), _NO_CACHE),
        "routing_strategy_args": "the order of a chain is fixed",
        "allowed_fails_policy": "every kind of failure counts the same towards a cooldown, the client's own not at all",
        "retry_after": "a retry waits up to 0.25, 0.5, 1, 2, 4 s at random, or what the upstream asks for",
        **dict.fromkeys(
            ("enable_tag_filtering", "tag_filtering_match_any", "tag_routing_prefix"),
            "requests are not routed by tags here; make an alias for each tag",
        ),
        **dict.fromkeys(("provider_budget_config", "alerting_config"), _NO_BUDGET),
        "optional_pre_call_checks": "nothing is checked before a call",
        **dict.fromkeys(("default_priority", "polling_interval"), "requests do not queue here"),
        "default_max_parallel_requests": _NO_LIMIT,
        "max_fallbacks": "a chain is followed to its end",
        "set_verbose": "the log's level is a flag: gateway serve --log-level debug",
        "debug_level": "the log's level is a flag: gateway serve --log-level debug",
        "assistants_config": _NO_MCP,
    }
)  # fmt: skip

LIBRARY: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "success_callback", "failure_callback", "callbacks", "service_callbacks", "audit_log_callbacks",
                "langfuse_default_tags", "default_team_settings", "s3_callback_params", "datadog_params",
                "redact_user_api_key_info", "callback_settings", "prometheus_metrics_config",
                "custom_prometheus_metadata_labels", "require_auth_for_metrics_endpoint",
            ),
            _NO_HOOK,
        ),
        **dict.fromkeys(("cache", "cache_params", "caching", "enable_redis_auth_cache"), _NO_CACHE),
        **dict.fromkeys(
            (
                "max_budget", "budget_duration", "max_internal_user_budget", "internal_user_budget_duration",
                "max_end_user_budget", "default_internal_user_params", "default_key_generate_params",
                "default_team_params", "upperbound_key_generate_params", "key_generation_settings",
                "disable_end_user_cost_tracking", "disable_end_user_cost_tracking_prometheus_only",
                "include_cost_in_streaming_usage",
            ),
            _NO_DATABASE,
        ),
        "set_verbose": "the log's level is a flag: gateway serve --log-level debug",
        "modify_params": "a request is not mended; LiteLLM's library only drops what a model does not take",
        "force_ipv4": "both are tried, IPv6 first",
        "ssl_verify": "certificates are always verified; SSL_CERT_FILE names other authorities",
        "default_in_memory_ttl": _NO_CACHE,
        "mcp_aliases": _NO_MCP,
        "mcp_semantic_tool_filter": _NO_MCP,
        "model_alias_map": "write the alias into models",
        "enable_json_schema_validation": "answers are not checked against a schema",
        "max_fallbacks": "a chain is followed to its end",
    }
)  # fmt: skip

SERVER: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "database_url", "database_connection_pool_limit", "database_connection_timeout",
                "database_type", "database_args", "store_model_in_db", "store_prompts_in_spend_logs",
                "disable_spend_logs", "disable_spend_updates", "disable_reset_budget", "disable_master_key_return",
                "disable_adding_master_key_hash_to_db", "allow_requests_on_db_unavailable",
                "proxy_batch_write_at", "proxy_budget_rescheduler_max_time", "proxy_budget_rescheduler_min_time",
                "maximum_spend_logs_retention_period", "maximum_spend_logs_retention_interval",
                "proxy_batch_polling_interval", "use_redis_transaction_buffer", "use_shared_health_check",
                "ui_access_mode", "proxy_admin_email", "enforce_user_param", "litellm_license",
                "reject_clientside_metadata_tags", "allow_user_auth", "user_mcp_management_mode",
            ),
            _NO_DATABASE,
        ),
        **dict.fromkeys(
            (
                "custom_auth", "enable_jwt_auth", "litellm_jwtauth", "enable_oauth2_auth", "allowed_routes",
                "admin_only_routes", "public_routes", "key_management_system", "key_management_settings",
                "custom_key_generate", "custom_sso", "use_client_credentials_pass_through_routes", "allowed_ips",
                "use_x_forwarded_for",
            ),
            "clients are told apart by the keys of `gateway serve --client-keys-file` alone",
        ),
        **dict.fromkeys(("alerting", "alerting_threshold", "alert_types", "alert_to_webhook_url", "alerting_args",
                         "spend_report_frequency"), _NO_ALERTS),
        **dict.fromkeys(("max_parallel_requests", "global_max_parallel_requests"), _NO_LIMIT),
        **dict.fromkeys(
            ("background_health_checks", "health_check_interval", "health_check_details", "health_check_concurrency"),
            _NO_CHECKS,
        ),
        "pass_through_endpoints": "there are no pass-through routes here",
        "completion_model": "a request must name its model",
        "infer_model_from_keys": "models are those of the file",
        "forward_client_headers_to_llm_api": "of a client's headers only x-request-id and traceparent go upstream",
        "max_request_size_mb": "this is a flag: gateway serve --max-body",
        "max_response_size_mb": "answers are not measured",
    }
)  # fmt: skip
