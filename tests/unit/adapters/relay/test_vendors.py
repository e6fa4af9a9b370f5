"""What vendors want beside the wire: the key's header, paths of their own, and params that a version refuses."""

from __future__ import annotations

import pytest

from gateway.adapters.base import NotSupported
from gateway.adapters.relay.vendors import is_sure_to_have, key_header, overrides_for, own_path
from gateway.operations import OPERATIONS
from gateway.operations.generate import GenerateContent
from gateway.policy.target import Endpoint
from gateway.wire.json import JsonObject
from tests.compiling import endpoint

AZURE = "eu: {kind: azure, api_key: k, base_url: 'https://eu.example.com', api_version: '2024-10-21'}"
CLAUDE = "claude: {kind: anthropic, api_key: k, base_url: 'https://claude.example.com'}"


def azure(version: str = "2024-10-21") -> Endpoint:
    return endpoint(AZURE.replace("2024-10-21", version), "eu/gpt")


def test_the_key_goes_into_the_vendor_s_header() -> None:
    assert key_header(azure(), "k") == ("api-key", "k")
    assert key_header(endpoint(CLAUDE, "claude/x"), "k") == ("x-api-key", "k")
    assert key_header(endpoint("", "openrouter/x"), "k") == ("authorization", "Bearer k")
    assert key_header(endpoint("", "gemini/x"), "k") == ("x-goog-api-key", "k")
    assert key_header(endpoint("gemini: {wires: [chat]}", "gemini/x"), "k") == ("authorization", "Bearer k")


@pytest.mark.parametrize(
    ("operation", "version", "model", "path"),
    [
        ("chat", "2024-10-21", "gpt", "/deployments/gpt/chat/completions?api-version=2024-10-21"),
        ("embeddings", "2024-10-21", "a/b?c", "/deployments/a%2Fb%3Fc/embeddings?api-version=2024-10-21"),
        ("responses", "2025-03-01-preview", "gpt", "/responses?api-version=2025-03-01-preview"),
        ("chat", "preview", "gpt", "/chat/completions?api-version=preview"),
    ],
)
def test_azure_s_paths(operation: str, version: str, model: str, path: str) -> None:
    assert own_path(azure(version), OPERATIONS[operation], model, stream=True) == path


@pytest.mark.parametrize("model", [".", ".."])
def test_a_deployment_does_not_steer_the_path(model: str) -> None:
    with pytest.raises(NotSupported, match="has no deployment"):
        own_path(azure(), OPERATIONS["chat"], model, stream=False)


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-3-pro", False, "/models/gemini-3-pro:generateContent"),
        ("gemini-3-pro", True, "/models/gemini-3-pro:streamGenerateContent?alt=sse"),
        ("models/gemini-3-pro", False, "/models/gemini-3-pro:generateContent"),
        ("tunedModels/mine-1", False, "/models/tunedModels%2Fmine-1:generateContent"),
        ("a/b?c#d:e", False, "/models/a%2Fb%3Fc%23d%3Ae:generateContent"),
        ("models/a/../b", False, "/models/a%2F..%2Fb:generateContent"),
    ],
)
def test_gemini_s_paths(model: str, stream: bool, path: str) -> None:
    assert own_path(endpoint("", "gemini/x"), GenerateContent(), model, stream=stream) == path


@pytest.mark.parametrize("model", [".", "..", "models/..", "models/."])
def test_a_model_of_gemini_does_not_steer_the_path(model: str) -> None:
    with pytest.raises(NotSupported, match="has no model"):
        own_path(endpoint("", "gemini/x"), GenerateContent(), model, stream=False)


def test_every_endpoint_of_a_kind_has_its_main_operation() -> None:
    assert is_sure_to_have(endpoint(CLAUDE, "claude/x"), OPERATIONS["messages"])
    assert not is_sure_to_have(endpoint(CLAUDE, "claude/x"), OPERATIONS["chat"])
    assert is_sure_to_have(azure(), OPERATIONS["chat"])
    assert is_sure_to_have(endpoint("", "gemini/x"), GenerateContent())


@pytest.mark.parametrize(
    ("entry", "operation", "headers", "left"),
    [
        (CLAUDE, "messages", {"anthropic-version": "2026-10-21"}, {"top_p": None, "max_tokens": 7}),
        (CLAUDE, "messages", {}, {"temperature": 0, "top_p": None, "max_tokens": 7}),
        (CLAUDE.replace("api_key", "headers: {anthropic-version: '2027-01-01'}, api_key"), "messages", {},
         {"top_p": None, "max_tokens": 7}),
        ("claude: {kind: vllm, base_url: 'http://h/v1'}", "messages", {"anthropic-version": "2026-10-21"},
         {"temperature": 0, "top_p": None, "max_tokens": 7}),
    ],
)  # fmt: skip
def test_what_a_version_refuses_is_left_out(
    entry: str, operation: str, headers: dict[str, str], left: JsonObject
) -> None:
    given = {"temperature": 0, "top_p": None, "max_tokens": 7}
    assert overrides_for(endpoint(entry, "claude/x"), OPERATIONS[operation], headers, given) == left
