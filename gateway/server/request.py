"""A client's request, the same whether our own connection or aiohttp's server has read it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Channel(Protocol):
    """What a request needs of the connection that it came by."""

    async def read_body(self) -> bytes:
        """Return the body once it is whole. Raises BadRequest."""

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written. Raises ConnectionError when it is gone."""


@dataclass(slots=True, eq=False)
class Request:
    """One request. All of it is frozen but `body` and `keep_alive`."""

    channel: Channel
    transport: asyncio.Transport
    """What the response is written to."""
    method: str
    """In capitals."""
    path: str
    """Percent-decoded, without the query."""
    query: Mapping[str, Sequence[str]]
    """All values of each name, in their order."""
    headers: Mapping[str, str]
    """Lower-case names. The first value where a field came more than once."""
    body: bytes | None = None
    """None until all of it has come; then `channel.read_body` need not be called."""
    has_body: bool = True
    is_http11: bool = True
    """False for HTTP/1.0, which knows no chunks."""
    keep_alive: bool = True
    """The connection takes another request after this one. Who ends the connection sets it to False."""

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()
