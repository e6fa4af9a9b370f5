"""Reads an answer that is bytes: sound, or a transcript as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.adapters.events import Event
from gateway.policy.echoes import Echoes
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.http1 import client as http1

HEAD_BYTES: Final = 16 * 1024
"""The first read waits for so many bytes, or the end: until then another target can be asked."""


class ByteStream:
    """The bytes of one response. They have no end mark, so only the end of the HTTP message makes them whole."""

    def __init__(
        self,
        response: http1.Response,
        headers: Mapping[str, str],
        content_type: str,
        echoes: Echoes,
        *,
        begun: bytes = b"",
        is_whole: bool = False,
    ) -> None:
        """`content_type` is the response's own; `begun` was read of it already, with `is_whole` all of it."""
        self.headers = {**headers, "content-type": content_type}
        self._response = response
        self._echoes = echoes
        self._begun: bytes | None = begun
        self._ended = is_whole

    async def read(self) -> list[Event]:
        """Return the next bytes. Raises UpstreamError when they break off, or begin with a secret of the endpoint."""
        data = b""
        try:
            if self._begun is not None:
                data, self._begun = await self._head(self._begun), None
            elif not self._ended:
                data = await self._response.readany()
        except http1.Http1Error as error:
            self._response.close()
            raise UpstreamError(Kind.BAD_RESPONSE, status=self._response.status) from error
        if not data:
            self._ended = True
            self._response.close()
            return []
        return [Event(None, data, is_run=True)]

    async def aclose(self) -> None:
        """Close the response, read to its end or not."""
        self._response.close()

    async def _head(self, begun: bytes) -> bytes:
        """Return the first HEAD_BYTES or more; all there is if that is less."""
        parts, size = [begun], len(begun)
        while size < HEAD_BYTES and not self._ended:
            data = await self._response.readany()
            if not data:
                self._ended = True
                break
            parts.append(data)
            size += len(data)
        head = b"".join(parts)
        if self._echoes.in_answer(head):
            self._response.close()
            raise UpstreamError(Kind.BAD_RESPONSE, status=self._response.status)
        return head
