"""What OpenAI's SDK would send is written by handlers of LiteLLM's own; other handlers stay as they are."""

from __future__ import annotations

from typing import Any

import litellm  # noqa: F401 - here, so that no test waits for it
import pytest

from gateway.adapters.litellm.sdks import without_sdk
from gateway.adapters.litellm.translate import FUNCTIONS
from gateway.wire.json import JsonObject
from tests.litellm_calls import QUIET

pytestmark = [*QUIET]

CHAT, EMBEDDINGS = FUNCTIONS["chat"], FUNCTIONS["embeddings"]


class OpenAIChatCompletion:
    """Stands for LiteLLM's handler of that name."""

    def completion(self) -> None:
        raise AssertionError("the SDK is not used")

    embedding = completion


class VertexEmbedding:
    """Stands for a handler that loses the client on the way to its own asynchronous method."""

    def embedding(self, **_: Any) -> None:
        raise AssertionError("the client is lost here")

    async def async_embedding(self, model: str, client: object) -> tuple[str, object]:
        return model, client


class Main:
    """Stands for LiteLLM's module with its handlers."""

    class openai_like_embedding:  # noqa: N801 - LiteLLM's name
        embedding = print

    class base_llm_http_handler:  # noqa: N801 - LiteLLM's name
        completion = repr


def test_another_handler_stays_as_it_is() -> None:
    arguments: JsonObject = {"model": "m"}
    assert without_sdk(Main, CHAT, len, arguments) == (len, arguments)


@pytest.mark.parametrize("provider", ["mistral", "xinference", "no provider of LiteLLM's list"])
def test_chat_is_written_by_the_providers_class_or_as_it_is(provider: str) -> None:
    given: JsonObject = {
        "custom_llm_provider": provider, "model": "m", "api_base": "u", "api_key": "k", "messages": [], "client": None,
        "organization": "o", "headers": {"a": "1"},
        "optional_params": {"max_retries": 0, "extra_headers": {"b": "2"}, "seed": 1, "stream": True},
    }  # fmt: skip
    handler, made = without_sdk(Main, CHAT, OpenAIChatCompletion().completion, given)
    assert handler is repr
    assert made["headers"] == {"OpenAI-Organization": "o", "a": "1", "b": "2"}
    assert (made["optional_params"], made["stream"]) == ({"seed": 1, "stream": True}, True)
    assert "client" not in made
    body = made["provider_config"].transform_request("m", [], {"seed": 1}, {}, {})
    assert body == {"model": "m", "messages": [], "seed": 1}


def test_embeddings_are_written_for_servers_like_openais() -> None:
    given: JsonObject = {
        "model": "m", "api_base": "u", "api_key": "k", "input": ["a"], "max_retries": 2, "shared_session": None,
        "optional_params": {"dimensions": 3, "extra_body": {"truncate": "END"}},
    }  # fmt: skip
    handler, made = without_sdk(Main, EMBEDDINGS, OpenAIChatCompletion().embedding, given)
    assert handler is print
    assert made["optional_params"] == {"dimensions": 3, "truncate": "END"}
    assert not {"max_retries", "shared_session"} & made.keys()


async def test_a_handler_that_loses_the_client_is_passed_by() -> None:
    handler, made = without_sdk(Main, EMBEDDINGS, VertexEmbedding().embedding, {"model": "m", "print_verbose": print})
    assert made == {"model": "m"}
    assert await handler(**made, client="ours") == ("m", "ours")
