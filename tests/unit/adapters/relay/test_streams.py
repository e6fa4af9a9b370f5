"""The relay's streams against a real server on the loopback: bytes, breaks, ends, and who closes the connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.adapters.base import Call
from gateway.adapters.events import Event
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.policy.failures import Kind, UpstreamError
from tests.relay_calls import a_call, failure_of
from tests.scripted_openai import ScriptedOpenAI
from tests.streaming import events_of, read_at_least

TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
EVENT_STREAM = "text/event-stream"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI() as server:
        yield server


@pytest.fixture
async def adapter() -> AsyncIterator[RelayAdapter]:
    adapter = RelayAdapter()
    await adapter.prepare()
    yield adapter
    await adapter.close()


async def chunks_of(adapter: RelayAdapter, call: Call) -> list[Event]:
    return await events_of(await adapter.stream(call))


async def broken_stream(adapter: RelayAdapter, call: Call) -> tuple[list[Event], UpstreamError]:
    """Return what came before the break, and the break."""
    opened = await adapter.stream(call)
    seen: list[Event] = []
    with pytest.raises(UpstreamError) as caught:
        await events_of(opened, seen)
    assert await opened.read() == []
    return seen, caught.value


def text_of(chunks: list[Event]) -> str:
    deltas = [choice["delta"] for chunk in chunks for choice in (chunk.data or {}).get("choices", ())]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"gzip": True},
        {"crlf": True},
        {"split_bytes": 1},
        {"gzip": True, "split_bytes": 1},
        {"crlf": True, "split_bytes": 3},
        {"no_done": True},
        {"content_type": "text/plain"},
    ],
)
async def test_a_stream_comes_event_by_event_without_done(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, how: dict[str, Any]
) -> None:
    upstream.script("a", chunks=["one ", "two"], **how)
    chunks = await chunks_of(adapter, a_call(upstream.base_url, params={"stream_options": {"include_usage": True}}))
    assert text_of(chunks) == "one two"
    assert [chunk.data["choices"] == [] for chunk in chunks if chunk.data] == [False] * 4 + [True]
    blank = b"\r\n\r\n" if how.get("crlf") else b"\n\n"
    for chunk in chunks:
        assert chunk.raw is not None
        assert chunk.raw.endswith(blank)
        assert json.loads(chunk.raw.removeprefix(b"data: ")) == chunk.data


async def test_events_pass_as_the_bytes_they_came_in(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    events = [
        b': hi\n\n', b'data:{"a" : 1}\n\n', b'id: 1\ndata: {"a":\ndata: 2}\n\n', b"event: ping\n\n", b"data:\n\n"
    ]  # fmt: skip
    upstream.script("a", body=b"".join(events) + b"data: [DONE]\n\nafter", content_type=EVENT_STREAM)
    chunks = await chunks_of(adapter, a_call(upstream.base_url))
    assert [chunk.raw for chunk in chunks] == events
    assert [chunk.data for chunk in chunks] == [None, {"a": 1}, {"a": 2}, None, None]


async def test_comments_are_chunks_without_data(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", comments=True)
    chunks = await chunks_of(adapter, a_call(upstream.base_url))
    assert [chunk.raw for chunk in chunks if chunk.data is None] == [b": keep-alive\n\n"] * 6
    assert text_of(chunks) == "hello from a"


async def test_tool_calls_come_as_they_were_sent(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", tool_calls=[TOOL_CALL])
    chunks = await chunks_of(adapter, a_call(upstream.base_url))
    assert [c.data["choices"][0]["delta"].get("tool_calls") for c in chunks if c.data] == [
        None, [{"index": 0, **TOOL_CALL}], None
    ]  # fmt: skip


async def test_each_chunk_is_there_before_the_next_is_sent(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    gate = asyncio.Event()
    upstream.script("a", chunks=["one", "two"], stall_after=1, gate=gate)
    opened = await adapter.stream(a_call(upstream.base_url))
    assert text_of(await read_at_least(opened, 2)) == "one"
    gate.set()
    assert text_of(await events_of(opened)) == "two"


@pytest.mark.parametrize("outcome", [{"empty": True}, {"no_finish": True, "no_done": True}])
async def test_a_stream_that_just_ends_is_not_judged_here(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, outcome: dict[str, Any]
) -> None:
    upstream.script("a", **outcome)
    chunks = await chunks_of(adapter, a_call(upstream.base_url))
    assert all(not choice["finish_reason"] for chunk in chunks if chunk.data for choice in chunk.data["choices"])


@pytest.mark.parametrize("tail", [b'data: {"a":1}', b'data: {"a":1}\n', b'data: {"a":1}\r\n'])
async def test_a_last_event_without_its_blank_line_gets_one(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, tail: bytes
) -> None:
    upstream.script("a", body=tail, content_type=EVENT_STREAM)
    assert await chunks_of(adapter, a_call(upstream.base_url)) == [Event({"a": 1}, tail + b"\n\n")]


async def test_a_done_without_its_blank_line_is_one(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body=b"data: [DONE]", content_type=EVENT_STREAM)
    assert await chunks_of(adapter, a_call(upstream.base_url)) == []


async def test_a_response_that_ends_with_its_connection_is_whole(
    adapter: RelayAdapter, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", wire=b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {"a":1}\n\n')
    assert await chunks_of(adapter, a_call(upstream.base_url)) == [Event({"a": 1}, b'data: {"a":1}\n\n')]


@pytest.mark.parametrize(
    "outcome",
    [
        {"malformed_after": 1},
        {"cut_after": 1},
        {"cut_after": 1, "gzip": True},
        {"cut_after": 0, "reset": True},
        {"body": b'data: {"choices":[]}\n\ndata: [1]\n\n', "content_type": EVENT_STREAM},
        {"body": b'data: {"choices":[]}\n\ndata: words\n\n', "content_type": EVENT_STREAM},
        {"body": b'data: {"choices":[]}\n\n', "content_type": EVENT_STREAM, "short_body": True},
    ],
)
async def test_a_break_in_a_stream_is_a_bad_response(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, outcome: dict[str, Any]
) -> None:
    upstream.script("a", **outcome)
    seen, failure = await broken_stream(adapter, a_call(upstream.base_url))
    assert (failure.kind, failure.status) == (Kind.BAD_RESPONSE, 200)
    assert text_of(seen) in ("", "hello ")


async def test_a_reset_in_a_stream_is_a_bad_response(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", cut_after=1, reset=True)
    _, failure = await broken_stream(adapter, a_call(upstream.base_url))
    assert failure.kind is Kind.BAD_RESPONSE


async def test_an_event_that_never_ends_is_a_bad_response(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body=b"data: " + b"x" * (17 * 1024 * 1024), content_type=EVENT_STREAM)
    seen, failure = await broken_stream(adapter, a_call(upstream.base_url))
    assert (seen, failure.kind) == ([], Kind.BAD_RESPONSE)


async def test_an_error_event_is_a_chunk_with_an_error(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", error_event_after=1, error={"code": "server_error"})
    *_, last = await chunks_of(adapter, a_call(upstream.base_url))
    assert last.data is not None
    assert last.data["error"]["code"] == "server_error"
    assert last.raw is not None


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (b'event: error\ndata: {"code": "x"}\n\n', {"code": "x"}),
        (b'event: error\ndata: {"error": {"code": "x"}}\n\n', {"code": "x"}),
        (b"event: error\ndata: overloaded\n\n", {"message": "overloaded"}),
        (b'event: error\ndata: ["x"]\n\n', {"message": '["x"]'}),
        (b'error: {"code": "x"}\n\n', {"code": "x"}),
        (b'{"error": {"code": "x"}}\n\n', {"code": "x"}),
        (b'{\n "error": {\n  "code": "x"\n }\n}', {"code": "x"}),
        (b'{"error": {"code": "x"}}\ndata: [DONE]\n\n', {"code": "x"}),
    ],
)
async def test_an_error_in_the_stream_is_under_error_however_it_is_written(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, event: bytes, error: dict[str, Any]
) -> None:
    upstream.script("a", body=event, content_type=EVENT_STREAM)
    (chunk,) = await chunks_of(adapter, a_call(upstream.base_url))
    assert chunk.data == {"error": error}


@pytest.mark.parametrize(
    "event", [b'{"choices": []}\n\n', b"Internal Server Error\n\n", b'data: {"a": 1}\n{"b": 2}\n\n', b"<html>"]
)
async def test_what_stands_between_the_events_is_not_skipped(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, event: bytes
) -> None:
    upstream.script("a", body=b'data: {"a": 1}\n\n' + event + b"data: [DONE]\n\n", content_type=EVENT_STREAM)
    seen, failure = await broken_stream(adapter, a_call(upstream.base_url))
    assert [chunk.data for chunk in seen] == [{"a": 1}]
    assert failure.kind is Kind.BAD_RESPONSE


@pytest.mark.parametrize(
    ("outcome", "kind", "code"),
    [
        ({"body": {"error": {"code": "insufficient_quota"}}}, Kind.BILLING, "insufficient_quota"),
        ({"body": {"error": {"code": 503, "type": "x"}}}, Kind.OVERLOADED, "x"),
        ({"body": {"choices": [{"message": {"content": "hi"}, "finish_reason": None}]}}, Kind.BAD_RESPONSE, None),
        ({"body": b"{"}, Kind.BAD_RESPONSE, None),
        ({"html": True}, Kind.BAD_RESPONSE, None),
        ({"body": {"error": {"message": "cut"}}, "cut_after": 5}, Kind.BAD_RESPONSE, None),
        ({"status": 204}, Kind.BAD_RESPONSE, None),
        ({"status": 302, "headers": {"location": "/"}}, Kind.BAD_RESPONSE, None),
    ],
)
async def test_a_plain_body_is_no_stream(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, outcome: dict[str, Any], kind: Kind, code: str | None
) -> None:
    upstream.script("a", **outcome)
    failure = await failure_of(adapter, a_call(upstream.base_url), stream=True)
    assert (failure.kind, failure.code) == (kind, code)
    assert (failure.body is None) == (code is None)


async def test_a_whole_stream_gives_its_connection_back(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    tail_after_done = {"body": b"data: [DONE]\n\n: tail\n\n", "content_type": EVENT_STREAM, "split_bytes": 1}
    outcomes: list[dict[str, Any]] = [{}, {"split_bytes": 1}, {"no_done": True}, {"gzip": True}, tail_after_done]
    for how in outcomes:
        upstream.reset_script("a").script("a", **how)
        await chunks_of(adapter, a_call(upstream.base_url))
    assert upstream.connections == 1


async def test_a_response_that_goes_on_after_done_costs_its_connection(
    adapter: RelayAdapter, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", body=b"data: [DONE]\n\n: and on\n\n", content_type=EVENT_STREAM, stall_after=14)
    assert await chunks_of(adapter, a_call(upstream.base_url)) == []
    await upstream.wait_for_disconnect()


@pytest.mark.parametrize("taken", [0, 1, 2])
async def test_a_stream_left_early_closes_its_connection(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, taken: int
) -> None:
    upstream.script("a", stall_after=1)
    opened = await adapter.stream(a_call(upstream.base_url))
    await read_at_least(opened, taken)
    await opened.aclose()
    await opened.aclose()
    await upstream.wait_for_disconnect()
    assert await opened.read() == []


async def test_cancelling_a_wait_for_the_next_chunk_closes_the_upstream(
    adapter: RelayAdapter, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", stall_after=1)
    opened = await adapter.stream(a_call(upstream.base_url))
    await read_at_least(opened, 2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(opened.read(), 0.05)
    await upstream.wait_for_disconnect()


async def test_cancelling_the_wait_after_done_closes_the_upstream(upstream: ScriptedOpenAI) -> None:
    adapter = RelayAdapter(end_grace_s=60.0)
    upstream.script("a", body=b"data: [DONE]\n\n: and on\n\n", content_type=EVENT_STREAM, stall_after=14)
    opened = await adapter.stream(a_call(upstream.base_url))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(opened.read(), 0.05)
    await upstream.wait_for_disconnect()
    await adapter.close()
