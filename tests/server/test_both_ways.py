"""Whoever reads a request, our own connection or aiohttp, its response is the same to the byte."""

from __future__ import annotations

import asyncio
from typing import Final, TypeAlias

import orjson
import pytest

from tests.responses import without_varying
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, RunningGateway, Start

PAGE: Final = "https://page.example"
ROUTES: Final = """\
version: 1
defaults: {retries: 0, timeout: 5s, cooldown: {failures: 100}}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
models: {fast: up/a, down: up/down, limited: up/limited, refused: up/refused}
"""
AIOHTTP: Final = "TE: trailers\r\n"
"""With this field a request is not of the common form."""

Case: TypeAlias = tuple[bytes, str, str]
"""A request with `WAY` in its head, the response's status line, and its header fields in their order."""


def request(
    model: str = "fast",
    *,
    path: str = "/v1/chat/completions",
    method: str = "POST",
    version: str = "1.1",
    fields: str = "",
    content_type: str = "application/json",
    body: bytes | None = None,
    **more: object,
) -> bytes:
    if body is None:
        body = orjson.dumps({"model": model, "messages": HELLO, "input": "one", **more})
    head = (
        f"{method} {path} HTTP/{version}\r\nHost: localhost\r\nContent-Type: {content_type}\r\nX-Request-Id: r-1\r\n"
        f"{fields}WAYContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, *, method: str = "GET", version: str = "1.1", fields: str = "") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nHost: localhost\r\nX-Request-Id: r-1\r\n{fields}WAY\r\n".encode()


ORIGIN: Final = f"Origin: {PAGE}\r\n"
OWN: Final = "server content-type x-gateway-generation x-request-id x-gateway-attempts Date"
ANSWER: Final = "server content-type x-gateway-generation x-gateway-target x-request-id x-gateway-attempts Date"
CORS: Final = "access-control-allow-origin vary access-control-expose-headers"
PREFLIGHT: Final = (
    "access-control-allow-origin vary access-control-allow-methods access-control-allow-headers access-control-max-age"
)
FINAL: Final = f"{OWN} x-should-retry Content-Length"
LAST: Final = f"{OWN} x-should-retry Connection Content-Length"
STREAM: Final = f"{ANSWER} openai-version cache-control x-accel-buffering"

CASES: Final[dict[str, Case]] = {
    "plain": (request(), "200 OK", f"{ANSWER} openai-version Content-Length"),
    "embeddings": (request(path="/v1/embeddings"), "200 OK", f"{ANSWER} openai-version Content-Length"),
    "stream": (request(stream=True), "200 OK", f"{STREAM} Transfer-Encoding"),
    "a page's": (request(fields=ORIGIN), "200 OK", f"{ANSWER} openai-version {CORS} Content-Length"),
    "a page's stream": (request(fields=ORIGIN, stream=True), "200 OK", f"{STREAM} {CORS} Transfer-Encoding"),
    "a page's list": (get("/v1/models", fields=ORIGIN), "200 OK", f"{OWN} {CORS} Content-Length"),
    "preflight": (
        get("/v1/models", method="OPTIONS", fields=f"{ORIGIN}Access-Control-Request-Method: GET\r\n"),
        "204 No Content",
        f"{OWN.replace(' content-type', '')} {PREFLIGHT}",
    ),
    "other page": (request(fields="Origin: https://evil.example\r\n"), "403 Forbidden", FINAL),
    "last": (request(fields="Connection: close\r\n"), "200 OK", f"{ANSWER} openai-version Connection Content-Length"),
    "HTTP/1.0": (request(version="1.0"), "200 OK", f"{ANSWER} openai-version Connection Content-Length"),
    "HTTP/1.0, kept alive": (
        request(version="1.0", fields="Connection: keep-alive\r\n"),
        "200 OK",
        f"{ANSWER} openai-version Connection Content-Length",
    ),
    "HTTP/1.0 stream": (request(version="1.0", stream=True), "200 OK", f"{STREAM} Connection"),
    "HTTP/1.0 probe": (get("/healthz", version="1.0"), "200 OK", f"{OWN} Connection Content-Length"),
    "HTTP/1.0, unknown path": (
        get("/x", version="1.0"),
        "404 Not Found",
        f"{OWN} x-should-retry Connection Content-Length",
    ),
    "no json": (request(body=b"{,"), "400 Bad Request", FINAL),
    "no model": (request(""), "400 Bad Request", FINAL),
    "unknown model": (request("other"), "404 Not Found", FINAL),
    "unknown path": (request(path="/v1/other"), "404 Not Found", FINAL),
    "wrong method": (
        request(path="/v1/models"),
        "405 Method Not Allowed",
        f"{OWN} allow x-should-retry Content-Length",
    ),
    "too large": (request(body=b"x" * 10_001), "413 ", FINAL),
    "no json type": (request(content_type="text/plain"), "415 Unsupported Media Type", FINAL),
    "upstream fails": (request("down"), "503 Service Unavailable", f"{OWN} Content-Length"),
    "upstream fails, stream": (request("down", stream=True), "503 Service Unavailable", f"{OWN} Content-Length"),
    "upstream is full": (request("limited"), "429 Too Many Requests", f"{OWN} retry-after Content-Length"),
    "upstream refuses": (
        request("refused"),
        "400 Bad Request",
        f"{ANSWER} x-ratelimit-limit-requests x-should-retry Content-Length",
    ),
    "list": (get("/v1/models"), "200 OK", f"{OWN} Content-Length"),
    "HEAD": (get("/v1/models", method="HEAD"), "200 OK", f"{OWN} Content-Length"),
    "HEAD, unknown path": (get("/x", method="HEAD"), "404 Not Found", FINAL),
    "reload": (request(path="/-/reload", body=b"{}"), "200 OK", f"{OWN} Content-Length"),
    "no http": (b"hello\r\nWAY\r\n", "400 Bad Request", LAST),
}


async def response(gateway: RunningGateway, sent: bytes, *, is_last: bool = False) -> bytes:
    """Return every byte until the connection ends: by itself after the last request, else by one for `/healthz`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(sent if is_last else sent + get("/healthz").replace(b"WAY", b"Connection: close\r\n"))
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return without_varying(data)


@pytest.mark.parametrize(("sent", "status", "fields"), CASES.values(), ids=CASES)
async def test_a_response_does_not_depend_on_the_reader_of_its_request(
    start: Start, upstream: ScriptedOpenAI, sent: bytes, status: str, fields: str
) -> None:
    upstream.script("a", headers={"openai-version": "1"}).script("down", status=503)
    upstream.script("limited", status=429, headers={"retry-after": "1"})
    upstream.script("refused", status=400, headers={"x-ratelimit-limit-requests": "3"})
    gateway = await start(ROUTES, allow_origins=(PAGE,), max_body_bytes=10_000)
    is_last = "Connection" in fields.split()
    ours = await response(gateway, sent.replace(b"WAY", b""), is_last=is_last)
    assert ours == await response(gateway, sent.replace(b"WAY", AIOHTTP.encode()), is_last=is_last)
    head, _, rest = ours.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first.startswith(f"HTTP/1.1 {status}")
    assert [line.partition(":")[0] for line in lines] == fields.split()
    assert is_last or rest.count(b"HTTP/1.1 200 OK\r\n") == 1


@pytest.mark.parametrize("way", ["", AIOHTTP], ids=["ours", "aiohttp"])
async def test_a_drain_refuses_and_ends_the_connection(gateway: RunningGateway, way: str) -> None:
    gateway.parts.lifecycle.draining = True
    data = await response(gateway, request().replace(b"WAY", way.encode()), is_last=True)
    assert data.startswith(b"HTTP/1.1 503 ")
    assert b"Connection: close\r\n" in data
    assert data.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("way", ["", AIOHTTP], ids=["ours", "aiohttp"])
async def test_the_log_and_the_metrics_do_not_depend_on_the_reader(gateway: RunningGateway, way: str) -> None:
    for sent in (request(), request("other"), request(stream=True)):
        await response(gateway, sent.replace(b"WAY", way.encode()))
    for status, alias, count in ((200, "fast", 2), (404, "", 1)):
        sample = f'gateway_requests_total{{alias="{alias}",operation="chat",status="{status}"}}'
        assert await gateway.metric(sample) == count
