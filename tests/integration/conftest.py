"""One LiteLLMAdapter and two scripted upstreams, on one event loop for each module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from gateway.adapters.litellm.adapter import LiteLLMAdapter
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
