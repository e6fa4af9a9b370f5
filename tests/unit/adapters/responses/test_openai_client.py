"""OpenAI's own client reads what is made of chat answers, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from openai import AsyncOpenAI
from pydantic import BaseModel

from gateway.adapters.responses import Events, answer, request
from gateway.wire import sse
from gateway.wire.json import JsonObject, encode_json
from tests.unit.adapters.responses.checked import call, chunk, usage_chunk


class Weather(BaseModel):
    """Get the weather of a town."""

    town: str


class Served:
    """A server that answers Responses requests from one chat answer, and keeps the chat bodies."""

    def __init__(self) -> None:
        self.chunks: Sequence[JsonObject] = ()
        self.reply: JsonObject = {}
        self.bodies: list[JsonObject] = []

    async def handle(self, received: web.Request) -> web.Response:
        params = await received.json()
        body, asked = request(params, stream=bool(params.get("stream")))
        self.bodies.append(body)
        if not params.get("stream"):
            return web.json_response(answer(self.reply, asked, serial="s", now=1700000000))
        events = Events(asked, serial="s", now=1700000000)
        told = [event for data in self.chunks for event in events.feed(data)] + events.end(now=1700000001)
        whole = b"".join(sse.encode(encode_json(event), name=event["type"].encode()) for event in told)
        return web.Response(body=whole, content_type="text/event-stream")


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
async def client(served: Served) -> AsyncIterator[AsyncOpenAI]:
    app = web.Application()
    app.router.add_post("/v1/responses", served.handle)
    async with (
        TestServer(app) as server,
        AsyncOpenAI(base_url=str(server.make_url("/v1")), api_key="none", max_retries=0) as made,
    ):
        yield made


async def test_a_stream_of_text(client: AsyncOpenAI, served: Served) -> None:
    served.chunks = [chunk(reasoning_content="hm"), chunk("Hel"), chunk("lo"), chunk(finish="stop"), usage_chunk()]
    async with client.responses.stream(model="m", input="hi") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        response = await stream.get_final_response()
    assert (deltas, response.output_text, response.status) == (["Hel", "lo"], "Hello", "completed")
    assert response.usage is not None
    assert response.usage.total_tokens == 12


async def test_parsed_output_and_parsed_calls(client: AsyncOpenAI, served: Served) -> None:
    served.chunks = [chunk('{"town":'), chunk(' "Bern"}'), chunk(finish="stop")]
    async with client.responses.stream(model="m", input="hi", text_format=Weather) as stream:
        response = await stream.get_final_response()
    assert response.output_parsed == Weather(town="Bern")
    assert served.bodies[0]["response_format"]["json_schema"]["name"] == "Weather"

    function: Any = openai.pydantic_function_tool(Weather)["function"]
    tool: Any = {"type": "function", **function}
    served.chunks = [
        chunk(tool_calls=[call(0, '{"town":', id="call_a", name="Weather")]),
        chunk(tool_calls=[call(1, "{}", id="call_b", name="other"), call(0, ' "Bern"}')]),
        chunk(finish="tool_calls"),
    ]
    async with client.responses.stream(model="m", input="hi", tools=[tool]) as stream:
        calls: list[Any] = list((await stream.get_final_response()).output)
    assert [(item.call_id, item.name, item.arguments) for item in calls] == [
        ("call_a", "Weather", '{"town": "Bern"}'),
        ("call_b", "other", "{}"),
    ]
    assert calls[0].parsed_arguments == Weather(town="Bern").model_dump()
    assert served.bodies[1]["tools"] == [{"type": "function", "function": function}]


async def test_a_stream_that_was_cut_is_no_response(client: AsyncOpenAI, served: Served) -> None:
    served.chunks = [chunk("Hel")]
    async with client.responses.stream(model="m", input="hi") as stream:
        with pytest.raises(RuntimeError, match=r"response\.completed"):
            await stream.get_final_response()


async def test_a_plain_answer_and_the_next_turn(client: AsyncOpenAI, served: Served) -> None:
    calls = [{"id": "call_a", "type": "function", "function": {"name": "Weather", "arguments": '{"town": "Bern"}'}}]
    message: JsonObject = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": calls}
    served.reply = {"model": "m", "choices": [{"message": message, "finish_reason": "tool_calls"}]}
    first = await client.responses.create(model="m", input="hi", store=False)
    served.reply = {"model": "m", "choices": [{"message": {"content": "Rain."}, "finish_reason": "stop"}]}
    history: Any = [
        {"role": "user", "content": "hi"},
        *(item.model_dump() for item in first.output),
        {"type": "function_call_output", "call_id": "call_a", "output": json.dumps({"sky": "rain"})},
    ]
    second = await client.responses.create(model="m", input=history, store=False)
    assert second.output_text == "Rain."
    assert served.bodies[1]["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_a", "content": '{"sky": "rain"}'},
    ]
