"""Streams with `stream.keepalive`: comments while nothing comes, before the first content and within a stream."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator
from typing import Any

import openai
import orjson
import pytest

from gateway.telemetry import logs
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, RunningGateway, Start, until
from tests.server.test_streams import raw_response, request_bytes

COMMENT = b": keepalive\n\n"

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s, stream: {keepalive: 100ms}}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream, headers: {x-own: "1"}}
models:
  fast: up/a
  pair: [up/a, up/b]
  held: {chain: [up/a, up/b], stream: {hold: full}}
  rare: {chain: [up/a], stream: {keepalive: 1m}}
  steady: {chain: [up/a], stream: {keepalive: 1s}}
  slow: {chain: [up/a], deadline: 350ms, stream: {hold: full}}
  late: {chain: [up/a], deadline: 350ms}
  hooked: {chain: [up/a], hooks: {pre: [HOOKS.wait], post: [HOOKS.stamp]}}
  refused: {chain: [up/a], hooks: {pre: [HOOKS.refuse]}}
"""

HOOKS = """\
import asyncio

from gateway import BadRequest


async def wait(params):
    await asyncio.sleep(0.25)
    return params


async def refuse(params):
    await wait(params)
    raise BadRequest("not today")


def stamp(chunk):
    return {**chunk, "stamped": True}
"""


@pytest.fixture
async def gateway(start: Start) -> RunningGateway:
    started: RunningGateway = await start(ROUTES, hooks=HOOKS)
    return started


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The lines of requests, as the server writes them."""
    root, ours = logging.getLogger(), logging.getLogger("gateway")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    monkeypatch.setattr(logs, "_lines", None)
    stream = io.StringIO()
    logs.configure_logging("info", stream=stream)
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = True


def chunks_of(response: bytes) -> tuple[bytes, list[bytes]]:
    """Return the head of a chunked response and its chunks; the last is empty if the body is whole."""
    head, _, rest = response.partition(b"\r\n\r\n")
    chunks = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        chunks.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return head, chunks


def error_in(chunk: bytes) -> Any:
    assert chunk.startswith(b"data: ")
    return orjson.loads(chunk[6:])["error"]


async def whole(gateway: RunningGateway, model: str, **options: Any) -> bytes:
    """Return a response whose connection the server closes."""
    request = request_bytes(model, **options).replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)
    return await raw_response(gateway, request)


@pytest.mark.parametrize("model", ["pair", "held"])
async def test_a_silent_stream_gets_its_head_and_comments_and_fails_over(
    gateway: RunningGateway, upstream: ScriptedOpenAI, model: str
) -> None:
    upstream.script("a", delay_s=0.25, status=503).script("b", delay_s=0.2, reply="hello there")
    head, chunks = chunks_of(await whole(gateway, model))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-type: text/event-stream" in head
    assert b"cache-control: no-cache" in head
    assert b"x-gateway-generation: 1" in head
    assert b"x-request-id: " in head
    assert b"x-gateway-attempts" not in head
    assert b"x-gateway-target" not in head
    comments = chunks.count(COMMENT)
    assert 2 <= comments <= 5
    assert chunks[:comments] == [COMMENT] * comments
    assert b"hello " in b"".join(chunks[comments:])
    assert chunks[-1] == b""
    assert b"data: [DONE]\n\n" in chunks[-2]
    assert upstream.calls == ["a", "b"]


async def test_a_stream_that_is_soon_there_has_its_usual_head(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", reply="hello", headers={"x-ratelimit-remaining-requests": "9"})
    upstream.script("a", status=503)
    first, second = await whole(gateway, "rare"), await whole(gateway, "fast")
    assert b"x-gateway-attempts: 1" in first
    assert b"x-gateway-target: up/a" in first
    assert b"x-ratelimit-remaining-requests: 9" in first
    assert COMMENT not in first
    assert second.startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("model", ["pair", "held"])
async def test_total_failure_after_the_head_is_an_error_in_the_stream_and_in_the_log(
    gateway: RunningGateway, upstream: ScriptedOpenAI, log: io.StringIO, model: str
) -> None:
    upstream.script("a", delay_s=0.25, status=503).script("b", status=500)
    response = await whole(gateway, model)
    head, chunks = chunks_of(response)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    error = error_in(chunks[-1])
    assert error["code"] == "upstream_failed"
    assert [(one["target"], one["kind"]) for one in error["attempts"]] == [
        ("up/a", "overloaded"),
        ("up/b", "server_error"),
    ]
    assert b"[DONE]" not in response
    assert not response.endswith(b"0\r\n\r\n")
    line = orjson.loads(await until(log.getvalue))
    assert (line["status"], line["error"], line["stream"]) == (502, "upstream_failed", True)
    assert [one["target"] for one in line["attempts"]] == ["up/a", "up/b"]
    assert await gateway.metric(f'gateway_requests_total{{alias="{model}",operation="chat",status="502"}}') == 1
    assert await gateway.metric("gateway_in_flight") == 0


async def test_what_the_upstream_says_stands_in_the_stream_beside_the_attempts(
    gateway: RunningGateway, upstream: ScriptedOpenAI, log: io.StringIO
) -> None:
    error = {"message": "too long", "code": "context_length_exceeded", "type": "invalid_request_error"}
    upstream.script("a", delay_s=0.25, status=400, error=error)
    _, chunks = chunks_of(await whole(gateway, "fast"))
    told = error_in(chunks[-1])
    assert (told["message"], told["code"]) == ("too long", "context_length_exceeded")
    assert [(one["target"], one["status"]) for one in told["attempts"]] == [("up/a", 400)]
    line = orjson.loads(await until(log.getvalue))
    assert (line["status"], line["target"], line["error"]) == (400, "up/a", "upstream_refused")


async def test_the_deadline_ends_a_silent_stream(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", delay_s=10)
    _, chunks = chunks_of(await whole(gateway, "late"))
    assert error_in(chunks[-1])["code"] == "upstream_failed"
    assert chunks[:-1].count(COMMENT) == len(chunks) - 1
    await upstream.wait_for_disconnect(1.0)


async def test_a_held_stream_may_be_longer_than_its_deadline(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", chunks=["one ", "two ", "three"], chunk_delay_s=0.25)
    _, chunks = chunks_of(await whole(gateway, "slow"))
    comments = chunks.count(COMMENT)
    assert comments >= 4
    assert chunks[:comments] == [COMMENT] * comments
    assert b"three" in b"".join(chunks)
    assert chunks[-1] == b""


async def test_silence_within_a_stream_gets_comments_too(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", chunks=["one ", "two"], stall_after=1, gate=(gate := asyncio.Event()))
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request_bytes("fast"))
    data = await reader.readuntil(b"one ")
    assert COMMENT not in data
    assert b"x-gateway-target: up/a" in data
    await reader.readuntil(COMMENT)
    await reader.readuntil(COMMENT)
    gate.set()
    assert COMMENT not in (await reader.readuntil(b"0\r\n\r\n")).partition(b"two")[2]
    # Nothing is sent behind the end: the connection serves the next request.
    await asyncio.sleep(0.25)
    upstream.script("a", reply="again")
    writer.write(request_bytes("fast"))
    assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    await writer.wait_closed()


async def test_a_stream_that_never_pauses_has_no_comments(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", chunks=10, chunk_delay_s=0.12)
    assert COMMENT not in await whole(gateway, "steady")


@pytest.mark.parametrize("model", ["fast", "held"])
async def test_a_client_that_leaves_among_the_comments_ends_the_upstream_call(
    gateway: RunningGateway, upstream: ScriptedOpenAI, model: str
) -> None:
    upstream.script("a", delay_s=30)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request_bytes(model))
    await reader.readuntil(COMMENT)
    writer.close()
    await writer.wait_closed()
    await upstream.wait_for_disconnect(1.0)
    sample = f'gateway_requests_total{{alias="{model}",operation="chat",status="499"}}'
    assert await until(lambda: gateway.metric(sample)) == 1
    assert await gateway.metric('gateway_attempts_total{kind="client_gone",target="up/a"}') == 1
    assert await gateway.metric("gateway_in_flight") == 0


async def test_a_client_of_http_1_0_gets_comments_without_chunks(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", delay_s=0.25, reply="hello")
    body = (await raw_response(gateway, request_bytes("fast", version="1.0"))).partition(b"\r\n\r\n")[2]
    assert body.startswith(COMMENT + COMMENT)
    assert body.endswith(b"data: [DONE]\n\n")


async def test_hooks_do_not_see_comments_and_slow_ones_are_bridged(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", chunks=["one ", "two"], stall_after=1, gate=(gate := asyncio.Event()))
    answer = asyncio.create_task(whole(gateway, "hooked"))  # noqa: TID251 - a client beside the test
    await upstream.wait_for_calls(1)
    await asyncio.sleep(0.25)
    gate.set()
    _, chunks = chunks_of(await answer)
    assert chunks[:2] == [COMMENT] * 2
    events = b"".join(chunk for chunk in chunks if chunk != COMMENT).split(b"\n\n")
    assert all(b'"stamped":true' in event for event in events if event and b"[DONE]" not in event)


async def test_a_hook_that_refuses_after_the_head_is_an_error_in_the_stream(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    _, chunks = chunks_of(await whole(gateway, "refused"))
    assert (error_in(chunks[-1])["message"], upstream.calls) == ("not today", [])


async def test_plain_answers_and_refusals_before_the_call_are_as_ever(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", delay_s=0.25, reply="hello")
    answer = await gateway.chat("fast")
    assert (answer.status, answer.text) == (200, "hello")
    assert (await gateway.chat("none", stream=True)).status == 404
    assert (await gateway.chat("fast", stream=True, messages=[])).status == 400


async def test_the_openai_client_reads_past_comments(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    messages: Any = HELLO
    upstream.script("a", delay_s=0.25, chunks=["one ", "two"], chunk_delay_s=0.25)
    upstream.script("a", delay_s=0.25, status=500)
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as client:
        stream = await client.chat.completions.create(model="fast", messages=messages, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "one two"
        broken = await client.chat.completions.create(model="fast", messages=messages, stream=True)
        with pytest.raises(openai.APIError) as caught:
            [chunk async for chunk in broken]
    assert caught.value.body is not None
    assert caught.value.code == "upstream_failed"


async def test_a_drain_ends_a_silent_stream_in_our_words(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", delay_s=30)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request_bytes("fast"))
    data = await reader.readuntil(COMMENT)
    gateway.parts.lifecycle.cut()
    data += await reader.read()
    assert error_in(chunks_of(data)[1][-1])["code"] == "shutting_down"
    writer.close()
    await writer.wait_closed()
