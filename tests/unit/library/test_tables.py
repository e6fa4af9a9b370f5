"""`Provider()` in a program: the built-in mapping, bare names, and LiteLLM as people patch it in their own tests."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway import ConfigError, Provider
from gateway.wire.json import JsonObject
from tests.litellm_calls import QUIET

pytestmark = [pytest.mark.timeout(60), *QUIET]

HELLO: list[JsonObject] = [{"role": "user", "content": "hello"}]
ANSWER: JsonObject = {"choices": [{"message": {"role": "assistant", "content": "patched"}, "finish_reason": "stop"}]}


class Patched:
    """Stands in for `litellm.acompletion` and notes how it was called."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.failing: set[str] = set()
        """Models and keys."""

    async def __call__(self, **kwargs: Any) -> Any:
        self.calls.append(kwargs)
        if {kwargs["model"], kwargs.get("api_key")} & self.failing:
            litellm: Any = importlib.import_module("litellm")
            raise litellm.RateLimitError("busy", llm_provider="openai", model=kwargs["model"])
        return self._stream() if kwargs.get("stream") else dict(ANSWER)

    async def _stream(self) -> AsyncIterator[JsonObject]:
        for delta, finish in (({"content": "pat"}, None), ({"content": "ched"}, None), ({}, "stop")):
            yield {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Patched:
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    patched = Patched()
    monkeypatch.setattr(importlib.import_module("litellm"), "acompletion", patched)
    return patched


async def test_a_patched_acompletion_is_called_with_keywords_and_provider_slash_name(patched: Patched) -> None:
    response = await Provider().complete_chat(model="gpt-4o", messages=HELLO, temperature=0.7)
    assert response["choices"][0]["message"]["content"] == "patched"
    (call,) = patched.calls
    assert call["model"] == "openai/gpt-4o"
    assert call["messages"] == HELLO
    assert call["temperature"] == 0.7
    assert (call["max_retries"], call["num_retries"]) == (0, 0)
    assert not {"top_p", "n", "max_tokens", "user", "fallbacks", "api_base"} & call.keys()


async def test_the_built_in_fallback_answers_when_the_first_target_fails(patched: Patched) -> None:
    patched.failing = {"openai/gpt-4o-mini"}
    provider = Provider()
    provider.add_model_mapping("quick", "openai/gpt-4o-mini")
    provider.add_model_fallback("quick", ["openai/gpt-3.5-turbo"])
    response = await provider.complete_chat("quick", HELLO)
    assert response["choices"][0]["message"]["content"] == "patched"
    assert {call["model"] for call in patched.calls} == {"openai/gpt-4o-mini", "openai/gpt-3.5-turbo"}
    assert patched.calls[-1]["model"] == "openai/gpt-3.5-turbo"


@pytest.mark.parametrize("name", ["some-bare-name", "groq/llama-3.3-70b", "nowhere/at-all"])
async def test_names_that_are_not_mapped_go_to_litellm_as_they_are(patched: Patched, name: str) -> None:
    await Provider().complete_chat(name, HELLO)
    assert [call["model"] for call in patched.calls] == [name]


async def test_a_bare_target_goes_to_litellm_as_it_is(patched: Patched) -> None:
    provider = Provider()
    provider.add_model_mapping("mine", "bare-target")
    await provider.complete_chat("mine", HELLO)
    assert [call["model"] for call in patched.calls] == ["bare-target"]


async def test_a_patched_stream_is_an_async_iterator_of_dicts(patched: Patched) -> None:
    chunks = [chunk async for chunk in Provider().stream_chat("gpt-4o", HELLO)]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "patched"


async def test_fields_that_choose_a_host_or_a_key_are_dropped_with_a_warning(
    patched: Patched, caplog: pytest.LogCaptureFixture
) -> None:
    await Provider().complete_chat("gpt-4o", HELLO, api_base="http://127.0.0.1:1", custom_llm_provider="x")
    (call,) = patched.calls
    assert not {"api_base", "custom_llm_provider"} & call.keys()
    assert "are dropped" in caplog.text


def test_one_provider_serves_one_event_loop_after_another(patched: Patched) -> None:
    provider = Provider()
    for _ in range(3):
        response = asyncio.run(provider.complete_chat("gpt-4o", HELLO))
        assert response["choices"][0]["message"]["content"] == "patched"


def test_a_mapping_in_code_survives_a_change_of_the_built_in_ones(patched: Patched) -> None:
    provider = Provider()
    provider.add_model_mapping("gpt-4o", "openai/gpt-5")
    provider.reload()
    assert provider.map_model_name("gpt-4o") == "openai/gpt-5"
    with pytest.raises(ConfigError):
        provider.add_model_mapping("a*b", "openai/x")
    assert provider.map_model_name("gpt-4") == "openai/gpt-4-turbo"


def test_gateway_config_is_read_at_first_use(patched: Patched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "routes.yaml"))
    provider = Provider()
    (tmp_path / "routes.yaml").write_text("version: 1\nmodels: {mine: mock/echo}\n")
    assert provider.map_model_name("mine") == "mock/echo"
    assert provider.map_model_name("anything-else") == "anything-else"
    provider.reload()
    (tmp_path / "routes.yaml").unlink()
    assert provider.map_model_name("mine") == "mock/echo"


async def test_a_list_of_keys_is_used_in_turn_and_past_a_limit(
    patched: Patched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONE", "sk-one")
    monkeypatch.setenv("TWO", "sk-two")
    file = tmp_path / "routes.yaml"
    file.write_text("version: 1\nproviders: {openai: {api_key: ['${ONE}', '${TWO}']}}\nmodels: {fast: openai/gpt-4o}\n")
    provider = Provider.from_file(file)
    for _ in range(3):
        await provider.complete_chat(model="fast", messages=HELLO)
    assert [call["api_key"] for call in patched.calls] == ["sk-one", "sk-two", "sk-one"]
    patched.failing.add("sk-two")
    for _ in range(2):
        await provider.complete_chat(model="fast", messages=HELLO)
    assert [call["api_key"] for call in patched.calls[3:]] == ["sk-two", "sk-one", "sk-one"]
