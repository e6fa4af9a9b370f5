"""Leaves OpenAI's and Azure's SDKs out: LiteLLM has handlers of its own that write the same, and take our client."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any, Final

from gateway.adapters.litellm import azure
from gateway.adapters.litellm.azure import Handler
from gateway.adapters.litellm.parts import part
from gateway.adapters.litellm.translate import Function
from gateway.wire.json import Json

_SDK: Final = "OpenAIChatCompletion"
"""The handler that sends by OpenAI's SDK."""
_TWINS: Final = {"VertexEmbedding": "async_embedding"}
"""Handlers that lose the client on the way to their own asynchronous method → that method."""
_OF_CHAT: Final = frozenset(
    {
        "messages",
        "model",
        "api_base",
        "api_key",
        "custom_llm_provider",
        "model_response",
        "timeout",
        "litellm_params",
        "acompletion",
    }
)
_OF_EMBEDDINGS: Final = frozenset({"input", "model", "api_base", "api_key", "model_response", "timeout", "aembedding"})


def without_sdk(
    main: Any, function: Function, handler: Handler, arguments: Mapping[str, Any]
) -> tuple[Handler, Mapping[str, Any]]:
    """Return the handler and arguments to use for those that LiteLLM chose; the same if no SDK is behind them.

    `main` is LiteLLM's module with its handlers. Raises ValueError for what only the SDK can send.
    """
    owner = type(getattr(handler, "__self__", None)).__name__
    if (name := _TWINS.get(owner)) is not None:
        twin = getattr(handler.__self__, name)  # type: ignore[attr-defined]  # it is a method of that class
        taken = inspect.signature(twin).parameters
        return twin, {name: value for name, value in arguments.items() if name in taken}
    is_azures = owner in azure.HANDLERS
    if owner != _SDK and not is_azures:
        return handler, arguments
    if function.given == "input":
        embedding = main.openai_like_embedding.embedding
        return azure.embeddings(embedding, arguments) if is_azures else (embedding, _embeddings(arguments))
    return main.base_llm_http_handler.completion, azure.chat(arguments) if is_azures else _chat(arguments)


def _chat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments as LiteLLM makes them itself if EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER is set."""
    litellm = part()
    provider, model, config = arguments["custom_llm_provider"], arguments["model"], None
    with contextlib.suppress(ValueError):  # LiteLLM knows some providers by their address alone
        config = litellm.utils.ProviderConfigManager.get_provider_chat_config(model, litellm.LlmProviders(provider))
    params = {**arguments["optional_params"]}
    organization = arguments.get("organization")
    headers = {
        **({"OpenAI-Organization": organization} if organization else {}),
        **(arguments.get("headers") or {}),
        **(params.pop("extra_headers", None) or {}),
    }
    params.pop("max_retries", None)
    kept = {name: value for name, value in arguments.items() if name in _OF_CHAT}
    return {
        **kept,
        "optional_params": params,
        "headers": headers,
        "provider_config": config or _plain_config(),
        "encoding": None,
        "stream": params.get("stream"),
    }


class _Plain:
    """Writes requests as they are, as LiteLLM does for providers on OpenAI's wire that it has no class for."""

    def transform_request(
        self, model: str, messages: Json, optional_params: Mapping[str, Any], litellm_params: object, headers: object
    ) -> dict[str, Any]:
        """Return the body."""
        return {"model": model, "messages": messages, **optional_params}

    async def async_transform_request(self, *given: Any, **named: Any) -> dict[str, Any]:
        """Return the body."""
        return self.transform_request(*given, **named)


def _plain_config() -> Any:
    return type("_PlainConfig", (_Plain, part().OpenAIGPTConfig), {})()


def _embeddings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the handler that LiteLLM has for servers like OpenAI's."""
    params = {**arguments["optional_params"]}
    params.update(params.pop("extra_body", None) or {})
    kept = {name: value for name, value in arguments.items() if name in _OF_EMBEDDINGS}
    return {**kept, "optional_params": params, "drop_params": True}
