"""An upstream for comparing LiteLLM's classes with its call functions: it answers all alike and keeps what it got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from gateway.wire.json import JsonObject


@dataclass
class Upstream:
    """Answers every request with the same body, and keeps what it got."""

    base_url: str = ""
    body: bytes = b"{}"
    content_type: str = "application/json"
    raw: bytes = b""
    """The body of the last request."""
    got: list[tuple[str, JsonObject, dict[str, str]]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.raw = await request.read()
        self.got.append((request.raw_path, await request.json(), headers))
        return web.Response(body=self.body, headers={"content-type": self.content_type})


def telling(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that mean something to a provider."""
    dull = {"accept", "accept-encoding", "connection", "content-length", "host", "user-agent"}
    return {name: value for name, value in headers.items() if name not in dull and not name.startswith("x-stainless-")}
