"""Streams of upstreams that do as they like: each one that SDKs read arrives whole, and nothing else looks whole."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, Answer, RunningGateway
from tests.stream_forms import FORMS, TOOL_CALL, USAGE, Form, plain


def chunks_of(answer: Answer) -> list[dict[str, Any]]:
    return [event for event in answer.events if event != "[DONE]"]


def text_of(answer: Answer) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks_of(answer) for choice in chunk["choices"])


async def refused_or_broken(gateway: RunningGateway, form: Form) -> None:
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


@pytest.mark.parametrize("split_bytes", [None, 1])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
async def test_a_stream_in_any_form_is_read_for_what_it_is(
    gateway: RunningGateway, upstream: ScriptedOpenAI, form: Form, split_bytes: int | None
) -> None:
    upstream.script("a", **form.outcome, split_bytes=split_bytes)
    if not form.whole:
        await refused_or_broken(gateway, form)
        return
    answer = await gateway.chat("fast", stream=True, **form.params)
    assert (answer.status, text_of(answer)) == (200, "one two")
    assert [chunk["usage"] for chunk in chunks_of(answer) if chunk.get("usage")] == [USAGE]
    assert answer.events[-2]["choices"] == []
    assert answer.events[-1] == "[DONE]"
    assert answer.body.startswith((b"data:", b":", b"event:", b"\n"))


async def test_a_plain_tool_call_is_a_stream_of_one(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    body = plain("tool_calls", content=None, tool_calls=[TOOL_CALL])
    upstream.script("a", body=body, content_type="application/json")
    answer = await gateway.chat("fast", stream=True)
    (chunk,) = chunks_of(answer)
    assert chunk["object"] == "chat.completion.chunk"
    assert chunk["choices"][0]["delta"]["tool_calls"] == [{"index": 0, **TOOL_CALL}]
    assert answer.events[-1] == "[DONE]"
