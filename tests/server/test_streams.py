"""Streams through real HTTP: passed on as they come, whole or visibly broken, and cut when the client leaves."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp
import orjson
import pytest

from tests.raw_http import OK, Peer, serving
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, ROUTES, Answer, RunningGateway, Start, until


def texts(answer: Answer) -> str:
    chunks = [event for event in answer.events if event != "[DONE]" and "choices" in event]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def request_bytes(model: str, *, stream: bool = True, version: str = "1.1") -> bytes:
    body = orjson.dumps({"model": model, "messages": HELLO, "stream": stream})
    head = f"POST /v1/chat/completions HTTP/{version}\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def raw_response(gateway: RunningGateway, request: bytes) -> bytes:
    """Return every byte that came until the server closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request)
    data = await reader.read()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return data


async def test_a_stream_is_passed_on_and_ends_with_done(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", chunks=["one ", "two"], comments=True)
    answer = await gateway.chat("fast", stream=True, stream_options={"include_usage": True})
    assert (answer.status, texts(answer)) == (200, "one two")
    assert answer.events[-1] == "[DONE]"
    assert answer.events[-2]["choices"] == []
    assert answer.body.count(b"[DONE]") == 1
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["x-gateway-target"] == "up/a"
    assert answer.headers["x-gateway-attempts"] == "1"
    assert answer.headers["x-request-id"]


async def test_chunks_are_not_held_back(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    gate = asyncio.Event()
    upstream.script("a", chunks=["one ", "two"], stall_after=1, gate=gate)
    body = {"model": "fast", "messages": HELLO, "stream": True}
    async with gateway.session.post(gateway.url + "/v1/chat/completions", json=body) as response:
        seen = b""
        while b"one " not in seen:
            seen += await response.content.readany()
        assert b"two" not in seen
        gate.set()
        rest = await response.content.read()
    assert b"two" in rest
    assert rest.endswith(b"data: [DONE]\n\n")


async def test_a_stream_that_fails_before_its_content_falls_over(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", chunks=2, cut_after=0).script("b", chunks=["fine"])
    answer = await gateway.chat("pair", stream=True)
    assert (answer.status, texts(answer), upstream.calls) == (200, "fine", ["a", "b"])
    assert answer.headers["x-gateway-attempts"] == "2"


async def test_a_stream_that_nobody_answers_still_has_a_status(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=503).script("b", chunks=2, cut_after=0)
    answer = await gateway.chat("pair", stream=True)
    assert (answer.status, answer.error["code"]) == (502, "upstream_failed")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "fault",
    [
        {"cut_after": 1},
        {"reset": True, "cut_after": 1},
        {"malformed_after": 1},
        {"error_event_after": 1},
        {"no_finish": True},
    ],
    ids=str,
)
async def test_a_stream_that_breaks_off_cannot_be_taken_for_a_whole_one(
    gateway: RunningGateway, upstream: ScriptedOpenAI, fault: dict[str, object]
) -> None:
    upstream.script("a", chunks=["one ", "two"], **fault)
    data = await raw_response(gateway, request_bytes("fast"))
    assert data.startswith(b"HTTP/1.1 200 ")
    assert b"one " in data
    assert b"[DONE]" not in data
    assert not data.endswith(b"0\r\n\r\n")
    last = data.decode().strip().rpartition("data: ")[2]
    error = orjson.loads(last)["error"]
    assert error["code"] == "stream_broken"
    assert error["attempts"][0]["target"] == "up/a"
    assert b"scripted error" not in data
    sample = 'gateway_requests_total{alias="fast",operation="chat",status="502"}'
    assert await gateway.metric(sample) == 1


async def test_http_libraries_see_a_broken_stream_as_an_error(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", chunks=["one ", "two"], cut_after=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await gateway.chat("fast", stream=True)


async def test_a_client_of_http_1_0_gets_a_stream_that_ends_with_the_connection(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", chunks=["one"])
    data = await raw_response(gateway, request_bytes("fast", version="1.0"))
    assert b"transfer-encoding" not in data.lower()
    assert data.endswith(b"data: [DONE]\n\n")


async def test_post_hooks_change_each_chunk_and_a_failing_one_breaks_the_stream(start: Start) -> None:
    hooks = """\
def shout(chunk):
    for choice in chunk["choices"]:
        if choice["delta"].get("content"):
            choice["delta"]["content"] = choice["delta"]["content"].upper()
    return chunk


def fail_at_the_end(chunk):
    if chunk["choices"][0]["finish_reason"]:
        raise ValueError("the reply")
    return chunk
"""
    routes = """\
version: 1
models:
  loud: {chain: [mock/echo], hooks: {post: [HOOKS.shout]}}
  broken: {chain: [mock/echo], hooks: {post: [HOOKS.fail_at_the_end]}}
"""
    gateway = await start(routes, hooks=hooks)
    answer = await gateway.chat("loud", stream=True)
    assert (texts(answer), answer.events[-1]) == ("HELLO", "[DONE]")
    data = await raw_response(gateway, request_bytes("broken"))
    assert b"[DONE]" not in data
    assert b"hook_failed" in data
    assert b"the reply" not in data


async def test_a_hook_that_fails_at_the_first_chunk_leaves_room_for_a_status(start: Start) -> None:
    hooks = "def fail(chunk):\n    raise ValueError('the reply')\n"
    gateway = await start("version: 1\nhooks: {post: [HOOKS.fail]}\nmodels: {fast: mock/echo}\n", hooks=hooks)
    answer = await gateway.chat("fast", stream=True)
    assert (answer.status, answer.error["code"]) == (500, "hook_failed")
    assert answer.headers["x-gateway-target"] == "mock/echo"


async def test_a_chunk_that_is_no_json_breaks_the_stream_in_our_words(start: Start) -> None:
    hooks = """\
def spoil_the_end(chunk):
    if chunk["choices"][0]["finish_reason"]:
        chunk["x"] = object()
    return chunk
"""
    gateway = await start("version: 1\nhooks: {post: [HOOKS.spoil_the_end]}\nmodels: {fast: mock/echo}\n", hooks=hooks)
    data = await raw_response(gateway, request_bytes("fast"))
    assert b"[DONE]" not in data
    assert b"gateway_error" in data


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_while_it_waits_ends_the_upstream_call(
    gateway: RunningGateway, upstream: ScriptedOpenAI, *, stream: bool
) -> None:
    upstream.script("a", delay_s=30)
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request_bytes("fast", stream=stream))
    await upstream.wait_for_calls(1)
    writer.close()
    await writer.wait_closed()
    await upstream.wait_for_disconnect(1.0)
    sample = 'gateway_requests_total{alias="fast",operation="chat",status="499"}'
    assert await until(lambda: gateway.metric(sample)) == 1
    assert await gateway.metric("gateway_in_flight") == 0


async def test_a_client_that_leaves_within_a_stream_ends_the_upstream_call(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", chunks=["one ", "two"], stall_after=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request_bytes("fast"))
    await reader.readuntil(b"one ")
    writer.close()
    await writer.wait_closed()
    await upstream.wait_for_disconnect(1.0)
    sample = 'gateway_requests_total{alias="fast",operation="chat",status="499"}'
    assert await until(lambda: gateway.metric(sample)) == 1


async def test_a_client_that_leaves_before_its_body_is_whole_costs_nothing(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request_bytes("fast")[:-10])
    await writer.drain()
    await until(lambda: gateway.metric("gateway_in_flight"))
    writer.close()
    await writer.wait_closed()
    assert await until(lambda: gateway.metric('gateway_requests_total{alias="",operation="chat",status="499"}')) == 1
    assert upstream.calls == []


async def test_a_client_that_does_not_send_its_body_is_told_so(start: Start) -> None:
    gateway = await start(client_s=0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request_bytes("fast")[:-10])
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_reads_slowly_slows_the_upstream_down(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    """A stream of 40 MB fits into no buffer on the way, so it cannot end before the client reads."""
    upstream.script("a", chunks=["x" * 100_000] * 400)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=4096)
    writer.write(request_bytes("fast"))
    size = len(await reader.read(1000))
    for _ in range(50):
        assert await gateway.metric("gateway_in_flight") == 1
    while data := await reader.read(1_000_000):
        size += len(data)
        if b"[DONE]" in data:
            break
    assert size > 40_000_000
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_stops_reading_is_given_up(
    start: Start, upstream: ScriptedOpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = await start(client_s=0.1)
    upstream.script("a", chunks=["x" * 100_000] * 400)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=4096)
    writer.write(request_bytes("fast"))
    await upstream.wait_for_disconnect()
    assert await until(lambda: gateway.metric('gateway_requests_total{alias="fast",operation="chat",status="499"}'))
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(40_000_000)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


NAMED = """\
version: 1
providers:
  up: {kind: openai, base_url: "BASE_URL"}
models:
  hooked: {chain: [up/a], hooks: {post: [HOOKS.stamp]}}
"""
STAMP = """\
def stamp(event):
    if event["choices"][0]["delta"].get("content") == "bad":
        raise ValueError("bad")
    return {**event, "stamped": True}
"""


def _named(*texts: str, finish: str = "stop") -> bytes:
    said = [({"content": text}, None) for text in texts]
    choices = [{"index": 0, "delta": delta, "finish_reason": reason} for delta, reason in [*said, ({}, finish)]]
    events = [b"event: word\ndata: " + orjson.dumps({"choices": [choice]}) + b"\n\n" for choice in choices]
    return b"".join(events) + b"data: [DONE]\n\n"


async def test_event_names_survive_post_hooks(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway = await start(NAMED, hooks=STAMP)
    upstream.script("a", body=_named("one ", "two"), content_type="text/event-stream")
    body = (await gateway.chat("hooked", stream=True)).body
    *events, end = body.removesuffix(b"\n\n").split(b"\n\n")
    assert end == b"data: [DONE]"
    assert len(events) == 3
    assert all(event.startswith(b"event: word\ndata: {") and b'"stamped":true' in event for event in events)


async def test_events_before_one_that_a_hook_fails_on_are_sent(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway = await start(NAMED, hooks=STAMP)
    upstream.script("a", body=_named("one ", "bad", "never"), content_type="text/event-stream")
    async with gateway.session.post(
        f"{gateway.url}/v1/chat/completions", json={"model": "hooked", "messages": HELLO, "stream": True}
    ) as response:
        body = b""
        with suppress(aiohttp.ClientPayloadError):
            async for part in response.content.iter_any():
                body += part
    assert b"one " in body
    assert b'"code":"hook_failed"' in body
    assert b"never" not in body
    assert b"[DONE]" not in body


async def test_an_upstream_that_closes_after_each_answer_fails_no_request(start: Start) -> None:
    """llama.cpp's server closes without saying so. The free retry gets a new connection, not the next that closes."""
    event = b'data: {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\n'
    body = event + b"data: [DONE]\n\n"
    answer = OK + b"content-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await asyncio.sleep(0.002)

    async with serving(handle) as server:
        gateway = await start(ROUTES.replace("BASE_URL", f"http://127.0.0.1:{server.port}/v1"))

        async def ask() -> None:
            for _ in range(40):
                answer = await gateway.chat("fast", stream=True)
                assert (answer.status, texts(answer)) == (200, "hi")

        await asyncio.gather(*(ask() for _ in range(8)))
