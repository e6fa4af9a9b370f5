"""A client's request, whether our own connection or aiohttp's server has read it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Final, Protocol

LISTS: Final = frozenset({"anthropic-beta", "cache-control"})
"""Fields that a client may spread over several lines (RFC 9110, 5.3). Each part matters."""


class Channel(Protocol):
    """The request's connection, as far as its handler needs it."""

    async def read_body(self) -> bytes | mmap:
        """Return the whole body. Raises BadRequest."""

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written. Raises ConnectionError when it is gone."""


@dataclass(slots=True, eq=False)
class Request:
    """One request. Only `path`, `deployment`, `body` and `keep_alive` change."""

    channel: Channel
    transport: asyncio.Transport
    """The response is written to it."""
    method: str
    """In capitals."""
    path: str
    """Percent-decoded, without the query; once its endpoint is found, as that knows it."""
    query: Mapping[str, Sequence[str]]
    """Name → all its values, in order."""
    headers: Mapping[str, str]
    """Lower-case names. The first value where a field came more than once; of LISTS all, as one list."""
    body: bytes | mmap | None = None
    """None until it has arrived; `channel.read_body` waits for it. One over LARGE_BYTES may have memory of its own."""
    has_body: bool = True
    is_http11: bool = True
    """False for HTTP/1.0, which has no chunked coding."""
    deployment: str | None = None
    """The model that the path names, as Azure's paths do."""
    keep_alive: bool = True
    """The connection can take another request after this one."""

    def first(self, name: str) -> str:
        """Return the first value of a field of the query; an empty text without one."""
        return self.query.get(name, ("",))[0]

    @property
    def is_anthropic(self) -> bool:
        """Whether it is of a client of Anthropic's wire, whose SDKs always send this header."""
        return "anthropic-version" in self.headers

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()
