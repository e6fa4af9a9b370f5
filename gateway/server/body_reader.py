"""Reads the rest of a large body from the socket straight into its place."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

READ_BYTES: Final = 512 * 1024
"""Most bytes of one read."""
_NOTHING: Final = memoryview(b"")


class BodyOwner(Protocol):
    """The client's connection, for which this is the transport's protocol until the body is whole."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop answering."""

    def pause_writing(self) -> None:
        """Note that the client is behind."""

    def resume_writing(self) -> None:
        """Continue: the client has caught up."""

    def body_read(self, size_bytes: int) -> None:
        """Note that so many bytes more of the body are in their place."""


class BodyReader(asyncio.BufferedProtocol):
    """The transport's protocol while a large body arrives. With `data_received` each part would be copied twice."""

    __slots__ = ("_owner", "_place", "_view")

    def __init__(self, owner: BodyOwner, view: memoryview) -> None:
        """`view` is where the rest of the body belongs; no more than that is read."""
        self._owner = owner
        self._view = view
        self._place = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the place of the next bytes."""
        return self._view[self._place : self._place + READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """Note what was read."""
        self._place += nbytes
        if self._place == len(self._view):
            self._view = _NOTHING  # transports keep this object for longer, and the body must not live so long
        self._owner.body_read(nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on the end of the connection."""
        self._view = _NOTHING
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that the client is behind."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that it has caught up."""
        self._owner.resume_writing()

    def leave(self) -> None:
        """Forget the body: what is missing of it is no longer wanted."""
        self._view = _NOTHING
