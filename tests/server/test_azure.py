"""Azure both ways: its clients in front of the gateway, its v1 API and its deployment paths behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from aiohttp import web

from tests.server.conftest import HELLO, RunningGateway, Start

MESSAGES: Any = HELLO
VERSION = "2024-10-21"

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  v1: {kind: azure, base_url: "AZURE", api_key: sk-azure-key}
  new: {kind: azure, base_url: "AZURE/openai/v1/", api_key: sk-azure-key, api_version: preview}
  dated: {kind: azure, base_url: "AZURE/", api_key: sk-azure-key, api_version: "2024-10-21"}
  old: {kind: azure, base_url: "AZURE", api_key: sk-azure-key, params: {api_version: 2024-10-21}}
models:
  v1: v1/gpt
  new: new/gpt
  dated: dated/gpt
  old: old/gpt
  "team/*": "dated/*"
  broken: [dated/failing, v1/gpt]
"""

CHAT = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06",
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}],
    "choices": [{
        "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"},
        "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}},
    }],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip
FIRST = (
    b'data: {"id":"","object":"","created":0,"model":"","prompt_filter_results":[{"prompt_index":0}],"choices":[]}\n\n'
)
REST = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":"hello"},"finish_reason":null}]}\n\n'
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop","content_filter_results":{}}]}\n\n'
    b"data: [DONE]\n\n"
)
EMBEDDINGS = {
    "object": "list", "model": "ada", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}  # fmt: skip
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt", "status": "completed", "error": None,
    "output": [{
        "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "hello", "annotations": []}],
    }],
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
}  # fmt: skip


class Azure:
    """An Azure resource, whose deployments answer; `failing` is none."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """Path and query of each request."""
        self.requests: list[Any] = []
        self.headers: list[Any] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        self.headers.append(request.headers)
        body = await request.json()
        self.requests.append(body)
        if "failing" in request.path:
            said = {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}
            return web.json_response({"error": said}, status=404)
        if request.path.endswith("/embeddings"):
            return web.json_response(EMBEDDINGS)
        if request.path.endswith("/responses"):
            return web.json_response(RESPONSE)
        if not body.get("stream"):
            return web.json_response(CHAT, headers={"x-ratelimit-remaining-tokens": "7", "apim-request-id": "a"})
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(FIRST)
        await stream.write(REST)
        return stream


@pytest.fixture
async def azure() -> AsyncIterator[Azure]:
    server = Azure()
    app = web.Application()
    app.router.add_post("/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def gateway(start: Start, azure: Azure) -> RunningGateway:
    running: RunningGateway = await start(ROUTES.replace("AZURE", azure.url))
    return running


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[openai.AsyncAzureOpenAI]:
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=gateway.url, api_key="sk-mine", api_version=VERSION, max_retries=0
    ) as client:
        yield client


@pytest.mark.parametrize(
    ("alias", "chat", "responses"),
    [
        ("v1", "/openai/v1/chat/completions", "/openai/v1/responses"),
        ("new", "/openai/v1/chat/completions?api-version=preview", "/openai/v1/responses?api-version=preview"),
        ("dated", "/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
         "/openai/responses?api-version=2024-10-21"),
        ("old", "/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
         "/openai/responses?api-version=2024-10-21"),
    ],
)  # fmt: skip
async def test_azures_client_reaches_azure_through_the_gateway(
    client: openai.AsyncAzureOpenAI, azure: Azure, alias: str, chat: str, responses: str
) -> None:
    completion = await client.chat.completions.create(model=alias, messages=MESSAGES)
    assert completion.choices[0].message.content == "hello"
    stream = await client.chat.completions.create(model=alias, messages=MESSAGES, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]) == "hello"
    response = await client.responses.create(model=alias, input="hi")
    assert response.output_text == "hello"
    assert azure.asked == [chat, chat, responses]
    assert [body["model"] for body in azure.requests] == ["gpt"] * 3
    for headers in azure.headers:
        assert headers["api-key"] == "sk-azure-key"
        assert "authorization" not in headers


async def test_the_deployment_of_a_client_is_an_alias_whatever_the_body_says(
    gateway: RunningGateway, azure: Azure
) -> None:
    """Azure itself looks at the path alone."""
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=gateway.url, azure_deployment="dated", api_key="k", api_version=VERSION, max_retries=0
    ) as client:
        await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        await client.embeddings.create(model="ada", input="hi")
    assert azure.asked == [
        "/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
        "/openai/deployments/gpt/embeddings?api-version=2024-10-21",
    ]


@pytest.mark.parametrize("path", [
    "/openai/deployments/team/gpt-4o/chat/completions?api-version=2024-10-21",
    "/openai/deployments/team%2Fgpt-4o/chat/completions?api-version=2024-10-21",
])  # fmt: skip
async def test_the_path_names_the_model_where_the_body_has_none(
    gateway: RunningGateway, azure: Azure, path: str
) -> None:
    answer = await gateway.request("POST", path, json={"messages": HELLO}, headers={"api-key": "sk-mine"})
    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "dated/gpt-4o")
    assert answer.headers["x-ratelimit-remaining-tokens"] == "7"
    assert azure.asked == ["/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"]


async def test_azures_client_on_the_v1_path_and_without_version(gateway: RunningGateway, azure: Azure) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/openai/v1", api_key="k", max_retries=0) as client:
        completion = await client.chat.completions.create(model="v1", messages=MESSAGES)
        assert completion.choices[0].message.content == "hello"
        assert "v1" in {model.id async for model in client.models.list()}
    listed = await gateway.get("/openai/models?api-version=2024-10-21")
    assert listed.status == 200


async def test_an_unknown_deployment_falls_over_and_unknown_paths_are_told(
    gateway: RunningGateway, azure: Azure
) -> None:
    answer = await gateway.chat("broken")
    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "v1/gpt")
    for path in ("/openai/deployments/fast", "/openai/deployments/fast/nothing", "/openai/deployments/"):
        missing = await gateway.request("POST", path, json={})
        assert (missing.status, missing.error["code"]) == (404, "not_found")
        assert path in missing.error["message"]


async def test_a_model_that_would_steer_azures_path_is_passed_over(gateway: RunningGateway, azure: Azure) -> None:
    answer = await gateway.chat("team/.")
    assert (answer.status, answer.error["code"]) == (400, "unsupported")
    assert azure.asked == []
