"""Speech through real HTTP: bytes or events, with fallback before they begin and a reset when they break."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from gateway.adapters.relay.byte_stream import HEAD_BYTES
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import Answer, RunningGateway, Start, read_until_broken

SOUND = bytes(n * 7 % 251 for n in range(5 * HEAD_BYTES))
PATH = "/v1/audio/speech"
ASKED = {"input": "hello", "voice": "alloy"}
ERROR = {"error": {"message": "busy", "type": "overloaded_error"}}


def events(*data: str) -> bytes:
    return "".join(f"event: {json.loads(one)['type']}\ndata: {one}\n\n" for one in data).encode()


DELTA = '{"type":"speech.audio.delta","audio":"AAAA"}'
DONE = '{"type":"speech.audio.done","usage":{"input_tokens":2,"output_tokens":3,"total_tokens":5}}'


async def speak(gateway: RunningGateway, model: str, **more: Any) -> Answer:
    return await gateway.request("POST", PATH, json={"model": model, **ASKED, **more})


@pytest.mark.parametrize("size", [1, HEAD_BYTES - 1, HEAD_BYTES, len(SOUND)])
@pytest.mark.parametrize("kind", ["audio/mpeg", "application/octet-stream", "audio/wav; rate=8000"])
async def test_bytes_pass_as_they_come_with_their_type(
    gateway: RunningGateway, upstream: ScriptedOpenAI, size: int, kind: str
) -> None:
    upstream.script("a", body=SOUND[:size], content_type=kind)
    answer = await speak(gateway, "fast")
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert answer.body == SOUND[:size]
    assert answer.headers["x-gateway-target"] == "up/a"
    assert upstream.requests[0].body == {"model": "a", **ASKED}
    assert upstream.requests[0].headers["accept"] == "*/*"


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ({"status": 503, "body": {}}, "overloaded"),
        ({"body": ERROR}, "overloaded"),
        ({"body": ERROR, "content_type": "text/plain"}, "overloaded"),
        ({"body": {"text": "no sound"}}, "bad_response"),
        ({"body": b"", "content_type": "audio/mpeg"}, "bad_response"),
        ({"body": b"<html>", "content_type": "text/html"}, "bad_response"),
        ({"body": SOUND, "content_type": "audio/mpeg", "cut_after": 100}, "bad_response"),
        ({"body": SOUND, "content_type": "audio/mpeg", "cut_after": HEAD_BYTES - 1}, "bad_response"),
        ({"body": SOUND[:100], "content_type": "audio/mpeg", "short_body": True}, "bad_response"),
        ({"body": b"sk-upstream-0123456789" + SOUND, "content_type": "audio/mpeg"}, "bad_response"),
    ],
)
async def test_what_fails_within_the_first_16_kib_falls_over(
    start: Start, upstream: ScriptedOpenAI, outcome: Any, kind: str
) -> None:
    upstream.script("a", **outcome).script("b", body=SOUND, content_type="audio/mpeg")
    routes = """\
version: 1
defaults: {retries: 0}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream-0123456789}
models: {pair: [up/a, up/b], one: up/a}
"""
    gateway = await start(routes)
    answer = await speak(gateway, "pair")
    assert (answer.status, answer.body) == (200, SOUND)
    assert answer.headers["x-gateway-target"] == "up/b"
    alone = await speak(gateway, "one")
    assert [attempt["kind"] for attempt in alone.error["attempts"]] == [kind]


@pytest.mark.parametrize("cut_after", [HEAD_BYTES + 1, len(SOUND) - 1])
async def test_what_breaks_later_never_ends_cleanly(
    gateway: RunningGateway, upstream: ScriptedOpenAI, cut_after: int
) -> None:
    upstream.script("a", body=SOUND, content_type="audio/mpeg", cut_after=cut_after)
    with pytest.raises(aiohttp.ClientError):
        await speak(gateway, "pair")
    assert upstream.calls == ["a"]


async def test_for_a_client_of_http_1_0_a_break_is_a_reset(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    """Its body ends with the connection, so a clean end would make a part of the sound look whole."""
    upstream.script("a", body=SOUND, content_type="audio/mpeg", cut_after=HEAD_BYTES + 1)
    body = b'{"model":"fast","input":"hello"}'
    head = b"POST /v1/audio/speech HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head + body)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_silence_after_the_beginning_breaks_it(start: Start, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body=SOUND, content_type="audio/mpeg", stall_after=HEAD_BYTES + 1)
    gateway = await start(
        'version: 1\nproviders: {up: {kind: openai, base_url: "BASE_URL", api_key: k}}\n'
        "models: {fast: {chain: [up/a], timeout: {idle: 50ms}}}\n"
    )
    with pytest.raises(aiohttp.ClientError):
        await speak(gateway, "fast")
    assert await gateway.metric('gateway_attempts_total{kind="timeout",target="up/a"}') == 1


async def test_silence_at_the_beginning_falls_over(start: Start, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body=SOUND, content_type="audio/mpeg", stall_after=HEAD_BYTES - 1)
    upstream.script("b", body=SOUND, content_type="audio/mpeg")
    gateway = await start(
        'version: 1\nproviders: {up: {kind: openai, base_url: "BASE_URL", api_key: k}}\n'
        "models: {pair: {chain: [{target: up/a, timeout: {total: 50ms}, retries: 0}, up/b]}}\n"
    )
    answer = await speak(gateway, "pair")
    assert (answer.body, answer.headers["x-gateway-attempts"]) == (SOUND, "2")


async def test_events_pass_and_are_judged(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body=events(DELTA, DELTA, DONE), content_type="text/event-stream")
    answer = await speak(gateway, "fast", stream_format="sse")
    assert (answer.status, answer.body) == (200, events(DELTA, DELTA, DONE))
    assert answer.headers["content-type"] == "text/event-stream"
    assert upstream.requests[0].body == {"model": "a", **ASKED, "stream_format": "sse"}
    assert await gateway.metric('gateway_tokens_total{alias="fast",direction="completion",target="up/a"}') == 3


async def test_events_that_break_end_with_an_error_event_and_a_reset(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", body=events(DELTA, DELTA), content_type="text/event-stream")
    body = await read_until_broken(gateway, PATH, {"model": "pair", **ASKED, "stream_format": "sse"})
    assert body.startswith(events(DELTA, DELTA))
    assert b'event: error\ndata: {"type":"error","error":{"message"' in body


@pytest.mark.parametrize(("body", "kind"), [(ERROR, "overloaded"), ({"text": "no sound"}, "bad_response")])
async def test_json_in_place_of_events_falls_over(
    gateway: RunningGateway, upstream: ScriptedOpenAI, body: Any, kind: str
) -> None:
    upstream.script("a", body=body).script("b", status=500, body={})
    answer = await speak(gateway, "pair", stream_format="sse")
    assert [attempt["kind"] for attempt in answer.error["attempts"]] == [kind, "server_error"]


@pytest.mark.parametrize("told", [events('{"type":"error","message":"busy","code":"server_error"}'), b": nothing\n\n"])
async def test_events_without_sound_fall_over(gateway: RunningGateway, upstream: ScriptedOpenAI, told: bytes) -> None:
    upstream.script("a", body=told, content_type="text/event-stream")
    upstream.script("b", body=events(DELTA, DONE), content_type="text/event-stream")
    answer = await speak(gateway, "pair", stream_format="sse")
    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "up/b")


async def test_bytes_in_place_of_events_pass_as_bytes(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body=SOUND, content_type="audio/mpeg")
    answer = await speak(gateway, "fast", stream_format="sse")
    assert (answer.headers["content-type"], answer.body) == ("audio/mpeg", SOUND)


async def test_bytes_do_not_follow_the_head_of_events(start: Start, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body=SOUND, content_type="audio/mpeg", delay_s=0.3)
    gateway = await start(
        'version: 1\nproviders: {up: {kind: openai, base_url: "BASE_URL", api_key: k}}\n'
        "models: {fast: {chain: [up/a], stream: {keepalive: 50ms}}}\n"
    )
    body = await read_until_broken(gateway, PATH, {"model": "fast", **ASKED, "stream_format": "sse"})
    assert body.startswith(b": keepalive\n\n")
    assert b"event: error\n" in body
    assert SOUND[:64] not in body


async def test_events_in_place_of_bytes_pass_as_events(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body=events(DELTA, DONE), content_type="text/event-stream")
    answer = await speak(gateway, "fast")
    assert (answer.headers["content-type"], answer.body) == ("text/event-stream", events(DELTA, DONE))


async def test_a_held_alias_sends_the_sound_once_it_is_whole(start: Start, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body=SOUND, content_type="audio/mpeg", cut_after=len(SOUND) - 1)
    upstream.script("b", body=SOUND, content_type="audio/mpeg")
    gateway = await start(
        'version: 1\nproviders: {up: {kind: openai, base_url: "BASE_URL", api_key: k}}\ndefaults: {retries: 0}\n'
        "models: {pair: {chain: [up/a, up/b], stream: {hold: full}}}\n"
    )
    answer = await speak(gateway, "pair")
    assert (answer.body, answer.headers["x-gateway-target"]) == (SOUND, "up/b")


async def test_mocks_speak(gateway: RunningGateway) -> None:
    answer = await speak(gateway, "echo")
    assert (answer.headers["content-type"], answer.body[:4]) == ("audio/wav", b"RIFF")
    told = await speak(gateway, "echo", stream_format="sse")
    assert [event["type"] for event in told.events][-1] == "speech.audio.done"


async def test_a_text_is_needed(gateway: RunningGateway) -> None:
    answer = await gateway.request("POST", PATH, json={"model": "fast"})
    assert (answer.status, answer.error["param"]) == (400, "input")
