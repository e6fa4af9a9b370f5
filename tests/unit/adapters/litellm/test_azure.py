"""What is sent to Azure's deployments without Azure's SDK: URL, key and parameters."""

from __future__ import annotations

from typing import Any

import litellm  # noqa: F401 - here, so that no test waits for it
import pytest

from gateway.adapters.litellm import azure
from gateway.adapters.litellm.translate import NO_KEY
from gateway.wire.json import JsonObject
from tests.litellm_calls import QUIET

pytestmark = [*QUIET]

GIVEN: JsonObject = {
    "model": "deployed", "api_base": "https://eu.example.com/", "api_version": "2024-10-21", "api_key": "k",
    "optional_params": {"temperature": 0, "max_retries": 0, "extra_headers": {"x-team": "blue"}}, "litellm_params": {},
}  # fmt: skip


def asked(**kwargs: Any) -> dict[str, Any]:
    return kwargs


def test_a_chat_goes_to_its_deployment_with_the_key() -> None:
    made = azure.chat({**GIVEN, "messages": []})
    config = made["provider_config"]
    assert config.get_complete_url() == (
        "https://eu.example.com/openai/deployments/deployed/chat/completions?api-version=2024-10-21"
    )
    assert (made["optional_params"], made["headers"]) == ({"temperature": 0}, {"x-team": "blue"})
    headers = config.validate_environment(made["headers"], "deployed", [], {}, {}, api_key=made["api_key"])
    assert headers == {"api-key": "k", "x-team": "blue"}


def test_embeddings_go_to_their_deployment_with_the_key() -> None:
    handler, made = azure.embeddings(asked, {**GIVEN, "input": ["a"], "model": "a b/c"})
    sent = handler(**made)
    assert sent["api_base"] == "https://eu.example.com/openai/deployments/a%20b%2Fc/embeddings?api-version=2024-10-21"
    assert (sent["headers"], sent["api_key"]) == ({"api-key": "k", "x-team": "blue"}, None)
    assert sent["optional_params"] == {"temperature": 0}


@pytest.mark.parametrize(
    "odd",
    [
        {"api_version": "v1"},
        {"api_version": "preview"},
        {"api_version": None},
        {"api_base": None},
        {"api_base": "https://eu.example.com/openai/deployments/x"},
        {"api_base": "https://eu.example.com/?api-version=1"},
        {"api_base": "https://gateway.ai.cloudflare.com/v1/a/b/azure-openai/c"},
        {"optional_params": {"json_mode": True}},
    ],
)
def test_what_only_the_sdk_can_send_is_left_to_it(odd: JsonObject) -> None:
    with pytest.raises(ValueError, match=r".+"):
        azure.chat({**GIVEN, "messages": [], **odd})


@pytest.mark.parametrize(
    ("key", "account", "shown"),
    [
        ("k", {"tenant_id": "t"}, "k"),
        (NO_KEY, {}, NO_KEY),
        (NO_KEY, {"client_id": "c"}, NO_KEY),
        (NO_KEY, {"tenant_id": "t"}, None),
    ],
)
def test_a_token_is_fetched_only_for_an_account_of_the_file_without_a_key(
    key: str, account: JsonObject, shown: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "s")
    handler, made = azure.embeddings(asked, {**GIVEN, "input": "a", "api_key": key, "litellm_params": account})
    assert made["api_key"] == shown
    if shown is not None:
        assert handler(**made)["headers"]["api-key"] == shown
        return
    with pytest.raises(azure.CannotSignIn, match="cannot sign in"):
        handler(**made)


@pytest.mark.parametrize("model", ["gpt-4o", "o3-mini", "gpt-5.2"])
def test_the_body_is_what_litellms_class_for_the_model_writes(model: str) -> None:
    config = azure.chat({**GIVEN, "messages": [], "model": model})["provider_config"]
    body = config.transform_request(
        model=model, messages=[{"role": "user", "content": "hi"}], optional_params={}, litellm_params={}, headers={}
    )
    assert body == {"model": model, "messages": [{"role": "user", "content": "hi"}]}
