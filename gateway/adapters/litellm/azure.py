"""Sends to Azure's deployments without Azure's SDK, which LiteLLM leaves their URLs and headers to.

LiteLLM's classes write the request's body and read the answer, which are OpenAI's. `kind: azure` is relayed unless the
file says `adapter: litellm`, to sign in with Microsoft Entra.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from gateway.adapters.base import NotSupported
from gateway.adapters.litellm.parts import part
from gateway.adapters.litellm.translate import NO_KEY

Handler = Callable[..., Any]

HANDLERS: Final = frozenset({"AzureChatCompletion", "AzureOpenAIO1ChatCompletion"})
"""LiteLLM's handlers that send by Azure's SDK."""

_PACKAGE: Final = "azure-identity"
_DATED: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:-preview)?")
_VARIABLE: Final = "AZURE_CLIENT_SECRET"
"""The environment's variable with the account's secret, which `params` may not have."""
_OF_CHAT: Final = frozenset(
    {"messages", "model", "model_response", "timeout", "litellm_params", "acompletion", "optional_params"}
)
_OF_EMBEDDINGS: Final = frozenset({"input", "model", "model_response", "timeout", "aembedding"})


class CannotSignIn(NotSupported):
    """There is neither a key nor a token of Entra's. Nothing was sent."""


def chat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of LiteLLM's own HTTP handler. Raises ValueError for what only the SDK can send."""
    params, headers = _split(arguments)
    if params.get("json_mode"):
        raise ValueError("an answer that LiteLLM makes JSON of")
    config = _config_class()(arguments, _url(arguments, "chat/completions"))
    kept = {name: value for name, value in arguments.items() if name in _OF_CHAT}
    return {
        **kept,
        "api_base": config.url,
        "api_key": _key(arguments),
        "custom_llm_provider": "azure",
        "optional_params": params,
        "headers": headers,
        "provider_config": config,
        "encoding": None,
        "stream": params.get("stream"),
    }


def embeddings(handler: Handler, arguments: Mapping[str, Any]) -> tuple[Handler, dict[str, Any]]:
    """Return LiteLLM's handler for servers like OpenAI's, with Azure's key, and its arguments. Raises likewise."""
    params, headers = _split(arguments)
    params.update(params.pop("extra_body", None) or {})
    given = arguments.get("litellm_params") or {}

    def embedding(**kwargs: Any) -> Any:
        key = _key_header(kwargs["api_key"], given)
        return handler(**{**kwargs, "api_key": None, "headers": {**key, **headers}})

    kept = {name: value for name, value in arguments.items() if name in _OF_EMBEDDINGS}
    url = _url(arguments, "embeddings")
    more = {"api_base": url, "api_key": _key(arguments), "custom_endpoint": True, "drop_params": True}
    return embedding, {**kept, **more, "optional_params": params}


def _split(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters of the body, and the headers that the file names."""
    params = {**arguments["optional_params"]}
    headers = {**(arguments.get("headers") or {}), **(params.pop("extra_headers", None) or {})}
    params.pop("max_retries", None)
    return params, headers


def _key(arguments: Mapping[str, Any]) -> str | None:
    """Return the key; None if a token of Entra's has to be fetched: the file names an account and no key."""
    key, params = arguments.get("api_key"), arguments.get("litellm_params") or {}
    return None if key in (None, NO_KEY) and params.get("tenant_id") else key


def _key_header(key: str | None, params: Mapping[str, Any]) -> dict[str, str]:
    """Return the header with the key, else with a token, which LiteLLM keeps while it is valid. May block."""
    if key is not None:
        return {"api-key": key}
    if not (params.get("client_id") and (params.get("client_secret") or os.environ.get(_VARIABLE))):
        raise CannotSignIn(
            f"cannot sign in: beside `tenant_id` it needs `client_id`, and {_VARIABLE} in the environment"
        )
    given = part("types.router").GenericLiteLLMParams(**params)
    try:
        token = part("llms.azure.common_utils").get_azure_ad_token(given)
    except ImportError as error:
        raise CannotSignIn(f"needs the package {_PACKAGE} to sign in, which is not installed here") from error
    return {"Authorization": f"Bearer {token}"}


def _url(arguments: Mapping[str, Any], path: str) -> str:
    """Return the URL that Azure's SDK would make: of a deployment, in a version of the API with a date."""
    base, version = arguments["api_base"], arguments["api_version"]
    if not isinstance(base, str) or "?" in base or "/openai" in base or "gateway.ai.cloudflare.com" in base:
        raise ValueError("an address that the SDK reads in its own way")
    if not isinstance(version, str) or not _DATED.fullmatch(version):
        raise ValueError("no API of deployments")
    model = quote(arguments["model"], safe="")
    return f"{base.rstrip('/')}/openai/deployments/{model}/{path}?api-version={version}"


@functools.cache
def _config_class() -> type[Any]:
    return type("_AzureConfig", (_Azure, part().OpenAIGPTConfig), {})


class _Azure:
    """Writes requests for one deployment."""

    def __init__(self, arguments: Mapping[str, Any], url: str) -> None:
        litellm = part()
        self.url = url
        model = (arguments.get("litellm_params") or {}).get("base_model") or arguments["model"]
        if litellm.AzureOpenAIO1Config().is_o_series_model(model):
            self._writer = litellm.AzureOpenAIO1Config()
        elif litellm.AzureOpenAIGPT5Config.is_model_gpt_5_model(model=model):
            self._writer = litellm.AzureOpenAIGPT5Config()
        else:
            self._writer = litellm.AzureOpenAIConfig()

    def validate_environment(
        self,
        headers: dict[str, Any],
        model: str,
        messages: object,
        optional_params: object,
        litellm_params: Mapping[str, Any],
        api_key: str | None = None,
        api_base: object = None,
    ) -> dict[str, Any]:
        """Return the headers with the key, or with a token."""
        return {**_key_header(api_key, litellm_params), **headers}

    def get_complete_url(self, *_: object, **__: object) -> str:
        """Return the deployment's URL."""
        return self.url

    def should_fake_stream(self, *given: Any, **named: Any) -> Any:
        """Tell whether the model has no streams."""
        return self._writer.should_fake_stream(*given, **named)

    def transform_request(self, **given: Any) -> Any:
        """Return the body as LiteLLM's class for Azure writes it."""
        return self._writer.transform_request(**given)

    async def async_transform_request(self, **given: Any) -> Any:
        """Return the same."""
        return self._writer.transform_request(**given)
