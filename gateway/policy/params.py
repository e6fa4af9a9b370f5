"""Request parameters: those that clients may not set, those of the file, and the merge of both for a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from gateway.policy.secrets import mask_key, mask_text, shown
from gateway.wire.json import EMPTY, Json, JsonObject, encode_json

OWN_FIELDS: Final = frozenset({"model", "stream", "messages", "prompt", "input"})
"""Fields of a request that no `params` block may set: `model`, `stream`, and each operation's own field."""

MODEL_FAMILY: Final = "model_family"
"""Of the file's params: says which targets have the same model under other names. Never sent."""

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
        "mock_tool_calls", "model_info", "model_list", "num_retries", "operation", "organization",
        "output_cost_per_token",
        "provider", "proxy_server_request", "region_name", "request_timeout", "retry_policy", "retry_strategy",
        "router", "shared_session", "ssl_verify", "tenant_id", "timeout", "vertex_credentials", "vertex_location",
        "vertex_project",
    }
)  # fmt: skip
"""Fields of a request that would choose a host, a key or LiteLLM's behaviour. They are never sent upstream."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Params:
    """A `params` block of the file, or several merged. Not a mapping, so that no output shows `sent` by mistake."""

    sent: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    """For sending, variables expanded; never shown. None removes the request's own parameter."""
    written: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    """The parameters of `sent` that contain variables, with the variables as written."""

    @property
    def shown(self) -> JsonObject:
        """The parameters for an output: variables as written, secrets as `***`."""
        return _shown(self.sent, self)

    def under(self, upper: Params) -> Params:
        """Return these parameters overridden by `upper`."""
        if not self.sent or not upper.sent:
            return upper if upper.sent else self
        below = {name: value for name, value in self.written.items() if name not in upper.sent}
        return Params(_frozen({**self.sent, **upper.sent}), _frozen({**below, **upper.written}))

    def without(self, names: frozenset[str]) -> Params:
        """Return these parameters without `names`."""
        if names.isdisjoint(self.sent):
            return self
        sent, written = (
            _frozen({name: value for name, value in block.items() if name not in names})
            for block in (self.sent, self.written)
        )
        return Params(sent, written)

    def __eq__(self, other: object) -> bool:
        """Compare what is sent: 1, 1.0 and true are three values to an upstream."""
        return isinstance(other, Params) and (
            self is other or (encode_json(self.sent), self.written) == (encode_json(other.sent), other.written)
        )

    def __hash__(self) -> int:
        return hash(tuple(self.sent))

    def __repr__(self) -> str:
        return f"Params({self.shown})"


NO_PARAMS: Final = Params()
"""Shared by all that set none, as large files have many."""


def _frozen(block: JsonObject) -> Mapping[str, Json]:
    return MappingProxyType(block) if block else EMPTY


def merged(params: Mapping[str, Json], overrides: Mapping[str, Json], model: str) -> JsonObject:
    """Return the body for a target: the request's `params`, overridden by the file's `overrides`, and the model.

    None in `overrides` removes a parameter; a null of the request is sent. The values are shared.
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
    """Return the result of `merged` for an output: variables as written, secrets as `***`."""
    return {**_shown(merged(params, overrides.sent, model), overrides), "model": mask_text(model, (model,))}


def _shown(params: Mapping[str, Json], overrides: Params) -> JsonObject:
    return {mask_key(name): shown(overrides.written.get(name, value), name) for name, value in params.items()}


def upstream_params(params: JsonObject) -> JsonObject:
    """Return a copy of a request's fields without `model`, `stream` and FORBIDDEN_PARAMS."""
    own = params.copy()
    own.pop("model", None)
    own.pop("stream", None)
    if not FORBIDDEN_PARAMS.isdisjoint(own):
        for name in FORBIDDEN_PARAMS & own.keys():
            del own[name]
    return own
