"""An imported model of the Responses API through LiteLLM's library: chat in, `/responses` upstream, chat out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

import litellm  # noqa: F401  # its warnings would be errors in the thread that loads it
import pytest

from gateway.adapters.base import Call
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.config.compiler.compiler import Compiler
from gateway.importers.litellm.convert import convert
from gateway.wire.json import JsonObject
from tests.litellm_calls import QUIET
from tests.litellm_upstreams import complete, make_call, open_stream, text_of
from tests.raw_http import Server, answering, serving
from tests.streaming import data_of

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    *QUIET,
]

CONFIG: Final = """\
model_list:
- {model_name: deep, litellm_params: {model: openai/responses/gpt-4o, api_base: 'BASE_URL', api_key: os.environ/KEY}}
"""
MESSAGE: Final[JsonObject] = {
    "type": "message",
    "id": "msg_1",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "hi there", "annotations": []}],
}
ANSWER: Final[JsonObject] = {
    "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-4o",
    "output": [MESSAGE],
    "usage": {
        "input_tokens": 3, "output_tokens": 2, "total_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
    },
    "parallel_tool_calls": True, "tools": [], "tool_choice": "auto", "error": None, "incomplete_details": None,
    "instructions": None, "metadata": {}, "temperature": 1, "top_p": 1,
}  # fmt: skip


def imported(server: Server) -> Call:
    """Return a call of the target that the import makes of CONFIG."""
    found = convert(CONFIG.replace("BASE_URL", f"http://127.0.0.1:{server.port}/v1").encode(), source="config.yaml")
    assert found.routes is not None
    table = Compiler(environ={"KEY": "sk-test"}).compile(found.routes.encode(), source="routes.yaml").table
    assert table is not None
    return replace(make_call(f"http://127.0.0.1:{server.port}/v1", "openai", "m"), target=table.targets[0])


def response(content_type: str, body: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return (head + body).encode()


async def test_an_imported_model_of_the_responses_api_answers_chat(adapter: LiteLLMAdapter) -> None:
    async with serving(answering(response("application/json", json.dumps(ANSWER)))) as server:
        reply = await complete(adapter, imported(server))
    assert reply.data["choices"][0]["message"]["content"] == "hi there"
    assert reply.data["choices"][0]["finish_reason"] == "stop"
    assert reply.data["usage"]["total_tokens"] == 5
    [request] = server.requests
    assert request.startswith(b"POST /v1/responses ")
    assert b'"model":"gpt-4o"' in request.replace(b" ", b"")


async def test_its_stream_ends_whole(adapter: LiteLLMAdapter) -> None:
    part = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[JsonObject] = [
        {"type": "response.created", "response": {**ANSWER, "status": "in_progress", "output": []}},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**MESSAGE, "status": "in_progress", "content": []},
        },
        {"type": "response.output_text.delta", **part, "delta": "hi "},
        {"type": "response.output_text.delta", **part, "delta": "there"},
        {"type": "response.completed", "response": ANSWER},
    ]
    body = "".join(
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n"
        for number, event in enumerate(events)
    )
    async with serving(answering(response("text/event-stream", body))) as server:
        chunks = await data_of(await open_stream(adapter, imported(server)))
    assert text_of(chunks) == "hi there"
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]][-1] == "stop"
