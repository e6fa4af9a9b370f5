"""Servers that lack the path of an operation: the next target is asked, or the same one in a wire that it has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.server.conftest import HELLO, Answer, RunningGateway, Start

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  lab: {kind: openai, base_url: "BASE/lab/v1"}
  vllm: {kind: vllm, base_url: "BASE/vllm/v1"}
  sure: {kind: openai, base_url: "BASE/sure/v1", wires: [chat, responses, embeddings]}
  full: {kind: openai, base_url: "BASE/full/v1"}
models:
  lab: lab/m
  vllm: vllm/m
  sure: sure/m
  pair: [lab/m, full/m]
"""

CHAT = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip
CHUNKS = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}\n\n'
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
EMBEDDINGS = {
    "object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}  # fmt: skip


class Servers:
    """Servers at one address. All have chat; `full` has embeddings as well; what they lack, they tell as scripted."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """`server/path`, in order."""
        self.url = ""
        self.refusal: tuple[int, Any] = (404, {"detail": "Not Found"})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        server, path = request.match_info["server"], request.match_info["path"]
        self.asked.append(f"{server}/{path}")
        if path == "embeddings" and server == "full":
            return web.json_response(EMBEDDINGS)
        if path != "chat/completions":
            status, body = self.refusal
            return web.json_response(body, status=status)
        if not (await request.json()).get("stream"):
            return web.json_response(CHAT)
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(CHUNKS)
        return stream


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    found = Servers()
    app = web.Application()
    app.router.add_post("/{server}/v1/{path:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@pytest.fixture
async def gateway(start: Start, servers: Servers) -> RunningGateway:
    running: RunningGateway = await start(ROUTES.replace("BASE", servers.url))
    return running


async def respond(gateway: RunningGateway, model: str, **more: Any) -> Answer:
    return await gateway.request("POST", "/v1/responses", json={"model": model, "input": "hi", "store": False, **more})


async def embed(gateway: RunningGateway, model: str) -> Answer:
    return await gateway.request("POST", "/v1/embeddings", json={"model": model, "input": "hi"})


@pytest.mark.parametrize("stream", [False, True])
async def test_what_can_be_translated_is_at_once_and_from_then_on(
    gateway: RunningGateway, servers: Servers, stream: bool
) -> None:
    for _ in range(2):
        answer = await respond(gateway, "lab", stream=stream)
        assert answer.status == 200
        assert b"hello" in answer.body
    assert servers.asked == ["lab/responses", "lab/chat/completions", "lab/chat/completions"]


async def test_a_messages_request_to_a_server_that_is_only_known_to_have_them(
    gateway: RunningGateway, servers: Servers
) -> None:
    body = {"model": "vllm", "max_tokens": 9, "messages": HELLO}
    answer = await gateway.request("POST", "/v1/messages", json=body)
    assert (answer.status, answer.json["content"][0]["text"]) == (200, "hello")
    assert servers.asked == ["vllm/messages", "vllm/chat/completions"]
    assert await gateway.metric('gateway_attempts_total{kind="unsupported",target="vllm/m"}') == 1


async def test_what_cannot_be_translated_goes_to_the_next_target(gateway: RunningGateway, servers: Servers) -> None:
    for _ in range(2):
        answer = await embed(gateway, "pair")
        assert (answer.status, answer.headers["x-gateway-target"]) == (200, "full/m")
    assert servers.asked == ["lab/embeddings", "full/embeddings", "full/embeddings"]


async def test_with_no_other_target_it_is_asked_for_each_time(gateway: RunningGateway, servers: Servers) -> None:
    """The path may be there again at any moment, such as behind an ingress whose server starts."""
    for _ in range(2):
        answer = await embed(gateway, "lab")
        assert (answer.status, answer.error["code"]) == (400, "unsupported")
        assert answer.error["message"] == "no target of 'lab' can be asked for this: lab/m has no path for it"
        (attempt,) = answer.error["attempts"]
        assert (attempt["kind"], attempt["status"]) == ("unsupported", 404)
    assert servers.asked == ["lab/embeddings"] * 2


async def test_a_reload_of_an_unchanged_endpoint_forgets_nothing(gateway: RunningGateway, servers: Servers) -> None:
    await embed(gateway, "pair")
    text = gateway.config.read_text()
    for edited in (f"{text}  more: full/m\n", text.replace("/lab/v1", "/lab2/v1")):
        gateway.config.write_text(edited)
        assert (await gateway.request("POST", "/-/reload")).status == 200
        await embed(gateway, "pair")
    assert servers.asked == ["lab/embeddings", *["full/embeddings"] * 2, "lab2/embeddings", "full/embeddings"]


async def test_a_wire_that_the_file_names_is_there(gateway: RunningGateway, servers: Servers) -> None:
    for answer in (await respond(gateway, "sure"), await embed(gateway, "sure")):
        assert answer.status == 404
    assert servers.asked == ["sure/responses", "sure/embeddings"]


async def test_a_missing_model_is_no_missing_path(gateway: RunningGateway, servers: Servers) -> None:
    servers.refusal = 404, {"error": {"message": "The model `m` does not exist.", "type": "NotFoundError", "code": 404}}
    answer = await respond(gateway, "lab")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert servers.asked == ["lab/responses"]


@pytest.mark.parametrize("stream", [False, True])
async def test_lm_studio_says_it_with_a_good_status(gateway: RunningGateway, servers: Servers, stream: bool) -> None:
    servers.refusal = 200, {"error": "Unexpected endpoint or method. (POST /v1/responses)"}
    answer = await respond(gateway, "lab", stream=stream)
    assert answer.status == 200
    assert b"hello" in answer.body
    assert servers.asked == ["lab/responses", "lab/chat/completions"]
