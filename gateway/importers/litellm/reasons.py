"""The reasons why keys of a LiteLLM config are left out: a table for each block of the config."""

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
"""Top-level keys of a LiteLLM config."""

ALWAYS: Final = "this is always so here"

_NO_HOOK: Final = "nothing is sent to other services from here; write a hook (hooks.post), or read /metrics and the log"
_NO_CACHE: Final = "to keep answers, write `cache` on the aliases"
STATE: Final = "replicas share a Redis that `gateway serve --state redis://…` names, not the file"
_NO_DATABASE: Final = "there is no database; keys are in a file, groups of clients and their limits under `clients`"
_NO_BUDGET: Final = "a budget is a limit of spend here: write {spend: N, per: day} in `limits` of the provider"
_NO_LIMIT: Final = "write it as a limit such as `20 concurrent`, of a group under `clients` or of a provider"
NO_PRICE: Final = (
    "a step's `price` has what a token of input and of output costs, both, and of cached input; nothing else"
)
_NO_TAGS: Final = "requests are not routed by tags here; make an alias for each tag"
NO_ROUTER: Final = "requests are routed by name alone, not by content"
_NO_MCP: Final = "requests to models are all that is served here"


def _by_key(reasons: Mapping[str, str]) -> Mapping[str, str]:
    """Return key → reason. `reasons` has reason → its keys, separated by blanks."""
    return MappingProxyType({key: reason for reason, keys in reasons.items() for key in keys.split()})


TOP: Final = _by_key(
    {
        "write them as hooks: hooks.pre sees each request, hooks.post each answer": "guardrails",
        _NO_HOOK: "callback_settings",
        "write them as hooks": "policies policy_attachments",
        _NO_MCP: """
            mcp_servers mcp_tools finetune_settings files_settings vector_store_registry search_tools prompts
            assistant_settings agents
        """,
        STATE: "redis_settings",
        "there are no pass-through routes here": "default_vertex_config",
        "the flags of `gateway serve` say how the server runs": "worker_config",
    }
)
"""Top-level keys."""

CACHE: Final = _by_key(
    {
        STATE: """
            host port db url username password ssl redis_startup_nodes service_name sentinel_nodes sentinel_password
            max_connections redis_flush_size gcp_service_account gcp_ssl_ca_certs
        """,
        "keys in a Redis begin with `--state-prefix` of `gateway serve`": "namespace",
    }
)
"""Keys of `cache_params`."""

ROUTER: Final = _by_key(
    {
        STATE: "redis_host redis_password redis_port redis_url redis_db cache_kwargs client_ttl",
        _NO_CACHE: "cache_responses caching_groups",
        "a `pick` has no settings": "routing_strategy_args",
        "every kind of failure counts the same towards a cooldown, the client's own not at all": "allowed_fails_policy",
        "a retry waits up to 0.25, 0.5, 1, 2, 4 s at random, or what the upstream asks for": "retry_after",
        _NO_TAGS: "enable_tag_filtering tag_filtering_match_any tag_routing_prefix",
        _NO_BUDGET: "alerting_config",
        "requests do not queue here": "default_priority polling_interval",
        _NO_LIMIT: "default_max_parallel_requests",
        "the log's level is a flag: gateway serve --log-level debug": "set_verbose debug_level",
        _NO_MCP: "assistants_config",
    }
)
"""Keys of `router_settings`."""

LIBRARY: Final = _by_key(
    {
        _NO_HOOK: """
            success_callback failure_callback callbacks service_callback service_callbacks audit_log_callbacks
            langfuse_default_tags default_team_settings s3_callback_params datadog_params redact_user_api_key_info
            callback_settings prometheus_metrics_config custom_prometheus_metadata_labels
            require_auth_for_metrics_endpoint
        """,
        _NO_CACHE: "caching enable_redis_auth_cache default_in_memory_ttl",
        _NO_DATABASE: """
            max_budget budget_duration max_internal_user_budget internal_user_budget_duration max_end_user_budget
            default_internal_user_params default_key_generate_params default_team_params
            upperbound_key_generate_params key_generation_settings disable_end_user_cost_tracking
            disable_end_user_cost_tracking_prometheus_only include_cost_in_streaming_usage
            enable_end_user_cost_tracking_prometheus_only default_end_user_params extra_spend_tag_headers timezone
        """,
        "the log's level is a flag: gateway serve --log-level debug": "set_verbose log_level",
        "a provider of your own is a server of OpenAI's wire here: `kind: openai` and its base_url": """
            custom_provider_map
        """,
        "requests are not modified; only what a model does not take is dropped": "modify_params",
        "both are tried, IPv6 first": "force_ipv4",
        "certificates are always verified; SSL_CERT_FILE names other authorities": "ssl_verify",
        _NO_MCP: "mcp_aliases mcp_semantic_tool_filter",
        "write the alias into models": "model_alias_map",
        "answers are not checked against a schema": "enable_json_schema_validation",
    }
)
"""Keys of `litellm_settings`."""

SERVER: Final = _by_key(
    {
        _NO_DATABASE: """
            database_url database_connection_pool_limit database_connection_timeout database_type database_args
            store_model_in_db store_prompts_in_spend_logs disable_spend_logs disable_spend_updates
            disable_reset_budget disable_master_key_return disable_adding_master_key_hash_to_db
            allow_requests_on_db_unavailable proxy_batch_write_at proxy_budget_rescheduler_max_time
            proxy_budget_rescheduler_min_time maximum_spend_logs_retention_period
            maximum_spend_logs_retention_interval proxy_batch_polling_interval use_redis_transaction_buffer
            use_shared_health_check ui_access_mode proxy_admin_email enforce_user_param litellm_license
            max_budget budget_duration max_internal_user_budget internal_user_budget_duration
            default_internal_user_params key_generation_settings disable_error_logs coordination_redis
            reject_clientside_metadata_tags allow_user_auth user_mcp_management_mode
        """,
        "clients are told apart by the keys of `gateway serve --client-keys-file` alone": """
            custom_auth enable_jwt_auth litellm_jwtauth enable_oauth2_auth allowed_routes admin_only_routes
            public_routes key_management_system key_management_settings custom_key_generate custom_sso
            use_client_credentials_pass_through_routes allowed_ips use_x_forwarded_for
        """,
        "no alerts are sent; build them on /metrics": """
            alerting alerting_threshold alert_types alert_to_webhook_url alerting_args spend_report_frequency
        """,
        _NO_LIMIT: "max_parallel_requests",
        "this is a flag: gateway serve --max-in-flight": "global_max_parallel_requests",
        "there are no health checks; cooldowns follow the failures of requests": """
            background_health_checks health_check_interval health_check_details health_check_concurrency
        """,
        "there are no pass-through routes here": "pass_through_endpoints",
        "a request must name its model": "completion_model",
        "the models are those that the file names": "infer_model_from_keys",
        "of a client's headers only x-request-id and traceparent go upstream": "forward_client_headers_to_llm_api",
        "this is a flag: gateway serve --max-body": "max_request_size_mb",
        "answers are not measured": "max_response_size_mb",
    }
)
"""Keys of `general_settings`."""

DEPLOYMENT: Final = _by_key(
    {
        "tokens are limited in and out together here: write `N tokens/minute` in `limits` of the provider": "itpm otpm",
        "a day is the calendar's here, in UTC": "daily_reset_time",
        "write it as a limit of a group of clients, under `clients`": """
            default_api_key_tpm_limit default_api_key_rpm_limit
        """,
        _NO_TAGS: "tags tag_regex",
        "the file cannot hold this credential; LiteLLM's library reads it from the environment": """
            aws_access_key_id aws_secret_access_key aws_session_token aws_profile_name aws_role_name
            aws_session_name aws_sts_endpoint aws_web_identity_token aws_bedrock_runtime_endpoint vertex_credentials
            azure_ad_token client_secret azure_username azure_password
        """,
        "a client cannot choose a host or a key here": "configurable_clientside_auth_params",
        "there are no pass-through routes here": "use_in_pass_through",
        "answers are passed on as they come": "merge_reasoning_content_in_choices",
        "name the parameter in the step's params to send it": "allowed_openai_params",
        "model_info stands beside litellm_params, not in it": "model_info",
    }
)
"""Keys of a deployment's `litellm_params`."""

MODEL_INFO: Final = _by_key(
    {
        "a target is identified by its name": "id",
        "LiteLLM looks prices and sizes up by it; here a step may have a `price`": "base_model",
        "there are no teams here: every client may use it": "team_id team_public_model_name access_groups",
        "a model cannot be blocked; take the alias out of the file": "blocked",
        "LiteLLM limits by it with enforce_model_rate_limits; write it into litellm_params": "rpm tpm",
    }
)
"""Keys of a deployment's `model_info`."""


def deployment_reason(key: str) -> str | None:
    """Return why a key of `litellm_params` is left out; None if there is no reason."""
    if key in DEPLOYMENT or "cost" in key:
        return DEPLOYMENT.get(key, NO_PRICE)
    routers = ("auto_router_", "complexity_router_", "adaptive_router_", "quality_router_")
    return NO_ROUTER if key.startswith(routers) else None


def model_info_reason(key: str) -> str:
    """Return why a key of `model_info` is left out."""
    other = NO_PRICE if "cost" in key else "what a model can do is not asked before it is called"
    return MODEL_INFO.get(key, other)
