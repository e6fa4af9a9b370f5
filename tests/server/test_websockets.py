"""There are no WebSockets here, which clients are told in the way that they expect."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.server.conftest import Start


@pytest.mark.parametrize("path", ["/v1/responses", "/responses"])
@pytest.mark.parametrize("first", [b"", b"POST"])
async def test_a_websocket_is_refused_with_426_at_once(start: Start, path: str, first: bytes) -> None:
    """Codex CLI falls back to HTTP at once after this status, and tries again after others.

    With `first` the connection has had a request of the common form before, so it was our own until then.
    """
    gateway = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    if first:
        body = b'{"model": "fast", "messages": []}'
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    writer.write(
        f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    answer = await reader.read()  # to the end: the connection is closed
    writer.close()
    head, _, said = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert b"\r\nupgrade: HTTP/1.1\r\nconnection: upgrade\r\n" in head
    assert b"\r\nConnection: close\r\n" in head
    error: Any = json.loads(said)["error"]
    assert (error["code"], error["message"]) == (
        "upgrade_required",
        "there are no WebSockets here; /v1/responses takes POST",
    )
