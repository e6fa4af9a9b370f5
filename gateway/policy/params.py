"""Request parameters: which are ours to decide, what the file sets, and how the two make what a target gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from gateway.policy.secrets import shown
from gateway.wire.json import EMPTY, Json, JsonObject, encode_json

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


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Params:
    """A `params` block of the file, or several merged. No mapping, so that nobody shows what is only to be sent."""

    sent: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    """For the wire, variables expanded: never for an output. None removes the request's own."""
    written: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    """Those of `sent` that hold variables, with these as written."""

    @property
    def shown(self) -> JsonObject:
        """The parameters as an output may show them: variables as written, secrets as stars."""
        return {name: shown(self.written.get(name, value), name) for name, value in self.sent.items()}

    def under(self, upper: Params) -> Params:
        """Return these with another block's over them."""
        if not self.sent or not upper.sent:
            return upper if upper.sent else self
        below = {name: value for name, value in self.written.items() if name not in upper.sent}
        return Params(_frozen({**self.sent, **upper.sent}), _frozen({**below, **upper.written}))

    def without(self, names: frozenset[str]) -> Params:
        """Return these but for some."""
        if names.isdisjoint(self.sent):
            return self
        blocks = (self.sent, self.written)
        return Params(
            *(_frozen({name: value for name, value in block.items() if name not in names}) for block in blocks)
        )

    def __eq__(self, other: object) -> bool:
        """Whether both send the same: 1, 1.0 and true are three values to an upstream."""
        return isinstance(other, Params) and (
            self is other or (encode_json(self.sent), self.written) == (encode_json(other.sent), other.written)
        )

    def __hash__(self) -> int:
        return hash(tuple(self.sent))

    def __repr__(self) -> str:
        return f"Params({self.shown})"


NO_PARAMS: Final = Params()
"""One for all that set none: large files have many."""


def _frozen(block: JsonObject) -> Mapping[str, Json]:
    return MappingProxyType(block) if block else EMPTY


def merged(params: Mapping[str, Json], overrides: Mapping[str, Json], model: str) -> JsonObject:
    """Return what a target gets: a request's parameters, the file's `overrides` over them, and the target's own model.

    None in `overrides` removes one; the request's own null is sent. The result is the caller's, its values are not.
    """
    body: JsonObject = {"model": model, **params}
    if overrides:
        body.update(overrides)
        for name, value in overrides.items():
            if value is None:
                del body[name]
        body["model"] = model
    return body


def merged_for_output(params: Mapping[str, Json], overrides: Params, model: str) -> JsonObject:
    """Return what `merged` does as an output may show it."""
    sent = merged(params, overrides.sent, model)
    return {name: shown(overrides.written.get(name, value), name) for name, value in sent.items()}


def upstream_params(params: JsonObject) -> JsonObject:
    """Return what a target gets of a request's fields: all but those that are ours to decide."""
    own = params.copy()
    own.pop("model", None)
    own.pop("stream", None)
    if not FORBIDDEN_PARAMS.isdisjoint(own):
        for name in FORBIDDEN_PARAMS & own.keys():
            del own[name]
    return own
