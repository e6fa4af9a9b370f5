"""The usage of a stream comes once, alone, and last, wherever the upstream put it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest

from gateway.adapters.base import Chunk, ChunkStream
from gateway.operations.chat import usage_wanted, with_usage_last
from gateway.wire.json import JsonObject

HEAD: Final = {"id": "x", "model": "m"}
COMMENT: Final = Chunk(None, b": hi\n\n")


def text(words: str, **fields: Any) -> Chunk:
    return Chunk(
        {**HEAD, "choices": [{"index": 0, "delta": {"content": words}, "finish_reason": None}], **fields}, b"raw"
    )


def alone(count: int, **fields: Any) -> Chunk:
    return Chunk({**HEAD, "choices": [], "usage": counted(count), **fields}, b"own")


def counted(count: int) -> JsonObject:
    return {"total_tokens": count}


async def passed(*chunks: Chunk) -> list[Chunk]:
    async def source() -> AsyncGenerator[Chunk, None]:
        for chunk in chunks:
            yield chunk

    stream = with_usage_last(ChunkStream(chunks=source(), take=lambda: [COMMENT, alone(9), text("taken")]))
    assert stream.take() == [COMMENT, text("taken")]
    stream = with_usage_last(ChunkStream(chunks=source()))
    return [chunk async for chunk in stream.chunks]


@pytest.mark.parametrize(
    "chunks",
    [[], [text("a")], [text("a", usage=None), COMMENT], [text("a"), alone(7)], [text("a"), alone(7, choices=[])]],
)
async def test_what_is_as_it_should_be_passes_as_it_came(chunks: list[Chunk]) -> None:
    assert await passed(*chunks) == chunks


async def test_usage_beside_content_comes_once_more_alone() -> None:
    chunks = [text("a", usage=counted(1)), text("b", usage=counted(2))]
    assert await passed(*chunks) == [*chunks, Chunk({**HEAD, "choices": [], "usage": counted(2)})]


async def test_usage_of_its_own_waits_for_the_end_and_the_newest_counts() -> None:
    assert await passed(alone(1), text("a"), alone(2), COMMENT) == [text("a"), COMMENT, alone(2)]
    assert await passed(alone(1), text("a", usage=counted(3))) == [
        text("a", usage=counted(3)),
        Chunk({**HEAD, "choices": [], "usage": counted(3)}),
    ]


@pytest.mark.parametrize("choices", [{}, {"choices": None}])
async def test_a_usage_without_choices_gets_the_empty_list(choices: JsonObject) -> None:
    assert await passed(Chunk({**HEAD, **choices, "usage": counted(1)}, b"own")) == [
        Chunk({**HEAD, "choices": [], "usage": counted(1)})
    ]


def test_a_stream_with_a_usage_to_come_has_not_ended() -> None:
    stream = with_usage_last(ChunkStream(chunks=_none(), take=lambda: [text("a")], ended=lambda: True))
    assert stream.take() == [text("a")]
    assert stream.ended()
    stream = with_usage_last(ChunkStream(chunks=_none(), take=lambda: [alone(1)], ended=lambda: True))
    assert stream.take() == []
    assert not stream.ended()


async def _none() -> AsyncGenerator[Chunk, None]:
    return
    yield


async def test_an_error_is_not_held_back_whatever_it_carries() -> None:
    chunks = [text("a"), Chunk({"error": {"message": "x"}, "usage": counted(1)})]
    assert (await passed(*chunks))[:2] == chunks


@pytest.mark.parametrize(
    ("params", "overrides", "wanted"),
    [
        ({}, {}, False),
        ({"stream_options": {"include_usage": True}}, {}, True),
        ({"stream_options": {"include_usage": True}}, {"stream_options": None}, False),
        ({"stream_options": {"include_usage": False}}, {"stream_options": {"include_usage": True}}, True),
        ({"stream_options": "yes"}, {}, False),
    ],
)
def test_it_is_asked_for_by_the_request_or_by_the_file(params: Any, overrides: Any, wanted: bool) -> None:
    assert usage_wanted(params, overrides) is wanted
