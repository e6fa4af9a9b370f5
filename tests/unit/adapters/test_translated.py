"""Chat on an endpoint that speaks Messages only: put into Messages, relayed, and put back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.adapters.base import Call, NotSupported
from gateway.adapters.events import Stream
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.adapters.translated import TranslatedAdapter
from gateway.operations import OPERATIONS
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.keys import KeySource, Secret
from gateway.policy.target import Endpoint, Limits, Target
from gateway.wire.json import Json, JsonObject
from tests.scripted_anthropic import ScriptedAnthropic
from tests.unit.adapters.anthropic.shapes import CHAT_TOOL, assistant, chat_call, tool, user
from tests.unit.adapters.anthropic.summed import chat_sum

MODEL = "claude-sonnet-4-5"


@pytest.fixture
async def claude() -> AsyncIterator[ScriptedAnthropic]:
    async with ScriptedAnthropic() as server:
        yield server


@pytest.fixture
async def adapter() -> AsyncIterator[TranslatedAdapter]:
    relay = RelayAdapter()
    yield TranslatedAdapter({"relay": relay})
    await relay.close()


def a_chat(claude: ScriptedAnthropic, **params: Json) -> Call:
    """Return a chat call of a target that speaks Messages only."""
    endpoint = Endpoint(
        provider="claude", kind="anthropic", adapter="anthropic", wires=frozenset({"messages"}),
        base_url=f"{claude.base_url}/v1", api_key=KeySource(name="k", value=Secret("sk-claude-key")),
    )  # fmt: skip
    return Call(
        operation=OPERATIONS["chat"],
        target=Target(name=f"claude/{MODEL}", model=MODEL, label=f"claude/{MODEL}", endpoint=endpoint),
        params={"messages": [user()], **params},
        limits=Limits(connect_s=5.0, first_token_s=5.0, idle_s=5.0, total_s=5.0),
    )


async def read_all(stream: Stream, found: list[JsonObject]) -> None:
    """Read a stream to its end, into `found`."""
    try:
        while events := await stream.read():
            found += [one.data for event in events for one in event.singly() if one.data is not None]
    finally:
        await stream.aclose()


async def test_a_plain_answer(adapter: TranslatedAdapter, claude: ScriptedAnthropic) -> None:
    claude.script(MODEL, reply="hello", thinking="hm")
    reply = await adapter.complete(a_chat(claude, temperature=0.5))
    message = reply.data["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("hello", "hm")
    (request,) = claude.requests
    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == "sk-claude-key"
    assert request.body == {
        "model": MODEL,
        "max_tokens": 64_000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "temperature": 0.5,
    }


async def test_a_ping_becomes_a_comment_with_a_name(adapter: TranslatedAdapter, claude: ScriptedAnthropic) -> None:
    """Its name tells the engine that the upstream is at work; the client's connection stays alive as well."""
    stream = await adapter.stream(a_chat(claude))
    found = []
    while events := await stream.read():
        found += [(event.data, event.raw) for event in events if event.name == b"ping"]
    await stream.aclose()
    assert found == [(None, b": ping\n\n")]


async def test_a_stream_with_tools(adapter: TranslatedAdapter, claude: ScriptedAnthropic) -> None:
    called = {"id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
    claude.script(MODEL, reply="I look.", tool_uses=[called])
    history = [user(), assistant(None, tool_calls=[chat_call()]), tool()]
    stream = await adapter.stream(a_chat(claude, tools=[CHAT_TOOL], messages=history))
    chunks: list[JsonObject] = []
    await read_all(stream, chunks)
    found = chat_sum(chunks)
    assert (found["text"].strip(), found["finish"]) == ("I look.", "tool_calls")
    assert found["calls"][0][:2] == ("toolu_1", "weather")
    assert found["usage"]["total_tokens"] == 10
    assert claude.requests[0].body["stream"] is True


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"cut_after": 1}, Kind.BAD_RESPONSE),
        ({"end_after": 1}, Kind.BAD_RESPONSE),
        ({"error_event_after": 1, "error": {"type": "overloaded_error", "message": "Overloaded"}}, Kind.OVERLOADED),
    ],
)
async def test_a_broken_stream_never_looks_whole(
    adapter: TranslatedAdapter, claude: ScriptedAnthropic, fault: dict[str, Any], kind: Kind
) -> None:
    claude.script(MODEL, reply="one two three", **fault)
    stream = await adapter.stream(a_chat(claude))
    found: list[JsonObject] = []
    with pytest.raises(UpstreamError) as raised:
        await read_all(stream, found)
    assert raised.value.kind is kind
    summed = chat_sum(found)
    assert (summed["text"].strip(), summed["finish"]) == ("one", None)


async def test_a_refusal_has_openai_s_envelope(adapter: TranslatedAdapter, claude: ScriptedAnthropic) -> None:
    claude.script(MODEL, status=400, error={"message": "prompt is too long: 9 tokens > 8 maximum"})
    with pytest.raises(UpstreamError) as raised:
        await adapter.complete(a_chat(claude))
    assert raised.value.kind is Kind.CONTEXT_WINDOW
    assert b'"code":"context_length_exceeded"' in (raised.value.body or b"")


async def test_system_messages_alone_are_refused_in_our_words(claude: ScriptedAnthropic) -> None:
    """LiteLLM, which takes over elsewhere, told the client to set one of its own settings."""
    relay, litellm = RelayAdapter(), LiteLLMAdapter(own_process=False)
    adapter = TranslatedAdapter({"relay": relay, "litellm": litellm})
    call = a_chat(claude, messages=[{"role": "system", "content": "Be brief."}])
    for ask in (adapter.complete, adapter.stream):
        with pytest.raises(NotSupported, match="does not support a conversation without a message that says something"):
            await ask(call)
    await relay.close()
    await litellm.close()
