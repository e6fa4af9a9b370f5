"""What `/v1/models` says of an alias: the weakest of its chain, by LiteLLM's data."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest

from gateway.config.model_data import load
from tests.litellm_data import model_data_file
from tests.server.conftest import RunningGateway, Start

ROUTES = """\
version: 1
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
models:
  large: openai/gpt-5
  small: {chain: [openai/gpt-3.5-turbo]}
  mixed: [openai/gpt-5, openai/o3, openai/gpt-4o]
  nested: [openai/gpt-5, {alias: small}]
  vectors: openai/text-embedding-3-small
  partly: [openai/gpt-5, up/gpt-5]
  never-heard-of: openai/gpt-99
  played: mock/echo
  "open/*": "openai/*"
  "both/*": ["openai/*", openai/gpt-3.5-turbo]
"""


@pytest.fixture
async def gateway(start: Start) -> RunningGateway:
    started: RunningGateway = await start(ROUTES)
    return started


def litellms(name: str) -> dict[str, Any]:
    """Return LiteLLM's entry of a model."""
    entry: dict[str, Any] = json.loads(model_data_file().read_text(encoding="utf-8"))[name]
    return entry


def least(key: str, *names: str) -> int:
    return min(int(litellms(name)[key]) for name in names)


def of_chat(context: int, output: int, inputs: list[str], parameters: list[str]) -> dict[str, Any]:
    return {
        "context_length": context,
        "max_model_len": context,
        "max_output_tokens": output,
        "top_provider": {"context_length": context, "max_completion_tokens": output},
        "architecture": {"input_modalities": inputs},
        "supported_parameters": parameters,
    }


def said(card: dict[str, Any]) -> dict[str, Any]:
    """Return an entry without what every model has."""
    return {key: value for key, value in card.items() if key not in {"id", "object", "created", "owned_by"}}


async def test_an_alias_has_the_abilities_that_its_whole_chain_has(gateway: RunningGateway) -> None:
    cards = {card["id"]: said(card) for card in (await gateway.get("/v1/models")).json["data"]}
    context, output = "max_input_tokens", "max_output_tokens"
    assert list(cards) == [
        "large", "small", "mixed", "nested", "vectors", "partly", "never-heard-of", "played",
    ]  # fmt: skip
    sees = ["text", "image", "file"]
    assert cards["large"] == of_chat(least(context, "gpt-5"), least(output, "gpt-5"), sees, ["tools", "reasoning"])
    small = of_chat(least(context, "gpt-3.5-turbo"), least(output, "gpt-3.5-turbo"), ["text"], ["tools"])
    assert cards["small"] == cards["nested"] == small
    three = "gpt-5", "o3", "gpt-4o"
    assert cards["mixed"] == of_chat(least(context, *three), least(output, *three), sees, ["tools"])


async def test_what_is_unknown_of_one_target_is_not_said(gateway: RunningGateway) -> None:
    cards = {card["id"]: said(card) for card in (await gateway.get("/v1/models")).json["data"]}
    assert [cards[name] for name in ("partly", "never-heard-of", "played")] == [{}, {}, {}]
    length = least("max_input_tokens", "text-embedding-3-small")
    assert cards["vectors"] == {
        "context_length": length, "max_model_len": length, "top_provider": {"context_length": length},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "weakest"), [("open/gpt-5", "gpt-5"), ("both/gpt-5", "gpt-3.5-turbo"), ("open/gpt-99", None)]
)
async def test_a_name_that_a_wildcard_takes_has_the_model_s_abilities(
    gateway: RunningGateway, name: str, weakest: str | None
) -> None:
    card = (await gateway.get(f"/v1/models/{name}")).json
    assert (card["id"], card["owned_by"]) == (name, "openai")
    assert card.get("context_length") == (weakest and litellms(weakest)["max_input_tokens"])


async def test_a_new_table_brings_new_values(gateway: RunningGateway) -> None:
    async def length() -> tuple[int, int]:
        listed = {card["id"]: card for card in (await gateway.get("/v1/models")).json["data"]}
        return listed["large"]["context_length"], (await gateway.get("/v1/models/large")).json["context_length"]

    assert await length() == (least("max_input_tokens", "gpt-5"),) * 2
    gateway.config.write_text("version: 1\nmodels: {large: openai/gpt-4o}\n")
    assert (await gateway.request("POST", "/-/reload")).status == 200
    assert await length() == (least("max_input_tokens", "gpt-4o"),) * 2


async def test_the_data_is_read_once_and_only_when_a_chain_needs_it(start: Start) -> None:
    load.cache_clear()
    gateway = await start(ROUTES.replace("large: openai/gpt-5", "large: mock/echo"))
    for path in ("/readyz", "/v1/models/played", "/v1/models/partly", "/v1/models/large"):
        assert (await gateway.get(path)).status == 200
    assert load.cache_info().currsize == 0
    paths = ("/v1/models", "/v1/models/small", "/v1/models/mixed", "/v1/models")
    assert {answer.status for answer in await asyncio.gather(*map(gateway.get, paths))} == {200}
    assert load.cache_info().misses == 1


async def test_the_official_client_keeps_the_fields(gateway: RunningGateway) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as client:
        models = {model.id: model async for model in client.models.list()}
        one = await client.models.retrieve("open/gpt-4o")
    assert models["small"].to_dict()["supported_parameters"] == ["tools"]
    assert one.to_dict()["architecture"] == {"input_modalities": ["text", "image", "file"]}
