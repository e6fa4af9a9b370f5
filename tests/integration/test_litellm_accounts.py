"""What LiteLLM works out about a call for those who listen: with the real LiteLLM, against a scripted upstream."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import litellm
import pytest

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from tests.litellm_calls import QUIET
from tests.litellm_upstreams import complete, events, make_call, open_stream
from tests.scripted_openai import ScriptedOpenAI
from tests.streaming import data_of

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    *QUIET,
]

PRICED = "gpt-4o"


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[float]:
    """Every price that LiteLLM tells a callback."""
    prices: asyncio.Queue[float] = asyncio.Queue()

    async def listen(kwargs: dict[str, Any], *_: object) -> None:
        prices.put_nowait(kwargs["response_cost"])

    monkeypatch.setattr(litellm, "_async_success_callback", [])
    monkeypatch.setattr(litellm, "success_callback", [listen])
    return prices


async def test_a_callback_hears_of_an_answer_and_its_price(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, heard: asyncio.Queue[float]
) -> None:
    openai.script(PRICED, reply="good day")
    await complete(adapter, make_call(openai, "openai", PRICED))
    async with asyncio.timeout(5):
        assert await heard.get() > 0


async def test_a_callback_hears_of_a_stream_and_its_price(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, heard: asyncio.Queue[float]
) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    body = events((0, "one", None), (0, "", "stop"), usage=usage)
    openai.script(PRICED, body=body, content_type="text/event-stream")
    stream = await open_stream(adapter, make_call(openai, "openai", PRICED, stream_options={"include_usage": True}))
    await data_of(stream)
    async with asyncio.timeout(5):
        assert await heard.get() > 0


@pytest.mark.parametrize("after_gemini", [False, True])
async def test_without_a_listener_no_price_is_added_to_what_the_upstream_said(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, after_gemini: bool
) -> None:
    """LiteLLM makes a cache for itself, which is among its callbacks then, when it imports this for Gemini."""
    if after_gemini:
        importlib.import_module("litellm.llms.vertex_ai.context_caching.vertex_ai_context_caching")
        assert "cache" in litellm.success_callback
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    body = events((0, "one", None), (0, "", "stop"), usage=usage)
    openai.script(PRICED, body=body, content_type="text/event-stream")
    stream = await open_stream(adapter, make_call(openai, "openai", PRICED, stream_options={"include_usage": True}))
    chunks = await data_of(stream)
    assert {name: chunks[-1]["usage"][name] for name in usage} == usage
    assert "cost" not in chunks[-1]["usage"]
