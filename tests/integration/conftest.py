"""One LiteLLMAdapter and two scripted upstreams, on one event loop for each module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from aiohttp import web

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from tests.litellm_ways import Upstream
from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def adapter() -> AsyncIterator[LiteLLMAdapter]:
    adapter = LiteLLMAdapter(own_process=True)
    await adapter.prepare()
    yield adapter
    await adapter.close()


@pytest_asyncio.fixture(loop_scope="module")
async def anthropic() -> AsyncIterator[ScriptedAnthropic]:
    async with ScriptedAnthropic() as upstream:
        yield upstream


@pytest_asyncio.fixture(loop_scope="module")
async def openai() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI() as upstream:
        yield upstream


@pytest_asyncio.fixture(loop_scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ways() -> AsyncIterator[tuple[LiteLLMAdapter, LiteLLMAdapter]]:
    """Yield an adapter that uses LiteLLM's classes, and one that uses its call functions."""
    both = LiteLLMAdapter(own_process=True), LiteLLMAdapter(own_process=True, by_classes=False)
    for adapter in both:
        await adapter.prepare()
    yield both
    for adapter in both:
        await adapter.close()
