"""LiteLLM takes over a chat that our translation into Gemini's own API does not know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import litellm  # noqa: F401 - imported here, where its warnings are no errors
import pytest

from gateway.adapters.base import Call, NotSupported
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.adapters.translated import TranslatedAdapter
from tests.litellm_calls import QUIET, make_call
from tests.wires.upstream import WireUpstream

pytestmark = [*QUIET]


@pytest.fixture
async def upstream() -> AsyncIterator[WireUpstream]:
    async with WireUpstream(text="found") as server:
        yield server


@pytest.fixture
async def adapter() -> AsyncIterator[TranslatedAdapter]:
    relay, own = RelayAdapter(), LiteLLMAdapter(own_process=True)
    yield TranslatedAdapter({"relay": relay, "litellm": own})
    await relay.close()
    await own.close()


def a_search(upstream: WireUpstream, **params: object) -> Call:
    call = make_call(
        {"web_search_options": {}, **params},
        kind="gemini",
        model="gemini-2.5-flash",
        base_url=upstream.root_url,
        key="k",
    )
    endpoint = replace(call.target.endpoint, adapter="gemini", relay_url=f"{upstream.root_url}/v1beta")
    call.target = replace(call.target, endpoint=endpoint)
    return call


async def test_a_search_of_the_web_goes_through_litellm(adapter: TranslatedAdapter, upstream: WireUpstream) -> None:
    reply = await adapter.complete(a_search(upstream))
    assert reply.data["choices"][0]["message"]["content"] == "found"
    (request,) = upstream.requests
    assert request.path == "/v1beta/models/gemini-2.5-flash:generateContent"
    assert request.body["tools"] == [{"googleSearch": {}}]
    assert request.headers["x-goog-api-key"] == "k"


async def test_so_does_a_stream(adapter: TranslatedAdapter, upstream: WireUpstream) -> None:
    stream = await adapter.stream(a_search(upstream))
    found = ""
    while events := await stream.read():
        for event in events:
            for choice in (event.data or {}).get("choices", ()):
                found += choice["delta"].get("content") or ""
    await stream.aclose()
    assert found == "found"


async def test_what_litellm_does_not_know_either_is_not_supported(
    adapter: TranslatedAdapter, upstream: WireUpstream
) -> None:
    with pytest.raises(NotSupported):
        await adapter.complete(a_search(upstream, store=True))
    assert not upstream.requests
