"""The real LiteLLM sends nothing to a host that the table does not mean, whatever the environment or a peer says."""

from __future__ import annotations

import logging
from dataclasses import replace

import litellm  # noqa: F401 - its import may warn, which is an error in the loading thread
import pytest

from gateway.adapters.base import Call, NotSupported
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.config.compiler.known_hosts import hosts_of
from gateway.policy.failures import Kind, UpstreamError
from tests.litellm_calls import QUIET
from tests.litellm_upstreams import KEY, failure, make_call
from tests.scripted_openai import ScriptedOpenAI

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    # LiteLLM drops clients without closing them when their address changes.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    *QUIET,
]


def _without_address(call: Call) -> Call:
    kind = call.target.endpoint.kind
    known = replace(call.target.endpoint, base_url=None, own_base_url=False, hosts=hosts_of(kind, own_base_url=False))
    return replace(call, target=replace(call.target, endpoint=known))


@pytest.mark.parametrize(
    ("kind", "variable"),
    [
        ("openai", "OPENAI_BASE_URL"), ("groq", "GROQ_API_BASE"),
        ("anthropic", "ANTHROPIC_API_BASE"), ("deepseek", "DEEPSEEK_API_BASE"), ("mistral", "MISTRAL_API_BASE"),
        ("ollama_chat", "OLLAMA_API_BASE"), ("xai", "XAI_API_BASE"), ("litellm_proxy", "LITELLM_PROXY_API_BASE"),
        ("hosted_vllm", "HOSTED_VLLM_API_BASE"), ("text-completion-openai", "OPENAI_BASE_URL"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
async def test_an_address_of_the_environment_gets_nothing(
    adapter: LiteLLMAdapter,
    openai: ScriptedOpenAI,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    variable: str,
    stream: bool,
) -> None:
    monkeypatch.setenv(variable, openai.base_url)
    with caplog.at_level(logging.WARNING):
        error = await failure(adapter, _without_address(make_call(openai, kind, "m")), stream=stream)
    assert (error.kind, openai.calls) == (Kind.CONNECTION, [])
    assert KEY not in caplog.text


@pytest.mark.parametrize("kind", ["openai", "groq", "mistral", "custom", "ollama_chat", "oobabooga"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str, status: int
) -> None:
    async with ScriptedOpenAI() as elsewhere:
        openai.script("m", status=status, headers={"location": f"{elsewhere.base_url}/chat/completions"})
        with pytest.raises(UpstreamError):
            await adapter.complete(make_call(openai, kind, "m"))
        assert elsewhere.calls == []


@pytest.mark.parametrize("model", ["../../evil?x=", "a/../../b", "a?b", "a#b", "a\\b", "//evil.example", "%2e%2e/b"])
@pytest.mark.parametrize("kind", ["openai", "azure", "gemini", "anthropic"])
async def test_a_model_stays_below_the_base_url(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str, model: str
) -> None:
    await failure(adapter, make_call(f"{openai.base_url}/root", kind, model))
    assert not [request.path for request in openai.requests if not request.path.startswith("/v1/root/")]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.png", "https://8.8.8.8/x.png", "http://nowhere.invalid/x.png"])
@pytest.mark.parametrize("stream", [False, True])
async def test_media_by_url_are_not_fetched_and_are_not_the_targets_failure(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, caplog: pytest.LogCaptureFixture, url: str, stream: bool
) -> None:
    """A client must neither make a target rest nor fill the log."""
    content = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    messages = [{"role": "user", "content": content}]
    call = make_call(openai, "bedrock", "converse/amazon.nova-lite-v1:0", messages=messages)
    with caplog.at_level(logging.WARNING, "gateway"), pytest.raises(NotSupported, match="by URL"):
        await (adapter.stream(call) if stream else adapter.complete(call))
    assert openai.calls == []
    assert not [record for record in caplog.records if record.name.startswith("gateway")]
