"""LiteLLMAdapter with LiteLLM's functions replaced: streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final, NoReturn
from unittest.mock import AsyncMock, MagicMock

import litellm
import pytest
from litellm import exceptions

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.adapters.litellm.call import our_call
from gateway.adapters.litellm.translate import chunk_data
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import JsonObject
from tests.litellm_calls import ANSWER, QUIET, Dumped, forget_extras, make_call, patched
from tests.streaming import data_of

pytestmark = [pytest.mark.timeout(30), *QUIET]


@pytest.fixture
def adapter() -> LiteLLMAdapter:
    return LiteLLMAdapter(own_process=False)


class Stream:
    """An async iterator that yields what it was given, raises what is an exception, and notes that it was closed."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = iter(items)
        self.closed = 0

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        item = next(self._items, None)
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, BaseException):
            raise item
        return item

    async def aclose(self) -> None:
        self.closed += 1


def delta(text: str | None = None, **choice: Any) -> JsonObject:
    return {"choices": [{"index": 0, "delta": {"content": text} if text else {}, **choice}]}


async def test_a_stream_of_dicts_passes_unchanged(adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [delta("a", finish_reason=None), delta("b", finish_reason=None), delta(finish_reason="stop")]
    stream = Stream(items)
    function = patched(monkeypatch, stream)
    assert await data_of(await adapter.stream(make_call({"stream_options": {"x": 1}}))) == items
    assert function.kwargs[0]["stream"] is True
    assert function.kwargs[0]["stream_options"] == {"x": 1}
    assert stream.closed == 1


@pytest.mark.parametrize("index", [[], {}, None, "0", 1.5])
async def test_an_odd_index_of_a_choice_does_no_harm(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch, index: Any
) -> None:
    items = [delta("a", index=index), delta(index=index, finish_reason="stop")]
    patched(monkeypatch, Stream(items))
    assert await data_of(await adapter.stream(make_call({"n": 2}))) == items


async def test_odd_indexes_beneath_litellm_do_no_harm(adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    indexes: list[Any] = [[], 1, "2", None]
    chosen = [SimpleNamespace(index=index, finish_reason="stop") for index in indexes]

    class Wrapper(Stream):
        def __init__(self) -> None:
            super().__init__([])
            self.completion_stream: Any = Stream([SimpleNamespace(choices=chosen)])

        async def __anext__(self) -> Any:
            await anext(self.completion_stream)
            return delta("a", finish_reason=None)

    patched(monkeypatch, Wrapper())
    chunks = await data_of(await adapter.stream(make_call({"n": 2})))
    reasons = [(choice["index"], choice["finish_reason"]) for chunk in chunks for choice in chunk["choices"]]
    assert reasons == [(0, None), (0, "stop"), (1, "stop")]


async def test_dicts_that_know_no_finish_reason_end_with_one(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched(monkeypatch, Stream([delta("a"), delta("b")]))
    chunks = await data_of(await adapter.stream(make_call()))
    assert chunks == [delta("a"), delta("b", finish_reason="stop")]


async def test_a_careful_stream_that_ends_early_is_not_finished_for_it(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [delta("a"), delta("b", finish_reason=None), delta("c")]
    patched(monkeypatch, Stream(items))
    assert await data_of(await adapter.stream(make_call())) == items


async def test_what_came_before_a_break_is_handed_out(adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream([delta("a"), delta("b"), exceptions.InternalServerError("broken", "openai", "m")])
    patched(monkeypatch, stream)
    seen: list[JsonObject] = []
    chunks = await adapter.stream(make_call())
    with pytest.raises(UpstreamError) as caught:
        await data_of(chunks, seen)
    assert caught.value.kind is Kind.SERVER_ERROR
    assert seen == [delta("a"), delta("b")]
    assert stream.closed == 1


async def test_a_bug_inside_a_stream_surfaces(adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    patched(monkeypatch, Stream([delta("a"), TypeError("a bug")]))
    chunks = await adapter.stream(make_call())
    with pytest.raises(TypeError, match="a bug"):
        await data_of(chunks)


async def test_litellms_chunks_become_dicts_and_usage_stands_alone(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    items = [
        litellm.ModelResponseStream(id="x", created=1, model="m", choices=[{"index": 0, "delta": {"content": "a"}}]),
        litellm.ModelResponseStream(
            id="x", created=1, model="m", choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]
        ),
        litellm.ModelResponseStream(id="x", created=1, model="m", choices=[{"index": 0, "delta": {}}], usage=usage),
    ]
    head = {"id": "x", "created": 1, "model": "m", "object": "chat.completion.chunk"}
    expected = [
        {**head, "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    patched(monkeypatch, Stream(items))
    assert await data_of(await adapter.stream(make_call())) == expected
    patched(monkeypatch, Stream(items))
    wanted = await data_of(await adapter.stream(make_call({"stream_options": {"include_usage": True}})))
    assert wanted[:2] == expected
    assert wanted[2]["choices"] == []
    assert wanted[2]["usage"]["total_tokens"] == 3


CHUNKS: Final[tuple[dict[str, Any], ...]] = (
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"index": 1, "delta": {"content": "a"}, "finish_reason": "stop"}], "system_fingerprint": "f"},
    {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}, "logprobs": None}]},
    {"choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [{"token": "a", "logprob": -1}]}}]},
    {"choices": [{"index": 0, "delta": {"content": "a", "provider_specific_fields": {"x": 1}}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}}]},
    {"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]},
    {"choices": [{"index": 0, "delta": {"content": "a"}}], "service_tier": "flex", "x_flag": True},
    {"choices": [{"index": 0, "delta": {}}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    {"choices": []},
)


@pytest.mark.parametrize("chunk", CHUNKS)
async def test_chunks_of_plain_values_lose_nothing_on_their_shorter_way(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch, chunk: dict[str, Any]
) -> None:
    item = litellm.ModelResponseStream(id="x", created=1, model="m", **chunk)
    wanted = chunk_data(Dumped(item), model=None)
    assert chunk_data(item, model=None) == wanted
    forget_extras(item)
    assert chunk_data(item, model=None) == wanted


async def test_closing_before_the_first_event_and_twice_is_safe(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream([delta("a")])
    patched(monkeypatch, stream)
    chunks = await adapter.stream(make_call())
    await chunks.aclose()
    await chunks.aclose()
    assert stream.closed == 1
    assert await data_of(chunks) == []


async def test_an_answer_where_a_stream_was_asked_for_is_a_bad_response(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched(monkeypatch, ANSWER)
    with pytest.raises(UpstreamError) as caught:
        await adapter.stream(make_call())
    assert caught.value.kind is Kind.BAD_RESPONSE


async def test_cancelling_passes_through_and_closes(adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[JsonObject]:
        try:
            yield delta("a", finish_reason=None)
            await asyncio.Event().wait()
        finally:
            closed.set()

    patched(monkeypatch, endless())
    chunks = await adapter.stream(make_call())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(data_of(chunks), 0.05)
    assert closed.is_set()


async def test_a_call_can_be_cancelled(adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(**kwargs: Any) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    await adapter.prepare()
    monkeypatch.setattr(litellm, "acompletion", never)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(adapter.complete(make_call()), 0.05)
    assert our_call() is None


async def test_a_stream_that_breaks_at_once_hands_out_nothing(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched(monkeypatch, Stream([exceptions.RateLimitError("slow", "openai", "m")]))
    chunks = await adapter.stream(make_call({"n": 2}))
    with pytest.raises(UpstreamError) as caught:
        await chunks.read()
    assert caught.value.kind is Kind.RATE_LIMIT


async def test_an_iterator_that_cannot_be_closed_will_do(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bare:
        def __init__(self) -> None:
            self._left = 2

        def __aiter__(self) -> Bare:
            return self

        async def __anext__(self) -> JsonObject:
            self._left -= 1
            if self._left < 0:
                raise StopAsyncIteration
            return delta("a", finish_reason=None)

    patched(monkeypatch, Bare())
    assert len(await data_of(await adapter.stream(make_call()))) == 2


def mock_stream(chunks: Sequence[JsonObject]) -> MagicMock:
    stream = MagicMock()
    stream.__aiter__.return_value = list(chunks)
    return stream


@pytest.mark.parametrize("params", [{}, {"n": 2}])
@pytest.mark.parametrize("make", [mock_stream, lambda chunks: aiter(mock_stream(chunks))], ids=["mock", "its-iterator"])
async def test_a_mocks_async_iterator_streams_although_it_has_no_aiter(
    adapter: LiteLLMAdapter,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Sequence[JsonObject]], Any],
    params: JsonObject,
) -> None:
    """`unittest.mock` makes iterators with `__anext__` alone; `async for` over the mock itself takes them."""
    items = [delta("a", finish_reason=None), delta("b", finish_reason=None), delta(finish_reason="stop")]
    assert not hasattr(aiter(mock_stream(items)), "__aiter__")
    function = AsyncMock(return_value=make(items))
    monkeypatch.setattr(litellm, "acompletion", function)
    assert await data_of(await adapter.stream(make_call(params))) == items
    function.assert_awaited_once()
    function.return_value = make([delta("a"), delta("b")])
    last = (await data_of(await adapter.stream(make_call(params))))[-1]
    assert last["choices"][0]["finish_reason"] == "stop"
