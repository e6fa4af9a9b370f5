"""The token counts of a stream whose client asked for them: one event of their own, without choices, the last one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.types import Chunk, Chunks, ChunkStream, Json, Push

_OPTIONS: Final = "stream_options"


def usage_wanted(params: Mapping[str, Json], overrides: Mapping[str, Json]) -> bool:
    """Tell whether a stream is asked for with `stream_options.include_usage`; the file's `overrides` win."""
    options = overrides[_OPTIONS] if _OPTIONS in overrides else params.get(_OPTIONS)
    return isinstance(options, dict) and bool(options.get("include_usage"))


def with_usage_last(stream: ChunkStream) -> ChunkStream:
    """Return a stream that ends with its newest usage, wherever the upstream puts that.

    Some report it in the event of the finish reason, some in every event, some in an event of its own before others.
    A stream without any usage stays as it is.
    """
    chunks = _UsageLast(stream)
    return ChunkStream(chunks=chunks, headers=stream.headers, take=chunks.take, ended=chunks.ended, flow=chunks.flow)


class _UsageLast:
    def __init__(self, stream: ChunkStream) -> None:
        self._chunks = stream.chunks
        self._take = stream.take
        self._ended = stream.ended
        self._flow = stream.flow
        self._newest: Chunk | None = None
        """The last one that had a usage. Held back when it had nothing else."""

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> Chunk:
        async for chunk in self._chunks:
            if self._passes(chunk):
                return chunk
        newest, self._newest = self._newest, None
        if newest is None or newest.data is None:
            raise StopAsyncIteration
        return newest if newest.data.get("choices") == [] else Chunk({**newest.data, "choices": []})

    def take(self) -> list[Chunk]:
        """Return what is there already."""
        return self._passing(self._take())

    def ended(self) -> bool:
        """Tell whether all has been taken, the usage too."""
        return self._newest is None and self._ended()

    async def flow(self, push: Push) -> None:
        """Hand on what comes."""
        await self._flow(lambda chunks: push(self._passing(chunks)))

    async def aclose(self) -> None:
        """Close the stream."""
        await self._chunks.aclose()

    def _passing(self, chunks: list[Chunk]) -> list[Chunk]:
        return [chunk for chunk in chunks if self._passes(chunk)]

    def _passes(self, chunk: Chunk) -> bool:
        """Note a usage. What carries nothing else is held back."""
        data = chunk.data
        if data is None or not isinstance(data.get("usage"), dict):
            return True
        self._newest = chunk
        return bool(data.get("choices") or data.get("error"))
