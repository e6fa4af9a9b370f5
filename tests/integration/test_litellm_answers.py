"""Responses with a good status that are no answer, on the wires that LiteLLM translates from."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import litellm  # noqa: F401 - here, where its warnings are no errors
import pytest
import pytest_asyncio
from aiohttp import web

from gateway.adapters.base import Call
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.operations import CHAT
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import Json, JsonObject
from tests.litellm_calls import QUIET
from tests.litellm_upstreams import make_call, text_of
from tests.streaming import data_of

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    *QUIET,
]

GEMINI: Final = ("gemini", "gemini-2.5-pro")
NOVA: Final = ("bedrock", "amazon.nova-pro-v1:0")
CLAUDE: Final = ("anthropic", "claude-sonnet-4-5")
COHERE: Final = ("cohere_chat", "command-r")
TARGETS: Final = (GEMINI, NOVA, CLAUDE, COHERE, ("ollama_chat", "llama3"), ("mistral", "m"), ("openai", "m"))
AWS: Final = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region_name": "us-east-1"}

PART: Final = {"content": {"role": "model", "parts": [{"text": "hel"}]}}
USAGE: Final = {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4}}


class Upstream:
    """A server that answers every request with the same body."""

    def __init__(self) -> None:
        self.body = b""
        self.content_type = "application/json"
        self.base_url = ""

    async def handle(self, request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=self.body, headers={"content-type": self.content_type})

    def says(self, body: Json | bytes, content_type: str = "application/json") -> None:
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.content_type = content_type

    def streams(self, *events: Json) -> None:
        text = "".join(f"data: {json.dumps(event)}\r\n\r\n" for event in events)
        self.says(text.encode(), "text/event-stream")


@pytest_asyncio.fixture(loop_scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def guest() -> AsyncIterator[LiteLLMAdapter]:
    """Yield an adapter in a host's process, where LiteLLM's transport is not ours to check."""
    adapter = LiteLLMAdapter(own_process=False)
    yield adapter
    await adapter.close()


def call_of(upstream: Upstream, target: tuple[str, str], **params: Any) -> Call:
    kind, model = target
    overrides = {**AWS, "aws_bedrock_runtime_endpoint": upstream.base_url} if kind == "bedrock" else {}
    return make_call(upstream.base_url, kind, model, overrides=overrides, **params)


async def failure(adapter: LiteLLMAdapter, call: Call, *, stream: bool = False) -> UpstreamError:
    """Return the failure as the engine sees it: the adapter's, or that of the operation's check."""
    with pytest.raises(UpstreamError) as caught:
        await _read(adapter, call, stream=stream)
    return caught.value


async def _read(adapter: LiteLLMAdapter, call: Call, *, stream: bool) -> None:
    if stream:
        await data_of(await adapter.stream(call))
    else:
        CHAT.check_reply((await adapter.complete(call)).data)


NO_ANSWERS: Final = [
    (b"<html><body>please log in</body></html>", "text/html"),
    (b"<html></html>", "application/json"),
    (b"", "application/json"),
    (b"{}", "application/json"),
    (b"[]", "application/json"),
    (b"null", "application/json"),
    (b'{"candidates": [{"content": {"parts": [{"te', "application/json"),
    (b'{"message": "try again"}', "application/json"),
    (b"ok", "text/plain"),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("body", "content_type"), NO_ANSWERS)
async def test_what_is_no_answer_is_a_bad_response_without_words_of_a_library(
    adapter: LiteLLMAdapter, upstream: Upstream, target: tuple[str, str], body: bytes, content_type: str
) -> None:
    upstream.says(body, content_type)
    error = await failure(adapter, call_of(upstream, target))
    assert (error.kind, error.status, error.body, error.counts) == (Kind.BAD_RESPONSE, 200, None, True)


@pytest.mark.parametrize("target", [GEMINI, NOVA])
@pytest.mark.parametrize(("body", "content_type"), NO_ANSWERS)
async def test_it_is_the_same_in_a_hosts_process(
    guest: LiteLLMAdapter, upstream: Upstream, target: tuple[str, str], body: bytes, content_type: str
) -> None:
    upstream.says(body, content_type)
    error = await failure(guest, call_of(upstream, target))
    assert (error.kind, error.status, error.body) == (Kind.BAD_RESPONSE, 200, None)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"code": 503, "message": "overloaded"}}, Kind.OVERLOADED),
        ([{"error": {"code": 429, "message": "exhausted", "status": "RESOURCE_EXHAUSTED"}}], Kind.RATE_LIMIT),
    ],
)
async def test_an_error_with_a_good_status_has_its_own_kind(
    adapter: LiteLLMAdapter,
    guest: LiteLLMAdapter,
    upstream: Upstream,
    own: bool,
    target: tuple[str, str],
    body: Json,
    kind: Kind,
) -> None:
    upstream.says(body)
    error = await failure(adapter if own else guest, call_of(upstream, target))
    assert error.kind in ({kind} if own or target in (GEMINI, NOVA) else {kind, Kind.BAD_RESPONSE})


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (GEMINI, {"candidates": [PART], **USAGE}),
        (GEMINI, {"candidates": [], **USAGE}),
        (NOVA, {"output": {"message": {"role": "assistant", "content": [{"text": "hel"}]}}, "usage": {}}),
        (
            CLAUDE,
            {
                "id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": None,
                "content": [{"type": "text", "text": "hel"}], "usage": {"input_tokens": 1, "output_tokens": 1},
            },
        ),
        (COHERE, {"id": "x", "message": {"role": "assistant", "content": [{"type": "text", "text": "hel"}]}}),
        (("ollama_chat", "m"), {"model": "m", "message": {"role": "assistant", "content": "hel"}, "done": False}),
    ],
)  # fmt: skip
async def test_an_answer_without_an_end_is_not_given_one(
    adapter: LiteLLMAdapter, upstream: Upstream, target: tuple[str, str], body: JsonObject
) -> None:
    upstream.says(body)
    error = await failure(adapter, call_of(upstream, target))
    assert (error.kind, error.body) == (Kind.BAD_RESPONSE, None)


@pytest.mark.parametrize("own", [True, False])
async def test_a_gemini_stream_without_a_finish_reason_is_broken(
    adapter: LiteLLMAdapter, guest: LiteLLMAdapter, upstream: Upstream, own: bool
) -> None:
    used = adapter if own else guest
    upstream.streams({"candidates": [PART]}, {"candidates": [PART], **USAGE})
    error = await failure(used, call_of(upstream, GEMINI), stream=True)
    assert (error.kind, error.status) == (Kind.BAD_RESPONSE, 200)

    upstream.streams({"candidates": [PART]}, {"candidates": [{**PART, "finishReason": "MAX_TOKENS"}], **USAGE})
    chunks = await data_of(await used.stream(call_of(upstream, GEMINI)))
    assert text_of(chunks) == "helhel"
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert [reason for reason in reasons if reason] == ["length"]

    upstream.streams({"promptFeedback": {"blockReason": "SAFETY"}, **USAGE})
    chunks = await data_of(await used.stream(call_of(upstream, GEMINI)))
    assert chunks[-1]["choices"][0]["finish_reason"] == "content_filter"


async def test_a_gemini_stream_is_asked_for_before_it_is_returned(adapter: LiteLLMAdapter) -> None:
    """LiteLLM would ask at the first read, when a refusal could no longer be told from a break."""
    call = make_call("http://127.0.0.1:9", *GEMINI)
    with pytest.raises(UpstreamError) as caught:
        await adapter.stream(call)
    assert caught.value.kind is Kind.CONNECTION
