"""A raw HTTP/1.1 client that tells exactly how a response ended. A client library would smooth that over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.wire.json import EMPTY

_HEAD_END: Final = b"\r\n\r\n"


class Ending(StrEnum):
    """How a response ended."""

    WHOLE = "whole"
    """As its framing says: the last chunk, or the last byte of its Content-Length."""
    CUT = "cut"
    """The connection ended earlier."""
    HANG = "hang"
    """It never ended; we did."""
    LEFT = "left"
    """The client left on purpose."""


@dataclass(frozen=True, slots=True)
class Leave:
    """When the client goes away: after a while, or as soon as these bytes have come."""

    after_s: float | None = None
    at: bytes | None = None


@dataclass(slots=True)
class Heard:
    """What came over the wire."""

    began_s: float
    """On the event loop's clock, as is `ended_s`."""
    ended_s: float = 0.0
    status: int | None = None
    """None when no response head came."""
    headers: dict[str, str] = field(default_factory=dict)
    """Lower-case names."""
    body: bytes = b""
    """Without the transfer encoding."""
    ending: Ending = Ending.CUT
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    """Seconds since the request, and how long the body was then."""

    @property
    def elapsed_s(self) -> float:
        return self.ended_s - self.began_s


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is tested: any server that speaks the clients' wires."""

    base_url: str
    """With or without `/v1` at its end."""
    model_format: str = "{scenario}"
    headers: Mapping[str, str] = field(default_factory=dict)

    def url(self, path: str) -> str:
        """Return where requests go; `path` is below `/v1`."""
        base = self.base_url.rstrip("/")
        return f"{base if base.endswith('/v1') else base + '/v1'}{path}"


class _Body:
    """Takes the framing off a body."""

    def __init__(self, headers: Mapping[str, str], status: int) -> None:
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length")
        self._left = 0 if status in (204, 304) else int(length) if length is not None else None
        self._raw = bytearray()
        self.data = bytearray()
        self.ended = self._left == 0 and not self._chunked

    @property
    def ends_at_close(self) -> bool:
        return not self._chunked and self._left is None

    def feed(self, data: bytes) -> None:
        if self._chunked:
            self._raw += data
            self._take_chunks()
            return
        self.data += data
        if self._left is not None:
            self._left -= len(data)
            self.ended = self._left <= 0

    def _take_chunks(self) -> None:
        while not self.ended and (line := re.match(rb"([0-9a-fA-F]+)[^\r\n]*\r\n", self._raw)):
            size, start = int(line[1], 16), line.end()
            if len(self._raw) < start + size + 2:
                return
            self.data += self._raw[start : start + size]
            self.ended = size == 0
            del self._raw[: start + size + 2]


async def exchange(
    endpoint: Endpoint,
    body: Mapping[str, Any] | bytes,
    *,
    bound_s: float,
    leave: Leave | None = None,
    path: str = "/chat/completions",
    headers: Mapping[str, str] = EMPTY,
) -> Heard:
    """Send one request on a connection of its own and return what came back within `bound_s`.

    A body that is no JSON needs its `content-type` in `headers`.
    """
    loop = asyncio.get_running_loop()
    heard = Heard(loop.time())
    writer: asyncio.StreamWriter | None = None
    limit_s = leave.after_s if leave is not None and leave.after_s is not None else bound_s
    try:
        async with asyncio.timeout(limit_s):
            parts = urlsplit(endpoint.url(path))
            secure = ssl.create_default_context() if parts.scheme == "https" else None
            port = parts.port or (443 if secure else 80)
            reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=secure)
            writer.write(_request(parts.netloc, parts.path, {**endpoint.headers, **headers}, body))
            await _receive(reader, heard, None if leave is None else leave.at)
    except TimeoutError:
        heard.ending = Ending.HANG if limit_s == bound_s else Ending.LEFT
    except OSError:
        heard.ending = Ending.CUT
    finally:
        heard.ended_s = loop.time()
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    return heard


def _request(host: str, path: str, more: Mapping[str, str], body: Mapping[str, Any] | bytes) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {
        "host": host,
        "content-type": "application/json",
        "accept": "text/event-stream, application/json",
        "content-length": str(len(data)),
        **more,
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + data


async def _receive(reader: asyncio.StreamReader, heard: Heard, leave_at: bytes | None) -> None:
    loop = asyncio.get_running_loop()
    raw, body = b"", None
    while data := await reader.read(2**18):
        if body is None:
            raw += data
            head, found, data = raw.partition(_HEAD_END)
            if not found:
                continue
            heard.status, heard.headers = _read_head(head)
            body = _Body(heard.headers, heard.status)
        body.feed(data)
        heard.body = bytes(body.data)
        heard.arrivals.append((loop.time() - heard.began_s, len(heard.body)))
        if leave_at is not None and leave_at in heard.body:
            heard.ending = Ending.LEFT
            return
        if body.ended:
            heard.ending = Ending.WHOLE
            return
    heard.ending = Ending.WHOLE if body is not None and body.ends_at_close else Ending.CUT


def _read_head(head: bytes) -> tuple[int, dict[str, str]]:
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(status_line.split(" ", 2)[1]), headers
