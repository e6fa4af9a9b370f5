"""The conventions' names for our operations and providers, and the attributes that spans and metrics share.

Semantic conventions for generative AI 0.1.0 (https://github.com/open-telemetry/semantic-conventions-genai), and for
HTTP 1.45 (https://github.com/open-telemetry/semantic-conventions).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from gateway.policy.target import Endpoint, Target

Attributes: TypeAlias = dict[str, str | int | float | bool | list[str]]

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/gen-ai/0.1.0"
SCOPE: Final = "gateway"

OPERATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "messages": "chat",
        "responses": "chat",
        "completions": "text_completion",
        "images": "image_generation",
        "image_edits": "image_edit",
        "image_variations": "image_variation",
        "transcriptions": "transcription",
        "translations": "translation",
        "stored_responses": "fetch_response",
    }
)
"""Our operations that have another name there. The conventions have no name for most: those are our own."""
INFERENCE: Final = frozenset({"chat", "completions", "messages", "responses"})
"""Operations that the conventions call inference."""

PROVIDERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "azure": "azure.ai.openai",
        "azure_ai": "azure.ai.inference",
        "azure_text": "azure.ai.openai",
        "bedrock": "aws.bedrock",
        "codestral": "mistral_ai",
        "cohere_chat": "cohere",
        "gemini": "gcp.gemini",
        "mistral": "mistral_ai",
        "moonshot": "moonshot_ai",
        "vertex_ai": "gcp.vertex_ai",
        "vertex_ai_beta": "gcp.vertex_ai",
        "watsonx": "ibm.watsonx.ai",
        "watsonx_text": "ibm.watsonx.ai",
        "xai": "x_ai",
    }
)
"""Kinds of providers that have another name there."""
_PORTS: Final = MappingProxyType({"http": 80, "https": 443})


def operation_name(operation: str) -> str:
    """Return the `gen_ai.operation.name` of an operation of ours."""
    return OPERATIONS.get(operation, operation)


def provider_name(endpoint: Endpoint) -> str:
    """Return the `gen_ai.provider.name` of an endpoint: what it speaks, whoever runs it."""
    return PROVIDERS.get(endpoint.kind, endpoint.kind or endpoint.provider)


@lru_cache(maxsize=1024)
def server_of(url: str | None) -> tuple[str, int] | None:
    """Return host and port of an address; None without one."""
    try:
        parts = urlsplit(url or "")
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return None if parts.hostname is None or port is None else (parts.hostname, port)


def target_attributes(target: Target) -> Attributes:
    """Return the attributes of a target: provider and server."""
    endpoint = target.endpoint
    found: Attributes = {"gen_ai.provider.name": provider_name(endpoint)}
    server = server_of(endpoint.relay_url or endpoint.base_url)
    if server is not None:
        found["server.address"], found["server.port"] = server
    return found
