"""What the engine and its adapters say to each other: calls, replies, streams, and the adapter protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from gateway.policy.target import AdapterName, Limits, Operation, Target
from gateway.wire.json import EMPTY, Json, JsonObject


# Neither frozen nor by keywords only, like Reply, Attempt and CallReport: each request makes one, and that would take
# several times as long.
@dataclass(slots=True)
class Call:
    """One attempt as an adapter sees it. Nothing changes it."""

    operation: Operation
    target: Target
    params: Mapping[str, Json]
    """The request after its hooks. Holds neither `model` nor `stream` nor anything of FORBIDDEN_PARAMS."""
    limits: Limits
    overrides: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    """The file's `params` for this target: they win over `params`, and None removes one. Trusted."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """What goes upstream of the request's own headers: `x-request-id` and `traceparent`."""


@dataclass(slots=True)
class Reply:
    """A plain answer."""

    data: JsonObject
    """The body in OpenAI's shape."""
    raw: bytes | None = None
    """The body as the upstream sent it; None when there is none or `data` was changed since."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """What may go back to the client: `retry-after`, `x-ratelimit-*`, `openai-*`. Lower-case names."""


@dataclass(slots=True)
class Chunk:
    """One event of a stream. `[DONE]` is never a chunk: a stream that is whole just ends."""

    data: JsonObject | None
    """The event in OpenAI's shape; None for a comment or an event without data."""
    raw: bytes | None = None
    """The event as it came, blank line included; None when there is none or `data` was changed since."""


class Chunks(Protocol):
    """The events of one stream, in order. An async generator of chunks is one; `aclose()` closes the upstream."""

    def __aiter__(self) -> AsyncIterator[Chunk]:
        """Return itself."""

    async def __anext__(self) -> Chunk:
        """Return the next event; StopAsyncIteration at the end."""

    async def aclose(self) -> None:
        """Close the stream, whole or not. Safe to call twice, and before the first event."""


Push: TypeAlias = Callable[[list[Chunk]], bool]
"""Takes what has come of a stream, within a callback of the event loop; says whether it takes more."""


async def _no_flow(push: Push) -> None:
    """Everything has to be asked for."""


@dataclass(slots=True)
class ChunkStream:
    """An upstream's stream, open: its response headers have arrived. Whoever holds it closes `chunks`."""

    chunks: Chunks
    """Ends when the upstream ended; raises UpstreamError on any break. Adapters do not judge wholeness."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    take: Callable[[], list[Chunk]] = list
    """Return the next of `chunks` that are there already, in order; none where each has to be waited for.

    What is taken comes no more from `chunks`. Events that carry nothing but text may come as one chunk, whose data is
    empty. Never raises: a break is left for `chunks` to tell.
    """
    ended: Callable[[], bool] = bool
    """Tell whether the stream has ended well and all of it was taken: there is nothing left to ask `chunks` for.

    It is closed then, too. False where only waiting would tell.
    """
    flow: Callable[[Push], Coroutine[Any, Any, None]] = _no_flow
    """Hand on what comes, as `take` would return it, the moment it comes and without waking a task for it.

    Returns, at once or after a while, where `chunks` have to be asked again: when `push` said so, or something has come
    that ends or breaks the stream. Cancelling leaves the stream as it is.
    """


class Adapter(Protocol):
    """Reaches one sort of upstream. Raises UpstreamError for whatever the upstream does wrong."""

    async def prepare(self) -> None:
        """Make ready what a call needs, such as a slow import. Counts against no attempt's limits."""

    async def complete(self, call: Call) -> Reply:
        """Return the plain answer. Whoever waits for it keeps the limits and cancels it when one has passed."""

    async def stream(self, call: Call) -> ChunkStream:
        """Return the stream once its response headers are there. Cancelling closes the upstream."""

    async def close(self) -> None:
        """Give back connections. Nothing is called afterwards."""


Adapters: TypeAlias = Mapping[AdapterName, Adapter]
