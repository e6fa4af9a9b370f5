"""Request parameters: which are ours to decide, and how a step overrides them."""

from __future__ import annotations

from typing import Final

from gateway.wire.json import JsonObject

FORBIDDEN_PARAMS: Final = frozenset(
    {
        "api_base", "api_key", "api_type", "api_version", "aws_access_key_id", "aws_region_name",
        "aws_secret_access_key", "aws_session_token", "azure_ad_token", "azure_ad_token_provider", "base_url", "cache",
        "callbacks", "client", "client_id", "client_secret", "context_window_fallback_dict", "custom_llm_provider",
        "content_policy_fallbacks", "context_window_fallbacks", "aws_bedrock_runtime_endpoint", "aws_profile_name",
        "aws_role_name", "aws_session_name", "aws_sts_endpoint", "aws_web_identity_token",
        "mock_testing_content_policy_fallbacks", "mock_testing_context_fallbacks", "mock_testing_fallbacks",
        "mock_testing_rate_limit_error", "models", "route", "stream_timeout", "user_config",
        "default_headers", "deployment_id", "extra_body", "extra_headers", "extra_query", "fallbacks",
        "force_timeout", "headers", "http_client", "input_cost_per_token", "litellm_call_id", "litellm_metadata",
        "litellm_params", "logger_fn", "max_retries", "mock_delay", "mock_response", "mock_timeout",
        "mock_tool_calls", "model_info", "model_list", "num_retries", "organization", "output_cost_per_token",
        "provider", "proxy_server_request", "region_name", "request_timeout", "retry_policy", "retry_strategy",
        "router", "shared_session", "ssl_verify", "tenant_id", "timeout", "vertex_credentials", "vertex_location",
        "vertex_project",
    }
)  # fmt: skip
"""Fields of a request that would choose a host, a key or LiteLLM's own behaviour. They reach no upstream."""


def upstream_params(params: JsonObject) -> JsonObject:
    """Return what a target gets of a request's fields: all but those that are ours to decide."""
    own = params.copy()
    own.pop("model", None)
    own.pop("stream", None)
    if not FORBIDDEN_PARAMS.isdisjoint(own):
        for name in FORBIDDEN_PARAMS & own.keys():
            del own[name]
    return own
