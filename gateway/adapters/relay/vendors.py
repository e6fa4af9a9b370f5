"""What vendors want of a relayed request beside its wire: the header of the key, versions, paths of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from gateway.adapters.base import NotSupported, Operation
from gateway.policy.target import Endpoint
from gateway.policy.wires import REFUSED_BY_VERSION, REFUSING_VERSION
from gateway.wire.json import Json

_BEARER: Final = ("authorization", "Bearer ")
_KEY_HEADERS: Final = {"anthropic": ("x-api-key", ""), "azure": ("api-key", "")}
"""Kind of endpoint → header field of the key, and what stands before the key in it. Others take a bearer."""

ANTHROPIC_VERSION: Final = "2023-06-01"
"""Sent to Anthropic for a client that names no `anthropic-version`: the one that refuses the fewest parameters.

Source: https://platform.claude.com/docs/en/api/versioning
"""

_STEERING: Final = frozenset({".", ".."})
"""As a part of a path these mean folders, however they are spelt."""

_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def key_header(endpoint: Endpoint, key: str) -> tuple[str, str]:
    """Return the header field that carries an endpoint's key, in lower case, and its value."""
    if endpoint.adapter == "gemini":
        return "x-goog-api-key", key  # never in the URL, which others log
    name, scheme = _KEY_HEADERS.get(endpoint.kind, _BEARER)
    return name, f"{scheme}{key}"


def is_sure_to_have(endpoint: Endpoint, operation: Operation) -> bool:
    """Tell whether every endpoint of this kind has a path for an operation."""
    if endpoint.adapter == "gemini":
        return True
    return operation.name == ("messages" if endpoint.kind == "anthropic" else "chat")


def own_path(endpoint: Endpoint, operation: Operation, model: str, *, stream: bool) -> str:
    """Return the path, below the base URL, of an operation of an endpoint with paths of its own.

    Raises NotSupported for a model that would steer the path.
    """
    if endpoint.adapter == "gemini":
        return _gemini_path(model) + ((stream and operation.stream_path) or operation.path)
    return _azure_path(endpoint, operation, model)


@lru_cache(maxsize=1024)
def _gemini_path(model: str) -> str:
    """Return the path of a model of Gemini's API, whose name may say `models/` too.

    Source: https://ai.google.dev/api/models
    """
    name = model.removeprefix("models/")
    if name in _STEERING:
        raise NotSupported(f"has no model {model!r}")
    return f"/models/{quote(name, safe='')}"


def _azure_path(endpoint: Endpoint, operation: Operation, model: str) -> str:
    """Return the path of an operation below an Azure endpoint's base URL, with its `api-version`.

    A dated version has the deployment in the path, but for Responses; the v1 API has it in the body alone.
    Source: https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle
    """
    query = f"api-version={quote(endpoint.api_version or '', safe='')}"
    is_v1 = endpoint.relay_url is not None and endpoint.relay_url.endswith("/v1")
    if is_v1 or operation.wire == "responses":
        return f"{operation.path}?{query}"
    if model in _STEERING:
        raise NotSupported(f"has no deployment {model!r}")
    return f"/deployments/{quote(model, safe='')}{operation.path}?{query}"


def overrides_for(
    endpoint: Endpoint, operation: Operation, headers: Mapping[str, str], overrides: Mapping[str, Json]
) -> Mapping[str, Json]:
    """Return the file's `params` without those that Anthropic refuses at the version that goes with this request.

    `headers` are the request's own. None, which removes the client's parameter, stays.
    """
    if endpoint.kind != "anthropic" or operation.wire != "messages" or REFUSED_BY_VERSION.isdisjoint(overrides):
        return overrides
    version = headers.get("anthropic-version") or endpoint.headers.get("anthropic-version") or ANTHROPIC_VERSION
    if not _VERSION.fullmatch(version) or version < REFUSING_VERSION:
        return overrides
    return {name: value for name, value in overrides.items() if value is None or name not in REFUSED_BY_VERSION}
