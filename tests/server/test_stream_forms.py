"""Streams of upstreams that do as they like: each one that SDKs read arrives whole, and nothing else looks whole."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.litellm_calls import QUIET
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, ROUTES, Answer, RunningGateway, Start
from tests.stream_forms import FORMS, TOOL_CALL, USAGE, Form, plain

pytestmark = [*QUIET]

RELAY = "kind: openai,"
LITELLM = "kind: openai, adapter: litellm,"
WAYS = [RELAY, LITELLM, "kind: hosted_vllm,"]


def chunks_of(answer: Answer) -> list[dict[str, Any]]:
    return [event for event in answer.events if event != "[DONE]"]


def text_of(answer: Answer) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks_of(answer) for choice in chunk["choices"])


def usages_of(answer: Answer) -> list[dict[str, int]]:
    """Return the token counts that the client was told, without LiteLLM's additions."""
    usages = [usage for chunk in chunks_of(answer) if (usage := chunk.get("usage"))]
    return [{name: usage[name] for name in USAGE} for usage in usages]


async def assert_refused_or_broken(gateway: RunningGateway, form: Form) -> None:
    """Ask for a stream; see that it ends in an error, in its status or in its last event."""
    body = {"model": "fast", "messages": HELLO, "stream": True, **form.params}
    async with gateway.session.post(gateway.url + "/v1/chat/completions", json=body) as response:
        if response.status != 200:
            assert response.status == 502
            return
        said = b""
        try:
            async for part in response.content.iter_any():
                said += part
        except aiohttp.ClientPayloadError:
            pass
        else:
            pytest.fail("the response looks whole")
    assert b'{"error":' in said
    assert b"[DONE]" not in said


@pytest.mark.parametrize(
    ("way", "split_bytes"),
    [
        *((way, None) for way in WAYS),
        *((way, 1) for way in WAYS if way != LITELLM),
        pytest.param(LITELLM, 1, marks=pytest.mark.slow),  # LiteLLM splits lines alike for every kind
    ],
)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
async def test_a_stream_in_any_form_is_read_for_what_it_is(
    start: Start, upstream: ScriptedOpenAI, form: Form, way: str, split_bytes: int | None
) -> None:
    gateway = await start(ROUTES.replace(RELAY, way))
    upstream.script("a", **form.outcome, split_bytes=split_bytes)
    if not form.whole:
        await assert_refused_or_broken(gateway, form)
        return
    answer = await gateway.chat("fast", stream=True, **form.params)
    assert (answer.status, text_of(answer)) == (200, "one two")
    assert usages_of(answer) == [USAGE]
    assert answer.events[-2]["choices"] == []
    assert answer.events[-1] == "[DONE]"
    assert answer.body.startswith((b"data:", b":", b"event:", b"\n"))


@pytest.mark.parametrize("way", WAYS)
async def test_a_plain_tool_call_is_a_stream(start: Start, upstream: ScriptedOpenAI, way: str) -> None:
    gateway = await start(ROUTES.replace(RELAY, way))
    body = plain("tool_calls", content=None, tool_calls=[TOOL_CALL])
    upstream.script("a", body=body, content_type="application/json")
    answer = await gateway.chat("fast", stream=True)
    deltas = [choice["delta"] for chunk in chunks_of(answer) for choice in chunk["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    assert [(call["index"], call["id"], call["function"]) for call in calls] == [(0, "call_1", TOOL_CALL["function"])]
    assert {chunk["object"] for chunk in chunks_of(answer)} == {"chat.completion.chunk"}
    assert answer.events[-1] == "[DONE]"


async def test_usage_in_each_event_comes_to_whom_it_was_asked_for(start: Start, upstream: ScriptedOpenAI) -> None:
    (form,) = (form for form in FORMS if form.name == "usage-in-each")
    upstream.script("a", **form.outcome)
    gateway = await start(ROUTES)
    options = {"include_usage": True, "continuous_usage_stats": True}
    answer = await gateway.chat("fast", stream=True, stream_options=options)
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks_of(answer)] == [10, 20, 20]
