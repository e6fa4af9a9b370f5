"""What upstreams do wrong, as the real LiteLLM tells it; whose key goes where; threads and connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import litellm
import pytest
from litellm.llms.custom_httpx import http_handler

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.target import Limits
from tests.litellm_calls import QUIET
from tests.litellm_upstreams import KEY, OPENAI_WIRE, azure_embeddings, body_of, complete, failure, make_call
from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    *QUIET,
]


STATUSES: Final = [
    (400, Kind.BAD_REQUEST),
    (401, Kind.AUTH),
    (402, Kind.BILLING),
    (403, Kind.AUTH),
    (404, Kind.NOT_FOUND),
    (408, Kind.TIMEOUT),
    (409, Kind.SERVER_ERROR),
    (422, Kind.BAD_REQUEST),
    (429, Kind.RATE_LIMIT),
    (500, Kind.SERVER_ERROR),
    (502, Kind.SERVER_ERROR),
    (503, Kind.OVERLOADED),
    (504, Kind.TIMEOUT),
    (529, Kind.OVERLOADED),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_a_status_is_one_call_and_one_kind_on_every_wire(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI, status: int, kind: Kind
) -> None:
    headers = {"retry-after": "7", "x-ratelimit-remaining-requests": "0", "set-cookie": "a=b"}
    anthropic.script("m", status=status, headers=headers)
    openai.script("m", status=status, headers=headers)
    wait_s = 7.0 if kind in {Kind.RATE_LIMIT, Kind.OVERLOADED} else None
    for number, streaming in enumerate((False, True), start=1):
        error = await failure(adapter, make_call(anthropic, "anthropic", "m"), stream=streaming)
        assert (error.kind, error.status, error.retry_after_s) == (kind, status, wait_s)
        passed = {"retry-after": "7", "x-ratelimit-remaining-requests": "0"}
        assert error.headers == {**passed, "request-id": f"req_{number}"}
        assert body_of(error)["message"] == "scripted error"
        for name in ("openai", "groq", "hosted_vllm", "mistral", "perplexity"):
            error = await failure(adapter, make_call(openai, name, "m"), stream=streaming)
            assert (error.kind, error.status, error.retry_after_s) == (kind, status, wait_s)
            code = "model_not_found" if kind is Kind.NOT_FOUND else None
            assert body_of(error) == {
                "message": "scripted error",
                "type": "scripted_error",
                "param": None,
                "code": code,
            }
    assert len(anthropic.calls) == 2
    assert len(openai.calls) == 10


@pytest.mark.parametrize("kind", ["openai", "hosted_vllm", "mistral", "azure"])
async def test_embeddings_are_not_retried_in_secret(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI, kind: str
) -> None:
    """LiteLLM reads a `max_retries` of zero as two for OpenAI's embeddings, and does not read it for Mistral's."""
    openai.script("e", status=500)
    upstream = azure_embeddings(anthropic, status=500) if kind == "azure" else openai
    error = await failure(adapter, make_call(upstream, kind, "e", operation="embeddings", input=["a"]))
    assert (error.kind, error.status) == (Kind.SERVER_ERROR, 500)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, Kind.BILLING),
        (400, {"code": "context_length_exceeded"}, Kind.CONTEXT_WINDOW),
        (400, {"message": "This model's maximum context length is 8 tokens"}, Kind.CONTEXT_WINDOW),
        (400, {"code": "content_policy_violation", "type": "invalid_request_error"}, Kind.CONTENT_FILTER),
        (400, {"message": "Invalid API Key? rate limit? you asked"}, Kind.BAD_REQUEST),
        (500, {"message": "rate limit exceeded somewhere inside"}, Kind.SERVER_ERROR),
        (404, {"code": "model_not_found", "type": "invalid_request_error"}, Kind.NOT_FOUND),
    ],
)
async def test_the_body_refines_the_status_and_loose_words_do_not(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, status: int, said: dict[str, Any], kind: Kind
) -> None:
    openai.script("m", status=status, error=said)
    error = await failure(adapter, make_call(openai, "openai", "m"))
    assert (error.kind, error.status) == (kind, status)


async def test_anthropics_words_are_recovered_without_litellms_prefixes(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic
) -> None:
    anthropic.script("a", status=400, error={"message": "prompt is too long: 9 tokens > 8"})
    anthropic.script("b", status=400, error={"message": "Your credit balance is too low to access the API"})
    anthropic.script("c", status=401, error={"message": f"invalid x-api-key {KEY} or sk-ant-abcdef123456"})
    long, poor, wrong = [await failure(adapter, make_call(anthropic, "anthropic", model)) for model in "abc"]
    assert long.kind is Kind.CONTEXT_WINDOW
    assert body_of(long) == {
        "message": "prompt is too long: 9 tokens > 8", "type": "invalid_request_error", "param": None,
        "code": "context_length_exceeded",
    }  # fmt: skip
    assert poor.kind is Kind.BILLING
    assert body_of(wrong)["message"] == "invalid x-api-key *** or ***"


async def test_a_web_page_is_not_passed_on(adapter: LiteLLMAdapter, openai: ScriptedOpenAI) -> None:
    openai.script("m", status=502, html=True)
    openai.script("n", status=404, body="no such model", content_type="text/plain")
    page = await failure(adapter, make_call(openai, "openai", "m"))
    words = await failure(adapter, make_call(openai, "groq", "n"))
    assert (page.kind, body_of(page)["message"]) == (Kind.SERVER_ERROR, "the upstream answered with status 502")
    assert (words.kind, body_of(words)["message"]) == (Kind.NOT_FOUND, "no such model")


@pytest.mark.parametrize("kind", ["anthropic", "openai", "groq"])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'"hello"', b"[1]", b'{"id": "x"}', b'{"id": "x", "choices": null}', b'{"choices": []}']
)
async def test_what_is_no_answer_is_a_bad_response(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI, kind: str, body: bytes
) -> None:
    upstream: ScriptedAnthropic | ScriptedOpenAI = anthropic if kind == "anthropic" else openai
    upstream.script("m", body=body)
    error = await failure(adapter, make_call(upstream, kind, "m"))
    assert error.kind is Kind.BAD_RESPONSE


async def test_an_error_with_a_good_status_has_its_own_kind(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI
) -> None:
    anthropic.script("m", body=b'{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}')
    openai.script("m", body={"error": {"message": "slow down", "type": "x", "code": "rate_limit_exceeded"}})
    first = await failure(adapter, make_call(anthropic, "anthropic", "m"))
    second = await failure(adapter, make_call(openai, "openai", "m"))
    assert [first.kind, second.kind] == [Kind.OVERLOADED, Kind.RATE_LIMIT]
    assert [body_of(error)["message"] for error in (first, second)] == ["busy", "slow down"]


@pytest.mark.parametrize("kind", ["anthropic", *OPENAI_WIRE])
async def test_a_refused_connection_is_one_of_its_own(adapter: LiteLLMAdapter, kind: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    for streaming in (False, True):
        error = await failure(adapter, make_call(base_url, kind, "m"), stream=streaming)
        assert error.kind is Kind.CONNECTION


@pytest.mark.parametrize("kind", ["anthropic", "openai", "groq", "hosted_vllm"])
@pytest.mark.parametrize("streaming", [True, False])
async def test_a_reset_before_the_headers_is_a_connection_failure_and_not_sent_again(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI, kind: str, streaming: bool
) -> None:
    upstream: ScriptedAnthropic | ScriptedOpenAI = anthropic if kind == "anthropic" else openai
    upstream.script("m", reset=True)
    error = await failure(adapter, make_call(upstream, kind, "m"), stream=streaming)
    assert error.kind is Kind.CONNECTION
    assert upstream.calls == ["m"]


async def test_calls_of_others_in_the_process_keep_litellms_ways(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI
) -> None:
    """LiteLLM itself sends a request again whose connection was reset; since 1.110 it does so no more."""
    openai.script("m", reset=True)
    with pytest.raises(litellm.exceptions.InternalServerError):
        await litellm.acompletion(model="groq/m", messages=[], api_base=openai.base_url, api_key="k", max_retries=0)
    resends = hasattr(http_handler.AsyncHTTPHandler, "single_connection_post_request")
    assert openai.calls == (["m", "m"] if resends else ["m"])


@pytest.mark.parametrize("kind", ["openai", "groq"])
async def test_a_break_inside_the_body_is_a_bad_response(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str
) -> None:
    openai.script("m", short_body=True)
    error = await failure(adapter, make_call(openai, kind, "m"))
    assert error.kind is Kind.BAD_RESPONSE


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A port where connections are never accepted: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["anthropic", *OPENAI_WIRE, "perplexity"])
async def test_the_connect_limit_holds_for_every_provider(adapter: LiteLLMAdapter, black_hole: str, kind: str) -> None:
    limits = Limits(connect_s=0.2, first_token_s=8, idle_s=8, total_s=8)
    for streaming in (False, True):
        started_s = time.monotonic()
        error = await failure(adapter, make_call(black_hole, kind, "m", limits=limits), stream=streaming)
        assert error.kind is Kind.TIMEOUT
        assert 0.1 < time.monotonic() - started_s < 2


async def test_cancelling_a_call_closes_its_upstream(adapter: LiteLLMAdapter, openai: ScriptedOpenAI) -> None:
    openai.script("m", delay_s=30)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(complete(adapter, make_call(openai, "openai", "m")), 0.2)
    await openai.wait_for_disconnect(1.0)


async def test_a_request_that_litellm_cannot_translate_is_a_bad_request(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic
) -> None:
    arguments = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{broken"}}
    bad: list[dict[str, Any]] = [
        {"messages": [{"role": "assistant", "tool_calls": [arguments]}]},
        {"messages": [{"role": "nonsense", "content": "x"}]},
        {"tools": [{"a": 1}]},
        {"response_format": "x"},
        {"tool_choice": 7},
    ]
    for params in bad:
        error = await failure(adapter, make_call(anthropic, "anthropic", "claude", **params))
        assert error.kind is Kind.BAD_REQUEST, params
        assert body_of(error)["message"]
    assert anthropic.calls == []


@pytest.mark.parametrize(
    ("kind", "model", "content"),
    [
        ("bedrock", "converse/amazon.nova-lite", [{"type": "text", "text": None}]),
        ("bedrock", "converse/amazon.nova-lite", [7]),
        ("cohere_chat", "command", [None]),
        ("gemini", "gemini-2.5-pro", [7]),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_content_of_a_wrong_type_is_a_bad_request(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str, model: str, content: list[object], stream: bool
) -> None:
    call = make_call(openai, kind, model, messages=[{"role": "user", "content": content}])
    assert (await failure(adapter, call, stream=stream)).kind is Kind.BAD_REQUEST
    assert openai.calls == []


async def test_a_provider_litellm_does_not_know_is_not_found(adapter: LiteLLMAdapter, openai: ScriptedOpenAI) -> None:
    error = await failure(adapter, make_call(openai, "no_such_provider", "m"))
    assert error.kind is Kind.NOT_FOUND


LEAKED: Final = "sk-environments-own-key-1234567890"


@pytest.mark.parametrize("kind", ["anthropic", *OPENAI_WIRE, "gemini", "cohere", "deepseek", "xai", "openrouter"])
async def test_the_environments_key_never_goes_to_a_host_of_the_file(
    adapter: LiteLLMAdapter,
    anthropic: ScriptedAnthropic,
    openai: ScriptedOpenAI,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    names = ("OPENAI", "ANTHROPIC", "AZURE", "AZURE_OPENAI", "GROQ", "MISTRAL", "GEMINI", "GOOGLE", "COHERE", "CO",
             "DEEPSEEK", "XAI", "OPENROUTER", "HOSTED_VLLM")  # fmt: skip
    for name in (*(f"{vendor}_API_KEY" for vendor in names), "AZURE_AD_TOKEN", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, LEAKED)
    upstream: ScriptedAnthropic | ScriptedOpenAI = anthropic if kind == "anthropic" else openai
    operations: list[str] = ["chat", "embeddings"] if kind in {"openai", "azure", "mistral"} else ["chat"]
    for operation in operations:
        params: dict[str, Any] = {"input": ["a"]} if operation == "embeddings" else {}
        with contextlib.suppress(UpstreamError):
            await complete(adapter, make_call(upstream, kind, "m", operation=operation, key=None, **params))
    assert len(upstream.requests) == len(operations)
    for request in upstream.requests:
        assert LEAKED not in str(request)
        keys = [value for name, value in request.headers.items() if name in {"authorization", "x-api-key", "api-key"}]
        assert keys in ([], ["none"], ["Bearer none"])


async def test_calls_get_through_a_small_default_executor(adapter: LiteLLMAdapter, openai: ScriptedOpenAI) -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=1) as small:
        loop.set_default_executor(small)
        replies = await asyncio.gather(*(complete(adapter, make_call(openai, "openai", "m")) for _ in range(8)))
    loop.set_default_executor(ThreadPoolExecutor())
    assert [reply.data["choices"][0]["message"]["content"] for reply in replies] == ["hello from m"] * 8
    assert openai.connections <= 8


async def test_connections_are_used_again(adapter: LiteLLMAdapter, openai: ScriptedOpenAI) -> None:
    """By all kinds: they share one HTTP client."""
    for kind in ("openai", "hosted_vllm"):
        for _ in range(3):
            await complete(adapter, make_call(openai, kind, "m"))
    assert openai.connections == 1
