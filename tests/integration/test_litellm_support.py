"""What LiteLLM would drop of a request without a word: the target cannot be asked for it, and nothing is sent."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import litellm  # noqa: F401 - here, where its warnings are no errors
import pytest
import pytest_asyncio
from aiohttp import web

from gateway.adapters.base import NotSupported
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.policy.failures import UpstreamError
from gateway.policy.packages import PACKAGES
from gateway.wire.json import JsonObject
from tests import litellm_calls
from tests.litellm_calls import QUIET
from tests.litellm_upstreams import WEATHER, make_call

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    *QUIET,
]

CLAUDE: Final = ("anthropic", "claude-sonnet-4-5")
OPUS: Final = ("anthropic", "claude-3-opus-20240229")
GEMINI: Final = ("gemini", "gemini-2.5-flash")
NOVA: Final = ("bedrock", "amazon.nova-pro-v1:0")
LLAMA: Final = ("bedrock", "meta.llama3-70b-instruct-v1:0")
COHERE: Final = ("cohere_chat", "command-r")
MISTRAL: Final = ("mistral", "mistral-large")
OLLAMA: Final = ("ollama_chat", "llama3")
DEEPSEEK: Final = ("deepseek", "deepseek-chat")
VLLM: Final = ("hosted_vllm", "m")

AWS: Final = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region_name": "us-east-1"}
FUNCTION: Final = {"name": "f", "parameters": {"type": "object", "properties": {}}}
CUSTOM: Final = {"type": "custom", "custom": {"name": "c", "description": "d"}}
SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
JSON_OBJECT: Final = {"response_format": {"type": "json_object"}}
JSON_SCHEMA: Final = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}


def saying(*parts: JsonObject) -> JsonObject:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, *parts]}]}


AUDIO: Final = saying({"type": "input_audio", "input_audio": {"data": "UklGRgAA", "format": "wav"}})
FILE: Final = saying(
    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0A"}}
)
IMAGE: Final = saying({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoA"}})


class Recorder:
    """A server that notes each request's body and refuses it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.base_url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        return web.json_response({"error": {"message": "no"}}, status=400)


@pytest_asyncio.fixture(loop_scope="module")
async def upstream() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    app = web.Application()
    app.router.add_post("/{path:.*}", recorder.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    recorder.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield recorder
    await runner.cleanup()


async def ask(
    adapter: LiteLLMAdapter, upstream: Recorder, target: tuple[str, str], params: JsonObject, **values: Any
) -> str | None:
    """Return what the target lacks; None if the request was sent."""
    kind, model = target
    overrides = {**values.pop("overrides", {})}
    if kind == "bedrock":
        overrides |= {**AWS, "aws_bedrock_runtime_endpoint": upstream.base_url}
    call = make_call(upstream.base_url, kind, model, overrides=overrides, **values, **params)
    upstream.bodies.clear()
    for stream in (False, True) if call.operation.name == "chat" else (False,):
        try:
            await (adapter.stream(call) if stream else adapter.complete(call))
        except NotSupported as error:
            assert upstream.bodies == []
            return str(error)
        except UpstreamError:
            assert len(upstream.bodies) == 1 + stream
    return None


@pytest.mark.parametrize(
    ("target", "params", "lacks"),
    [
        (CLAUDE, {"n": 2}, "n"),
        (CLAUDE, {"logprobs": True}, "logprobs"),
        (CLAUDE, {"logprobs": True, "top_logprobs": 3}, "logprobs and top_logprobs"),
        (CLAUDE, {"functions": [FUNCTION]}, "functions"),
        (CLAUDE, {"functions": [FUNCTION], "function_call": {"name": "f"}}, "function_call and functions"),
        (CLAUDE, JSON_OBJECT, "response_format json_object"),
        (OPUS, JSON_OBJECT, "response_format json_object"),
        (CLAUDE, AUDIO, "audio"),
        (CLAUDE, {"modalities": ["text", "audio"], "audio": {"voice": "v", "format": "wav"}}, "audio and modalities"),
        (CLAUDE, {"store": True}, "store"),
        (CLAUDE, {"tools": [CUSTOM]}, "custom tools"),
        (GEMINI, {"logprobs": True, "top_logprobs": 3}, "top_logprobs"),
        (NOVA, {"n": 2}, "n"),
        (NOVA, JSON_OBJECT, "response_format json_object"),
        (NOVA, AUDIO, "audio"),
        (NOVA, {"tools": [WEATHER], "tool_choice": "none"}, "tool_choice none"),
        (NOVA, {"tools": [CUSTOM]}, "custom tools"),
        (LLAMA, {"tools": [WEATHER]}, "tools"),
        (COHERE, JSON_OBJECT, "response_format"),
        (COHERE, JSON_SCHEMA, "response_format"),
        (COHERE, {"tools": [WEATHER], "tool_choice": "required"}, "tool_choice"),
        (COHERE, {"web_search_options": {}}, "web_search_options"),
        (MISTRAL, {"n": 2}, "n"),
        (MISTRAL, AUDIO, "audio"),
        (OLLAMA, FILE, "files"),
        (OLLAMA, {"tools": [WEATHER], "tool_choice": "required"}, "tool_choice required"),
        (DEEPSEEK, IMAGE, "images"),
        (DEEPSEEK, FILE, "files"),
        (DEEPSEEK, AUDIO, "audio"),
        (("xai", "grok-4"), {"stop": ["X"]}, "stop"),
        (("perplexity", "sonar"), {"tools": [WEATHER]}, "tools"),
    ],
)  # fmt: skip
async def test_what_would_be_lost_is_not_sent(
    adapter: LiteLLMAdapter, upstream: Recorder, target: tuple[str, str], params: JsonObject, lacks: str
) -> None:
    assert await ask(adapter, upstream, target, params) == f"does not support {lacks}"


@pytest.mark.parametrize(
    ("target", "params", "sent"),
    [
        (CLAUDE, {"tools": [WEATHER], "tool_choice": "required"}, b'"any"'),
        (CLAUDE, JSON_SCHEMA, b'"properties"'),
        (CLAUDE, {"stop": ["XYZ"]}, b"XYZ"),
        (CLAUDE, IMAGE, b"iVBORw0KGgoA"),
        (CLAUDE, FILE, b"JVBERi0A"),
        (GEMINI, {"n": 2}, b"candidate"),
        (GEMINI, {"logprobs": True}, b"responseLogprobs"),
        (GEMINI, {"functions": [FUNCTION]}, b"function_declarations"),
        (GEMINI, JSON_OBJECT, b"application/json"),
        (GEMINI, JSON_SCHEMA, b'"properties"'),
        (GEMINI, AUDIO, b"UklGRgAA"),
        (NOVA, JSON_SCHEMA, b'"properties"'),
        (NOVA, IMAGE, b"iVBORw0KGgoA"),
        (MISTRAL, JSON_OBJECT, b"json_object"),
        (OLLAMA, JSON_OBJECT, b'"format"'),
        (OLLAMA, IMAGE, b"iVBORw0KGgoA"),
        (VLLM, {"n": 2, "logprobs": True, "top_logprobs": 1}, b"top_logprobs"),
        (VLLM, JSON_OBJECT, b"json_object"),
        (VLLM, AUDIO, b"UklGRgAA"),
        (VLLM, {"functions": [FUNCTION], "function_call": {"name": "f"}}, b"function_call"),
    ],
)
async def test_what_is_carried_is_sent(
    adapter: LiteLLMAdapter, upstream: Recorder, target: tuple[str, str], params: JsonObject, sent: bytes
) -> None:
    assert await ask(adapter, upstream, target, params) is None
    assert all(sent in body.replace(b'": ', b'":') for body in upstream.bodies)


@pytest.mark.parametrize(
    "params",
    [
        {"n": 1, "logprobs": False, "top_logprobs": 0, "store": False, "tools": [], "functions": []},
        {"modalities": ["text"], "audio": {"voice": "alloy"}, "tool_choice": "auto", "stop": []},
        {"response_format": {"type": "text"}, "top_logprobs": 2, "function_call": "none"},
        {"tools": [WEATHER], "tool_choice": "auto", "parallel_tool_calls": False},
        {"seed": 1, "presence_penalty": 1, "logit_bias": {"1": 1}, "user": "u", "service_tier": "auto"},
    ],
)
async def test_what_asks_for_nothing_special_is_no_reason(
    adapter: LiteLLMAdapter, upstream: Recorder, params: JsonObject
) -> None:
    for target in (CLAUDE, GEMINI, NOVA, MISTRAL):
        assert await ask(adapter, upstream, target, params) is None


async def test_what_the_file_allows_is_sent_as_it_is(adapter: LiteLLMAdapter, upstream: Recorder) -> None:
    allowed = {"allowed_openai_params": ["n"]}
    assert await ask(adapter, upstream, MISTRAL, {"n": 2}, overrides=allowed) is None
    assert all(b'"n"' in body for body in upstream.bodies)


@pytest.mark.parametrize(
    ("target", "carried"),
    [
        (("openai", "text-embedding-3-small"), True),
        (("openai", "text-embedding-ada-002"), False),
        (("mistral", "mistral-embed"), False),
        (("cohere", "embed-v4.0"), True),
        (("gemini", "gemini-embedding-001"), True),
        (("bedrock", "amazon.titan-embed-text-v1"), False),
        (("bedrock", "amazon.titan-embed-text-v2:0"), True),
        (("voyage", "voyage-3"), True),
        (VLLM, True),
    ],
)
async def test_dimensions_are_sent_or_the_target_cannot_be_asked(
    adapter: LiteLLMAdapter, upstream: Recorder, target: tuple[str, str], carried: bool
) -> None:
    params = {"operation": "embeddings", "input": "hi", "dimensions": 64}
    lacks = await ask(adapter, upstream, target, params)
    assert lacks == (None if carried else "does not support dimensions")
    assert [b"64" in body for body in upstream.bodies] == [True] * carried
    assert await ask(adapter, upstream, target, {"operation": "embeddings", "input": "hi"}) is None


# Packages that LiteLLM needs for some providers only


@pytest.mark.parametrize(
    ("kind", "model", "operation"),
    [
        ("vertex_ai", "gemini-2.5-pro", "chat"),
        ("vertex_ai", "claude-sonnet-4-5", "chat"),
        ("vertex_ai", "meta/llama3", "chat"),
        ("vertex_ai", "text-embedding-005", "embeddings"),
        ("vertex_ai_beta", "gemini-2.5-pro", "chat"),
        ("bedrock", "amazon.nova-pro-v1:0", "chat"),
        ("bedrock", "amazon.titan-embed-text-v1", "embeddings"),
        ("sagemaker", "m", "chat"),
        ("sagemaker_chat", "m", "chat"),
        ("vllm", "m", "chat"),
    ],
)
async def test_a_target_whose_package_is_missing_cannot_be_asked(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch, kind: str, model: str, operation: str
) -> None:
    package = PACKAGES[kind]
    for module in (package.module, "botocore"):
        for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, module, None)
    params: JsonObject = {"input": "hi"} if operation == "embeddings" else {}
    call = litellm_calls.make_call(params, kind=kind, model=model, operation=operation, overrides=AWS)
    for ask_once in (adapter.complete, adapter.stream) if operation == "chat" else (adapter.complete,):
        with pytest.raises(NotSupported) as caught:
            await ask_once(call)
        assert str(caught.value) == f"needs the package {package.name}, which is not installed here"
