"""LiteLLMAdapter with LiteLLM's functions replaced: what they are called with, and what becomes of the answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import litellm
import openai
import pytest

from gateway.adapters.base import NotSupported
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.adapters.litellm.support import MAX_REMEMBERED
from gateway.adapters.litellm.translate import answer_data, left_out
from gateway.operations import CHAT
from gateway.policy.failures import Kind, UpstreamError
from tests.litellm_calls import (
    ANSWER,
    MESSAGES,
    QUIET,
    TOOL,
    Dumped,
    ask,
    failure,
    forget_extras,
    make_call,
    patched,
    sent,
)

pytestmark = [pytest.mark.timeout(30), *QUIET]


@pytest.fixture
def adapter() -> LiteLLMAdapter:
    return LiteLLMAdapter(own_process=False)


async def test_function_is_looked_up_at_each_call_and_called_with_keywords(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in ("one", "two"):
        function = patched(monkeypatch, {"choices": [{"finish_reason": "stop", "message": {"content": answer}}]})
        data = await ask(adapter, make_call())
        assert data["choices"][0]["message"]["content"] == answer
        assert function.kwargs[0]["model"] == "openai/gpt-4o"


async def test_retries_and_fallbacks_are_off_and_nothing_unasked_is_sent(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    kwargs = await sent(adapter, monkeypatch, make_call())
    timeout = kwargs.pop("timeout")
    assert kwargs == {
        "model": "openai/gpt-4o",
        "messages": MESSAGES,
        "max_retries": 0,
        "num_retries": 0,
        "drop_params": True,
    }
    assert (timeout.connect, timeout.pool) == (1, 1)
    assert timeout.read > 60


async def test_a_name_without_a_provider_goes_as_it_is(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    kwargs = await sent(adapter, monkeypatch, make_call(kind="", model="gpt-4o"))
    assert kwargs["model"] == "gpt-4o"


async def test_only_model_parameters_get_through(adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    params = {
        "temperature": 0.5,
        "top_k": 3,
        "seed": None,
        "stream_options": {"include_usage": True},
        "metadata": {"model_group": "x"},
        "api_base": "http://evil",
        "mock_response": "x",
        "fallbacks": ["x"],
        "anything": 1,
    }
    kwargs = await sent(adapter, monkeypatch, make_call(params))
    assert set(kwargs) == {
        "model", "messages", "temperature", "top_k", "max_retries", "num_retries", "drop_params", "timeout"
    }  # fmt: skip


async def test_the_files_parameters_win_unfiltered_and_null_removes(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = make_call(
        {"temperature": 0.5, "top_p": 0.1}, overrides={"temperature": 0, "top_p": None, "api_version": "2026-06-01"}
    )
    kwargs = await sent(adapter, monkeypatch, call)
    assert (kwargs["temperature"], kwargs["api_version"]) == (0, "2026-06-01")
    assert "top_p" not in kwargs


async def test_litellm_gets_copies(adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = {"extra_body": {"tags": ["a"]}}
    kwargs = await sent(adapter, monkeypatch, make_call(overrides=overrides))
    kwargs["messages"][0]["content"] = "changed"
    kwargs["extra_body"]["tags"].append("b")
    assert MESSAGES == [{"role": "user", "content": "hi"}]
    assert overrides == {"extra_body": {"tags": ["a"]}}


async def test_tools_never_wake_litellms_own_proxy(adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    kwargs = await sent(adapter, monkeypatch, make_call({"tools": [TOOL]}))
    assert kwargs["_skip_mcp_handler"] is True


@pytest.mark.parametrize(
    ("key", "base_url", "expected"),
    [
        (None, None, {}),
        ("k1", None, {"api_key": "k1"}),
        (None, "http://127.0.0.1:1/v1", {"api_key": "none", "api_base": "http://127.0.0.1:1/v1"}),
        ("k1", "http://127.0.0.1:1/v1", {"api_key": "k1", "api_base": "http://127.0.0.1:1/v1"}),
    ],
)
async def test_a_host_of_the_file_gets_the_files_key_or_none(
    adapter: LiteLLMAdapter,
    monkeypatch: pytest.MonkeyPatch,
    key: str | None,
    base_url: str | None,
    expected: dict[str, str],
) -> None:
    kwargs = await sent(adapter, monkeypatch, make_call(key=key, base_url=base_url))
    assert {name: kwargs[name] for name in ("api_key", "api_base") if name in kwargs} == expected


async def test_headers_of_endpoint_and_request_are_joined(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = make_call(endpoint_headers={"x-team": "blue"}, headers={"x-request-id": "r1"})
    kwargs = await sent(adapter, monkeypatch, call)
    assert kwargs["extra_headers"] == {"x-team": "blue", "x-request-id": "r1"}


async def test_the_environments_organization_is_left_out_for_a_host_of_the_file(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_PROJECT_ID", "p")
    url = "http://127.0.0.1:1/v1"
    kwargs = await sent(adapter, monkeypatch, make_call(base_url=url))
    assert {name: type(value) for name, value in kwargs["extra_headers"].items()} == {
        "OpenAI-Organization": type(left_out()),
        "OpenAI-Project": type(left_out()),
    }
    assert isinstance(left_out(), openai.Omit)
    call = make_call(base_url=url, endpoint_headers={"openai-project": "p2"}, overrides={"organization": "o"})
    kwargs = await sent(adapter, monkeypatch, call)
    assert (kwargs["extra_headers"], kwargs["organization"]) == ({"OpenAI-Project": "p2"}, "o")
    assert "extra_headers" not in await sent(adapter, monkeypatch, make_call())


async def test_embeddings_have_their_own_function_and_parameters(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"data": [{"embedding": [1.0], "index": 0}]}
    function = patched(monkeypatch, body, "aembedding")
    call = make_call(
        {"input": ["a"], "dimensions": 5, "temperature": 1}, model="text-embedding-3-small", operation="embeddings"
    )
    assert await ask(adapter, call) == body
    kwargs = function.kwargs[0]
    assert (kwargs["input"], kwargs["dimensions"], kwargs["max_retries"]) == (["a"], 5, 0)
    assert "temperature" not in kwargs


async def test_a_vendor_that_needs_a_key_is_not_called_without(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = patched(monkeypatch, ANSWER)
    error = await failure(adapter, make_call(key_required=True))
    assert error.kind is Kind.AUTH
    assert function.kwargs == []


@pytest.mark.parametrize("model", ["a/../../b", "a?x=1", "a#b", "a b", "a\nb", "a\x00b", "a\\b", ""])
async def test_a_model_that_could_steer_a_url_is_not_called(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    function = patched(monkeypatch, ANSWER)
    error = await failure(adapter, make_call(model=model))
    assert error.kind is Kind.NOT_FOUND
    assert function.kwargs == []


async def test_what_litellm_supports_is_asked_once_per_model(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def supported(*, model: str, custom_llm_provider: str | None) -> list[str]:
        asked.append(f"{custom_llm_provider}/{model}")
        return ["temperature"]

    function = patched(monkeypatch, ANSWER)
    monkeypatch.setattr(litellm, "get_supported_openai_params", supported)
    for _ in range(3):
        with pytest.raises(NotSupported, match=r"^does not support tools$"):
            await ask(adapter, make_call({"tools": [TOOL]}))
    await ask(adapter, make_call({"tools": [], "response_format": {"type": "text"}}))
    assert asked == ["openai/gpt-4o"]
    assert len(function.kwargs) == 1


@pytest.mark.parametrize("asked", [
    {"tools": [TOOL], "tool_choice": "x" * 2**20},
    {"tools": [TOOL], "tool_choice": {"type": "x" * 2**20}},
    {"response_format": {"type": "x" * 2**20}},
])  # fmt: skip
async def test_a_clients_long_word_is_neither_kept_nor_named(adapter: LiteLLMAdapter, asked: dict[str, Any]) -> None:
    with pytest.raises(NotSupported) as refused:
        await ask(adapter, make_call(asked, kind="anthropic", model="claude-sonnet-4-5"))
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("kind", ["anthropic", "deepseek"])
@pytest.mark.parametrize("odd", [[], {}, [["image_url"]], 7])
async def test_an_odd_type_is_left_to_the_upstream(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch, kind: str, odd: object
) -> None:
    function = patched(monkeypatch, ANSWER)
    content = [{"type": "text", "text": "hi"}, {"type": odd}]
    await ask(adapter, make_call({"messages": [{"role": "user", "content": content}]}, kind=kind))
    assert len(function.kwargs) == 1


# Plain answers


async def test_what_is_remembered_of_models_is_bounded(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def supported(*, model: str, custom_llm_provider: str | None) -> list[str]:
        asked.append(model)
        return []

    monkeypatch.setattr(litellm, "get_supported_openai_params", supported)
    for number in range(MAX_REMEMBERED + 1):
        with pytest.raises(NotSupported):
            await ask(adapter, make_call({"tools": [TOOL]}, model=f"m{number}"))
    with pytest.raises(NotSupported):
        await ask(adapter, make_call({"tools": [TOOL]}, model="m0"))
    assert len(asked) == MAX_REMEMBERED + 2


async def test_a_plain_dict_is_an_answer_and_stays_what_it_is(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched(monkeypatch, ANSWER)
    assert await ask(adapter, make_call()) == ANSWER


@pytest.mark.parametrize("unfinished", [{}, {"finish_reason": None}])
async def test_a_dict_without_a_finish_reason_is_finished(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch, unfinished: dict[str, None]
) -> None:
    given = {"choices": [{"message": {"content": "hello"}, **unfinished}]}
    patched(monkeypatch, given)
    data = await ask(adapter, make_call())
    assert data == {"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}
    assert given == {"choices": [{"message": {"content": "hello"}, **unfinished}]}


async def test_litellms_objects_become_dicts_without_noise(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call], "provider_specific_fields": {"x": None}}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
    patched(monkeypatch, litellm.ModelResponse(id="x", created=1, model="m", choices=[choice]))
    data = await ask(adapter, make_call())
    assert data == {
        "id": "x",
        "created": 1,
        "model": "m",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {"role": "assistant", "content": None, "tool_calls": [call]},
            }
        ],
    }


_CALL: Final = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_TOKEN: Final = {"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": [{"token": "a", "logprob": -1}]}
_USAGE: Final = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
_DETAILS: Final = {"completion_tokens_details": {"reasoning_tokens": 1}, "prompt_tokens_details": {"cached_tokens": 0}}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"message": {"content": "", "reasoning_content": "hm", "thinking_blocks": [{"type": "thinking"}]}},
        {"message": {"content": None, "tool_calls": [_CALL, {**_CALL, "id": "d"}]}},
        {"message": {"content": "a", "annotations": [{"type": "url_citation"}], "audio": None, "x_own": [1, "a"]}},
        {"message": {"content": "a", "provider_specific_fields": {"x": 1}, "": 1, "_x": 2}},
        {"logprobs": {"content": [_TOKEN]}},
        {"usage": litellm.Usage(**_USAGE, **_DETAILS), "service_tier": "flex", "x_flag": True, "_y": 1.5},
        {"usage": litellm.Usage(**_USAGE), "choices": []},
    ],
)
def test_answers_of_plain_values_lose_nothing_on_their_shorter_way(fields: dict[str, Any]) -> None:
    of_choice = {name: value for name, value in fields.items() if name in {"message", "logprobs"}}
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "a"}, **of_choice}
    others = {name: value for name, value in fields.items() if name not in of_choice}
    item = litellm.ModelResponse(**{"id": "x", "created": 1, "model": "m", "choices": [choice], **others})
    item._response_ms = 1.5
    wanted = answer_data(Dumped(item))
    assert answer_data(item) == wanted
    forget_extras(item)
    assert answer_data(item) == wanted


@pytest.mark.parametrize("answer", [None, {"choices": []}, {}, litellm.ModelResponse(choices=[])])
async def test_no_choices_are_a_bad_response(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    patched(monkeypatch, answer)
    with pytest.raises(UpstreamError) as caught:
        CHAT.check_reply(await ask(adapter, make_call()))  # as the engine does
    assert caught.value.kind is Kind.BAD_RESPONSE


async def test_an_error_inside_a_dict_is_left_to_the_engine(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched(monkeypatch, {"error": {"message": "no"}})
    assert await ask(adapter, make_call()) == {"error": {"message": "no"}}


async def test_something_that_is_no_answer_at_all_is_a_bug(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched(monkeypatch, SimpleNamespace(model_dump=lambda: "text"))
    with pytest.raises(TypeError, match="SimpleNamespace"):
        await ask(adapter, make_call())
