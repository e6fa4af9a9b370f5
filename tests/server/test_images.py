"""Images as streams of events through real HTTP."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start, read_until_broken

PATH = "/v1/images/generations"
PARTIAL = {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": "AAAA"}
COMPLETED = {"type": "image_generation.completed", "b64_json": "AAAA", "usage": {"input_tokens": 3, "output_tokens": 5}}
ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
EVENTS = "text/event-stream"


def told(*events: Any) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in events)


def asked(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "prompt": "a cat", "stream": True, **more}


async def test_a_stream_is_relayed_as_the_bytes_it_came_in(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    body = told(PARTIAL, COMPLETED)
    upstream.script("a", body=body, content_type=EVENTS)
    answer = await gateway.request("POST", PATH, json=asked("fast", partial_images=1))
    assert (answer.status, answer.body) == (200, body)
    assert upstream.requests[0].body == asked("a", partial_images=1)
    assert await gateway.metric('gateway_tokens_total{alias="fast",direction="completion",target="up/a"}') == 5


@pytest.mark.parametrize(
    ("n", "events"),
    [(None, (PARTIAL,)), (2, (PARTIAL, COMPLETED)), (1, (PARTIAL, ERROR)), (2, (COMPLETED, {"type": "note"}))],
)
async def test_a_stream_without_all_images_ends_with_an_error_event_and_a_reset(
    gateway: RunningGateway, upstream: ScriptedOpenAI, n: int | None, events: Any
) -> None:
    upstream.script("a", body=told(*events), content_type=EVENTS)
    body = await read_until_broken(gateway, PATH, asked("pair", **({} if n is None else {"n": n})))
    last = body.decode().rstrip().split("\n\n")[-1]
    assert last.startswith('event: error\ndata: {"type":"error","error":{"message":')
    assert upstream.calls == ["a"]


@pytest.mark.parametrize("events", [(), (ERROR,), ({"type": "note"},)])
async def test_what_fails_before_an_image_falls_over(
    gateway: RunningGateway, upstream: ScriptedOpenAI, events: Any
) -> None:
    upstream.script("a", body=told(*events), content_type=EVENTS)
    upstream.script("b", body=told(COMPLETED, COMPLETED), content_type=EVENTS)
    answer = await gateway.request("POST", PATH, json=asked("pair", n=2))
    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "up/b")


async def test_a_plain_answer_to_a_request_for_a_stream_becomes_events(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", body={"created": 1, "data": [{"b64_json": "AAAA"}, {"b64_json": "BBBB"}], "usage": {}})
    answer = await gateway.request("POST", PATH, json=asked("fast", n=2))
    assert [(event["type"], event["b64_json"]) for event in answer.events] == [
        ("image_generation.completed", "AAAA"), ("image_generation.completed", "BBBB")
    ]  # fmt: skip


async def test_held_bytes_are_bounded(start: Start, upstream: ScriptedOpenAI) -> None:
    large = {**PARTIAL, "b64_json": "A" * 5000}
    upstream.script("a", body=told(large, COMPLETED), content_type=EVENTS)
    gateway = await start(
        'version: 1\nproviders: {up: {kind: openai, base_url: "BASE_URL", api_key: k}}\n'
        "models: {fast: {chain: [up/a], stream: {hold: full, max_bytes: 4096}}}\n"
    )
    answer = await gateway.request("POST", PATH, json=asked("fast"))
    assert (answer.status, answer.error["code"]) == (502, "hold_exceeded")


async def test_mocks_make_images_as_a_stream(gateway: RunningGateway) -> None:
    answer = await gateway.request("POST", PATH, json=asked("echo", n=2))
    kinds = [event["type"].partition(".")[2] for event in answer.events]
    assert kinds == ["partial_image", "completed", "completed"]
