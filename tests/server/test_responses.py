"""OpenAI's Responses through real HTTP: relayed, with the same promises that chat has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import litellm  # noqa: F401 - here, where its warnings are no errors: gateways load it in a thread
import openai
import pytest
from aiohttp import web

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start, read_until_broken

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  one: {kind: openai, base_url: "BASE_URL/one/v1"}
  two: {kind: openai, base_url: "BASE_URL/two/v1"}
models:
  pair: [one/a, two/b]
"""


def event(kind: str, number: int, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': number, **more})}\n\n".encode()


def response(status: str, text: str | None = None, **more: Any) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "a", "status": status, "error": None,
        "output": [] if text is None else [item], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        **more,
    }  # fmt: skip


def delta(number: int, text: str) -> bytes:
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    return event("response.output_text.delta", number, delta=text, **at)


CREATED = event("response.created", 0, response=response("in_progress"))
USAGE = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7, "input_tokens_details": {"cached_tokens": 4}}
FAILED = {"code": "server_error", "message": "it broke"}
ITEM = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
ADDED = event("response.output_item.added", 1, output_index=0, item=ITEM)
PART = event(
    "response.content_part.added", 2, item_id="msg_1", output_index=0, content_index=0,
    part={"type": "output_text", "text": "", "annotations": []},
)  # fmt: skip
COMPLETED = event("response.completed", 5, response=response("completed", "one two", usage=USAGE))
WHOLE = [CREATED, ADDED, PART, delta(3, "one "), delta(4, "two"), COMPLETED]


class Upstream:
    """A server whose two providers answer as their scripts say."""

    def __init__(self) -> None:
        self.answers: dict[str, list[bytes] | dict[str, Any] | int] = {}
        self.calls: list[str] = []
        self.bodies: list[Any] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        provider = request.match_info["provider"]
        self.calls.append(provider)
        self.bodies.append(await request.json())
        answer = self.answers.get(provider, WHOLE)
        if isinstance(answer, int):
            return web.json_response({"error": {"message": "no", "type": "server_error"}}, status=answer)
        if isinstance(answer, dict):
            return web.json_response(answer)
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        for data in answer:
            await stream.write(data)
        if answer[-1] is not COMPLETED and request.transport is not None:
            request.transport.close()
        return stream


@pytest.fixture
async def server() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    app = web.Application()
    app.router.add_post("/{provider}/v1/responses", upstream.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    upstream.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield upstream
    await runner.cleanup()


@pytest.fixture
async def gateway(start: Start, server: Upstream) -> RunningGateway:
    running: RunningGateway = await start(ROUTES.replace("BASE_URL", server.url))
    return running


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        yield client


Ask = Callable[[], Awaitable[openai.types.responses.Response]]


async def test_a_response_is_relayed_and_its_usage_counted(
    client: openai.AsyncOpenAI, gateway: RunningGateway, server: Upstream
) -> None:
    server.answers["one"] = response("completed", "hello there", usage=USAGE)
    answer = await client.responses.create(model="pair", input="hi", instructions="be kind")
    assert (answer.output_text, answer.model) == ("hello there", "a")
    assert server.bodies == [{"model": "a", "input": "hi", "instructions": "be kind"}]
    assert await gateway.metric('gateway_tokens_total{alias="pair",direction="prompt",target="one/a"}') == 5


@pytest.mark.parametrize(
    "first",
    [
        503,
        response("failed", None, error=FAILED),
        {"object": "response"},
        {"choices": []},
    ],
)
async def test_what_is_no_answer_moves_on(client: openai.AsyncOpenAI, server: Upstream, first: Any) -> None:
    server.answers |= {"one": first, "two": response("completed", "hello")}
    answer = await client.responses.create(model="pair", input="hi")
    assert (answer.output_text, server.calls) == ("hello", ["one", "two"])


@pytest.mark.parametrize(
    "first",
    [
        [CREATED, ADDED, PART],
        [CREATED, event("response.failed", 1, response=response("failed", None, error=FAILED))],
        [CREATED, event("error", 1, code="server_error", message="it broke", param=None)],
        [b'event: error\ndata: {"error": {"message": "it broke", "type": "server_error"}}\n\n'],
        [event("response.completed", 0, response=response("failed", None, error=FAILED))],
    ],
)
async def test_a_stream_that_fails_before_content_moves_on(
    client: openai.AsyncOpenAI, server: Upstream, first: list[bytes]
) -> None:
    server.answers["one"] = first
    async with client.responses.stream(model="pair", input="hi") as stream:
        answer = await stream.get_final_response()
    assert (answer.output_text, server.calls) == ("one two", ["one", "two"])


async def test_a_whole_stream_is_relayed_byte_for_byte(gateway: RunningGateway, server: Upstream) -> None:
    body = {"model": "pair", "input": "hi", "stream": True}
    answer = await gateway.request("POST", "/v1/responses", json=body)
    assert answer.body == b"".join(WHOLE)


async def test_a_stream_that_breaks_ends_with_the_next_number_and_a_reset(
    client: openai.AsyncOpenAI, gateway: RunningGateway, server: Upstream
) -> None:
    server.answers["one"] = WHOLE[:5]
    request = {"model": "pair", "input": "hi", "stream": True}
    body = await read_until_broken(gateway, "/v1/responses", request)
    last = body.decode().rstrip().split("\n\n")[-1]
    assert last.startswith('event: error\ndata: {"type":"error","code":"stream_broken"')
    assert json.loads(last.partition("data: ")[2])["sequence_number"] == 5
    with pytest.raises(openai.APIError):
        async with client.responses.stream(model="pair", input="hi") as stream:
            await stream.get_final_response()


async def test_a_plain_answer_to_a_stream_is_a_whole_stream(client: openai.AsyncOpenAI, server: Upstream) -> None:
    server.answers["one"] = response("completed", "hello there")
    async with client.responses.stream(model="pair", input="hi") as stream:
        kinds = [each.type async for each in stream]
        assert (await stream.get_final_response()).output_text == "hello there"
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


async def test_an_incomplete_response_is_an_answer(client: openai.AsyncOpenAI, server: Upstream) -> None:
    server.answers["one"] = response("incomplete", "hel", incomplete_details={"reason": "max_output_tokens"})
    answer = await client.responses.create(model="pair", input="hi")
    assert (answer.status, answer.output_text, server.calls) == ("incomplete", "hel", ["one"])


CHAT_ONLY = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  up: {kind: openai, base_url: "BASE_URL", adapter: litellm, api_key: sk-upstream}
models:
  gpt: [up/a, up/b]
  demo: mock/echo
"""


@pytest.fixture
async def translating(start: Start) -> RunningGateway:
    running: RunningGateway = await start(CHAT_ONLY)
    return running


@pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning")  # LiteLLM's
async def test_openai_s_sdk_talks_to_a_target_that_speaks_chat_only(
    translating: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=503).script("b", reply="hello there")
    async with openai.AsyncOpenAI(base_url=f"{translating.url}/v1", api_key="none", max_retries=0) as client:
        answer = await client.responses.create(model="gpt", input="hi", instructions="be kind")
        assert (answer.output_text, answer.status) == ("hello there", "completed")
        assert answer.to_dict()["store"] is False
        async with client.responses.stream(model="gpt", input="hi") as stream:
            assert (await stream.get_final_response()).output_text == "hello there"
        with pytest.raises(openai.BadRequestError, match="previous_response_id"):
            await client.responses.create(model="gpt", input="hi", previous_response_id="resp_1")
        echoed = await client.responses.create(model="demo", input="say this")
        assert echoed.output_text == "say this"


@pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning")
async def test_a_translated_stream_that_breaks_never_looks_whole(
    translating: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", reply="one two three", cut_after=2)
    body = await read_until_broken(translating, "/v1/responses", {"model": "gpt", "input": "hi", "stream": True})
    assert b"response.created" in body
    assert b"response.completed" not in body
    last = json.loads(body.decode().rstrip().split("\n\n")[-1].partition("data: ")[2])
    before = json.loads(body.decode().rstrip().split("\n\n")[-2].partition("data: ")[2])
    assert (last["type"], last["sequence_number"]) == ("error", before["sequence_number"] + 1)
