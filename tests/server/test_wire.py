"""The server's wire, byte by byte: expectations, versions, connections that stay open or close, heads."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, RunningGateway, Start


def request(
    model: str = "fast", *, version: str = "1.1", headers: str = "", stream: bool = False
) -> tuple[bytes, bytes]:
    """Return a request's head and body."""
    body = orjson.dumps({"model": model, "messages": HELLO, "stream": stream})
    head = (
        f"POST /v1/chat/completions HTTP/{version}\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode(), body


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return (await reader.readuntil(b"\r\n\r\n")).lower()


async def read_plain(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await read_head(reader)
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head, await reader.readexactly(length)


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head, body = request(headers="expect: 100-continue\r\n")
    writer.write(head)
    assert await read_head(reader) == b"http/1.1 100 continue\r\n\r\n"
    writer.write(body)
    head, _ = await read_plain(reader)
    assert head.startswith(b"http/1.1 200 ok\r\n")
    writer.close()


async def test_a_refused_client_is_not_asked_for_its_body(gateway: RunningGateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head, _ = request(headers="expect: 100-continue\r\norigin: https://example.com\r\n")
    writer.write(head)
    assert (await read_head(reader)).startswith(b"http/1.1 403 ")
    writer.close()


async def test_an_unknown_expectation_is_refused(gateway: RunningGateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head, _ = request(headers="expect: a-miracle\r\n")
    writer.write(head)
    head, body = await read_plain(reader)
    assert head.startswith(b"http/1.1 417 ")
    assert orjson.loads(body)["error"]["code"] == "expectation_failed"
    writer.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("version", "headers", "stays"),
    [
        ("1.1", "", True),
        ("1.1", "connection: close\r\n", False),
        ("1.0", "", False),
        ("1.0", "connection: keep-alive\r\n", False),
    ],
)
async def test_a_connection_stays_open_or_closes_as_the_head_says(
    gateway: RunningGateway, upstream: ScriptedOpenAI, version: str, headers: str, stays: bool, stream: bool
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for _ in range(2 if stays else 1):
        writer.write(b"".join(request(version=version, headers=headers, stream=stream)))
        head = await read_head(reader)
        assert head.startswith(b"http/1.1 200 ok\r\n")
        assert (b"connection: close" in head) is not stays
        assert (b"transfer-encoding: chunked" in head) is (stream and version == "1.1")
        if stays and stream:
            assert (await reader.readuntil(b"\r\n0\r\n\r\n")).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        elif stays:
            await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    if not stays:
        body = await reader.read()
        assert (b"[DONE]" in body) is stream
    writer.close()


async def test_requests_sent_in_one_go_are_answered_in_order(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", reply="one").script("a", reply="two").script("a", reply="three")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"".join(request()) * 3)
    texts = [orjson.loads((await read_plain(reader))[1])["choices"][0]["message"]["content"] for _ in range(3)]
    assert texts == ["one", "two", "three"]
    writer.close()


async def test_a_large_answer_comes_whole(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    text = "word " * 200_000
    upstream.script("a", reply=text)
    answer = await gateway.chat("fast")
    assert answer.text == text


async def test_the_head_has_what_every_answer_has(start: Start, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", headers={"x-ratelimit-remaining-requests": "9", "openai-version": "1", "set-cookie": "a=b"})
    gateway = await start(allow_origins=("https://example.com",))
    for stream in (False, True):
        answer = await gateway.chat("fast", stream=stream, headers={"origin": "https://example.com"})
        expected = {
            "server": "gateway",
            "x-gateway-target": "up/a",
            "x-gateway-attempts": "1",
            "x-gateway-generation": "1",
            "x-ratelimit-remaining-requests": "9",
            "openai-version": "1",
            "access-control-allow-origin": "https://example.com",
            "content-type": "text/event-stream" if stream else "application/json",
        }
        assert expected.items() <= answer.headers.items()
        assert answer.headers["date"].endswith(" GMT")
        assert "set-cookie" not in answer.headers
        assert (answer.headers.get("cache-control") == "no-cache") is stream
