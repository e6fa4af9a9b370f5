"""Where LiteLLM would do otherwise than the relay: errors inside good responses, broken HTTP, redirects, accounts."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.policy.failures import Kind, UpstreamError
from tests.litellm_calls import QUIET
from tests.litellm_upstreams import body_of, complete, events, failure, make_call, open_stream, text_of
from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI
from tests.streaming import data_of

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    *QUIET,
]

KINDS: Final = ("openai", "azure", "groq", "hosted_vllm", "mistral", "perplexity", "deepseek", "anthropic")
LEAKED: Final = "org-of-the-environment"


def upstream_for(kind: str, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI) -> ScriptedAnthropic | ScriptedOpenAI:
    """Return the one that serves this kind's paths."""
    return anthropic if kind in {"anthropic", "azure"} else openai


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "oh no", "type": "server_error"}, Kind.SERVER_ERROR),
        ({"message": "oh no", "type": "server_error", "param": None, "code": None}, Kind.SERVER_ERROR),
        ({"message": "oh no", "type": "x", "code": "rate_limit_exceeded"}, Kind.RATE_LIMIT),
        ({"message": "oh no", "type": "x", "code": 529}, Kind.OVERLOADED),
        ("oh no", Kind.SERVER_ERROR),
    ],
)
async def test_an_error_with_a_good_status_has_the_kind_it_has_on_the_relay(
    adapter: LiteLLMAdapter,
    anthropic: ScriptedAnthropic,
    openai: ScriptedOpenAI,
    kind: str,
    streaming: bool,
    error: Any,
    expected: Kind,
) -> None:
    upstream = upstream_for(kind, anthropic, openai)
    upstream.script("m", body=json.dumps({"error": error}).encode())
    failed = await failure(adapter, make_call(upstream, kind, "m"), stream=streaming)
    assert (failed.kind, failed.status) == (expected, 200)
    assert body_of(failed)["message"] == "oh no"
    assert body_of(failed)["type"] == (error["type"] if isinstance(error, dict) else None)


async def test_a_plain_body_that_is_no_error_is_no_stream(adapter: LiteLLMAdapter, openai: ScriptedOpenAI) -> None:
    openai.script("m", body={"id": "x"})
    for kind in ("openai", "hosted_vllm"):
        error = await failure(adapter, make_call(openai, kind, "m"), stream=True)
        assert error.kind is Kind.BAD_RESPONSE


async def test_events_that_call_themselves_json_are_still_read(adapter: LiteLLMAdapter, openai: ScriptedOpenAI) -> None:
    openai.script("m", body=events((0, "hello", None), (0, "", "stop")), content_type="application/json")
    for kind in ("openai", "hosted_vllm"):
        chunks = await data_of(await open_stream(adapter, make_call(openai, kind, "m")))
        assert text_of(chunks) == "hello"


async def test_half_a_surrogate_pair_in_an_error_is_replaced(adapter: LiteLLMAdapter, openai: ScriptedOpenAI) -> None:
    openai.script("m", status=400, body=b'{"error": {"message": "bad \\ud83d", "type": "x", "code": "\\ud83d"}}')
    openai.script("n", body=b'{"error": {"message": "bad \\ud83d", "type": "x"}}')
    for model in "mn":
        error = await failure(adapter, make_call(openai, "openai", model))
        assert body_of(error)["message"] == "bad ?"


@pytest.mark.parametrize("streaming", [False, True])
async def test_half_a_surrogate_pair_in_an_answer_is_handed_on(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, streaming: bool
) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a\ud83d"}, "finish_reason": "stop"}
    head = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    for kind in ("openai", "hosted_vllm"):
        if streaming:
            openai.script(kind, body=events((0, "a\ud83d", None), (0, "", "stop")), content_type="text/event-stream")
            text = text_of(await data_of(await open_stream(adapter, make_call(openai, kind, kind))))
        else:
            openai.script(kind, body=json.dumps({**head, "choices": [choice]}).encode())
            answer = await complete(adapter, make_call(openai, kind, kind))
            text = answer.data["choices"][0]["message"]["content"]
        assert text == "a\ud83d"


@pytest.mark.parametrize("kind", ["openai", "groq", "hosted_vllm"])
@pytest.mark.parametrize("streaming", [False, True])
async def test_what_is_no_http_is_a_bad_response(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str, streaming: bool
) -> None:
    openai.script("m", wire=b"this is not HTTP\r\n\r\n")
    openai.script("m", wire=b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n")
    for _ in range(2):
        error = await failure(adapter, make_call(openai, kind, "m"), stream=streaming)
        assert error.kind is Kind.BAD_RESPONSE
    assert openai.calls == ["m", "m"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [302, 307])
async def test_a_redirect_is_not_followed(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI, kind: str, status: int
) -> None:
    """Wherever it leads to, the file does not name it, and the call carries a key and a prompt."""
    upstream = upstream_for(kind, anthropic, openai)
    async with ScriptedOpenAI() as elsewhere:
        location = f"{elsewhere.base_url}/chat/completions"
        upstream.script("m", status=status, headers={"location": location})
        for streaming in (False, True):
            error = await failure(adapter, make_call(upstream, kind, "m"), stream=streaming)
            assert (error.kind, error.status) == (Kind.BAD_RESPONSE, status)
        assert elsewhere.connections == 0


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names OpenAI's organization and project."""
    for name in ("OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, LEAKED)


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize(
    "kind", ["openai", "azure", "mistral", "groq", "hosted_vllm", "perplexity", "deepinfra", "fireworks_ai", "azure_ai"]
)
async def test_the_environments_organization_never_goes_to_a_host_of_the_file(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI, kind: str
) -> None:
    upstream = upstream_for(kind, anthropic, openai)
    headers = {"x-team": "blue"}
    await failure_or_answer(adapter, make_call(upstream, kind, "m", key=f"k-{kind}", endpoint_headers=headers))
    if kind not in {"groq", "perplexity", "deepinfra"}:
        call = make_call(upstream, kind, "m", operation="embeddings", key=f"k-{kind}", input=["a"])
        await failure_or_answer(adapter, call)
    assert upstream.requests
    assert upstream.requests[0].headers["x-team"] == "blue"
    for request in upstream.requests:
        assert LEAKED not in str(request.headers)
        assert not [name for name in request.headers if name.startswith("openai-")]


async def failure_or_answer(adapter: LiteLLMAdapter, call: Any) -> None:
    """Make a call whose outcome does not matter."""
    try:
        await complete(adapter, call)
    except UpstreamError:
        return


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize("name", ["OpenAI-Organization", "openai-organization"])
async def test_an_organization_that_the_file_names_is_sent(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, name: str
) -> None:
    await complete(adapter, make_call(openai, "openai", "m", key="k-header", endpoint_headers={name: "org-file"}))
    await complete(adapter, make_call(openai, "openai", "m", key="k-param", overrides={"organization": "org-file"}))
    for request in openai.requests:
        assert request.headers["openai-organization"] == "org-file"
        assert "openai-project" not in request.headers
