"""What LiteLLM would lose of an upstream's conduct: stale connections, broken refusals, torn ends, stray errors."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import litellm
import pytest
import pytest_asyncio
from litellm.llms.custom_httpx import http_handler

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.adapters.litellm.call import OurCall, our_call
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import JsonObject
from tests.litellm_calls import QUIET
from tests.litellm_upstreams import body_of, chunks_of, complete, events, failure, make_call, open_stream, text_of
from tests.raw_http import Peer, Server, answering, serving, until
from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    *QUIET,
]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["classes", "functions"])
async def adapter(request: pytest.FixtureRequest) -> AsyncIterator[LiteLLMAdapter]:
    """Yield an adapter whose requests LiteLLM's classes write, and one that calls LiteLLM's functions."""
    adapter = LiteLLMAdapter(own_process=True, by_classes=request.param == "classes")
    await adapter.prepare()
    yield adapter
    await adapter.close()


def whole(body: bytes) -> bytes:
    """Return a whole JSON response."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


KINDS: Final = ("openai", "hosted_vllm", "groq")
ANSWER: Final = json.dumps(
    {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "service_tier": "default",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()
WHOLE: Final = whole(ANSWER)
STREAM_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE: Final = "data: [DONE]\n\n"
SAID: Final = events((0, "hello", None), (0, "", "stop"))
UNDONE: Final = SAID.removesuffix(DONE)


def chunked(text: str) -> bytes:
    """Return one chunk, the end of the body not announced."""
    return b"%x\r\n%b\r\n" % (len(text), text.encode())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("sent", "stale"), [(b"", True), (b"HTTP/1.1 2", False)])
async def test_a_stale_connection_is_told_apart_and_the_other_idle_ones_are_not_tried(
    adapter: LiteLLMAdapter, kind: str, sent: bytes, stale: bool
) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await all_there.wait()
        await peer.send(WHOLE)
        await peer.request()
        await peer.send(sent)

    async def let_all_come(server: Server) -> None:
        await until(lambda: len(server.requests) == 3)
        all_there.set()

    all_there = asyncio.Event()
    async with serving(handle) as server:
        call = make_call(f"http://127.0.0.1:{server.port}/v1", kind, "m")
        await asyncio.gather(let_all_come(server), *(complete(adapter, call) for _ in range(3)))
        error = await failure(adapter, call)
        assert (error.kind, error.reused_connection, error.counts) == (Kind.CONNECTION, stale, not stale)
        if stale:
            await complete(adapter, call)
            assert len(server.peers) == 4


@pytest.mark.parametrize("kind", KINDS)
async def test_after_a_stale_connection_the_next_one_is_new_even_if_others_became_free(
    adapter: LiteLLMAdapter, kind: str
) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        if peer is server.peers[0]:
            await slow.wait()
        await peer.send(WHOLE)
        await peer.request()
        peer.reset()

    slow = asyncio.Event()
    async with serving(handle) as server, asyncio.TaskGroup() as group:
        call = make_call(f"http://127.0.0.1:{server.port}/v1", kind, "m")
        waiting = group.create_task(complete(adapter, call))
        await until(lambda: len(server.requests) == 1)
        await complete(adapter, call)
        error = await failure(adapter, call)
        assert (error.kind, error.reused_connection) == (Kind.CONNECTION, True)
        slow.set()
        await waiting
        await complete(adapter, call)
        assert len(server.peers) == 3


FAULTS: Final[dict[str, JsonObject]] = {
    "short": {"short_body": True},
    "stalled": {"body": b"{" + b" " * 1000, "stall_after": 5},
    "long": {"body": b"{" + b" " * 100_000},
    "no gzip": {"body": b"no gzip", "headers": {"content-encoding": "gzip"}},
}
_OF_ANTHROPIC: Final = ("long", "no gzip")
"""The scripted Anthropic cannot break off."""


def _slow(fault: str, kind: str) -> list[pytest.MarkDecorator]:
    """To wait for a stalled body takes a second, which one kind shows."""
    return [pytest.mark.slow] if fault == "stalled" and kind != KINDS[0] else []


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        pytest.param(kind, fault, id=f"{name}-{kind}", marks=_slow(name, kind))
        for name, fault in FAULTS.items()
        for kind in (*KINDS, *(["anthropic"] if name in _OF_ANTHROPIC else []))
    ],
)
async def test_a_refusal_keeps_its_kind_however_broken_its_body_is(
    adapter: LiteLLMAdapter,
    anthropic: ScriptedAnthropic,
    openai: ScriptedOpenAI,
    kind: str,
    streaming: bool,
    fault: JsonObject,
) -> None:
    upstream = anthropic if kind == "anthropic" else openai
    upstream.script("m", **{**fault, "status": 429, "headers": {"retry-after": "7", **fault.get("headers", {})}})
    started_s = time.monotonic()
    error = await failure(adapter, make_call(upstream, kind, "m"), stream=streaming)
    assert (error.kind, error.status, error.retry_after_s) == (Kind.RATE_LIMIT, 429, 7.0)
    assert time.monotonic() - started_s < 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("sent", "whole"),
    [
        (chunked(UNDONE), False),
        (chunked(UNDONE) + b"ff\r\ndata: [DO", False),
        (chunked(SAID), True),
        (chunked(UNDONE) + b"0\r\n\r\n", True),
    ],
)
async def test_a_stream_torn_after_its_finish_reason_is_broken_as_on_the_relay(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str, sent: bytes, whole: bool
) -> None:
    openai.script("m", wire=STREAM_HEAD + sent)
    stream = await open_stream(adapter, make_call(openai, kind, "m"))
    if whole:
        assert text_of(await chunks_of(stream)) == "hello"
        return
    with pytest.raises(UpstreamError) as broken:
        await chunks_of(stream)
    assert broken.value.kind is Kind.BAD_RESPONSE


@pytest.mark.parametrize("kind", KINDS)
async def test_a_torn_plain_answer_is_none(adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str) -> None:
    openai.script("m", wire=STREAM_HEAD.replace(b"text/event-stream", b"application/json") + chunked(ANSWER.decode()))
    error = await failure(adapter, make_call(openai, kind, "m"))
    assert error.kind is Kind.BAD_RESPONSE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split_bytes", [None, 1])
@pytest.mark.parametrize(
    ("stray", "expected"),
    [
        ('{"error": {"message": "oh no", "type": "overloaded_error"}}\n\n', Kind.OVERLOADED),
        ('error: {"message": "oh no", "code": 429}\n\n', Kind.RATE_LIMIT),
        ('event: error\ndata: {"message": "oh no", "code": 429}\n\n', Kind.RATE_LIMIT),
        ("event: error\ndata: oh no\n\n", Kind.SERVER_ERROR),
        ("Internal Server Error\n\n", Kind.BAD_RESPONSE),
        ('{"choices": []}\n\n', Kind.BAD_RESPONSE),
    ],
)
async def test_what_stands_between_the_events_is_not_skipped(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str, stray: str, expected: Kind, split_bytes: int | None
) -> None:
    bodies = [stray + SAID, UNDONE + stray + DONE, UNDONE + stray.rstrip("\n")]
    for body in bodies:
        openai.reset_script("m").script("m", body=body, content_type="text/event-stream", split_bytes=split_bytes)
        error = await failure(adapter, make_call(openai, kind, "m"), stream=True)
        assert error.kind is expected
        if expected is not Kind.BAD_RESPONSE:
            assert body_of(error)["message"] == "oh no"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [{}, {"comments": True, "crlf": True}, {"gzip": True}, {"split_bytes": 1}])
async def test_a_sound_stream_passes(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str, how: dict[str, Any]
) -> None:
    openai.script("m", reply="it was an error: none", **how)
    assert text_of(await chunks_of(await open_stream(adapter, make_call(openai, kind, "m")))) == "it was an error: none"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split_bytes", [None, 1])
@pytest.mark.parametrize("empty", ["retry: 3000", "id: 7", "event: ping", "data:", "data: ", "unknown", ": comment"])
async def test_an_event_without_data_does_no_harm(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str, empty: str, split_bytes: int | None
) -> None:
    """The SDKs under LiteLLM would take its data for JSON."""
    body = SAID.replace("data: {", f"{empty}\n\ndata: {{")
    openai.script("m", body=body, content_type="text/event-stream", split_bytes=split_bytes)
    assert text_of(await chunks_of(await open_stream(adapter, make_call(openai, kind, "m")))) == "hello"


UNFINISHED: Final = json.loads(ANSWER) | {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]}
ZIPPED: Final = gzip.compress(ANSWER)
IN_GZIP: Final = {"content-encoding": "gzip"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("outcome", "kind_of_failure"),
    [
        ({"body": UNFINISHED}, Kind.BAD_RESPONSE),
        ({"body": {"id": "x", "choices": None}}, Kind.BAD_RESPONSE),
        ({"body": {"id": "x", "choices": "none"}}, Kind.BAD_RESPONSE),
        ({"body": ZIPPED[:-9], "headers": IN_GZIP}, Kind.BAD_RESPONSE),
        ({"body": ZIPPED + b"more", "headers": IN_GZIP}, Kind.BAD_RESPONSE),
        ({"body": b"br", "headers": {"content-encoding": "br"}}, Kind.BAD_RESPONSE),
        ({"body": b"", "status": 999}, Kind.SERVER_ERROR),
    ],
)
async def test_a_plain_body_that_is_no_answer_is_not_made_one(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str, outcome: JsonObject, kind_of_failure: Kind
) -> None:
    openai.script("m", **outcome)
    error = await failure(adapter, make_call(openai, kind, "m"))
    assert error.kind is kind_of_failure


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "body",
    [
        DONE,
        events((0, "hi", None)),
        SAID.replace(DONE, "data: null\n\n" + DONE),
        SAID.replace(DONE, "data: {"),
    ],
)
@pytest.mark.parametrize("how", [{}, {"headers": IN_GZIP}, {"headers": {"content-type": ""}}])
async def test_a_stream_that_is_not_whole_is_not_made_whole(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str, body: str, how: JsonObject
) -> None:
    sent = gzip.compress(body.encode()) if how == {"headers": IN_GZIP} else body
    openai.script("m", body=sent, content_type="text/event-stream", **how)
    error = await failure(adapter, make_call(openai, kind, "m"), stream=True)
    assert error.kind is Kind.BAD_RESPONSE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content_type", ["", "text/plain", "text/html"])
@pytest.mark.parametrize(("body", "sound"), [(ANSWER.decode(), True), (UNFINISHED, False), (ZIPPED[:-9], False)])
async def test_a_plain_body_is_looked_at_whatever_it_calls_itself(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str, content_type: str, body: Any, sound: bool
) -> None:
    headers = IN_GZIP if isinstance(body, bytes) else {}
    openai.script("m", body=body, headers={**headers, "content-type": content_type})
    if sound:
        assert (await complete(adapter, make_call(openai, kind, "m"))).data["choices"]
    else:
        assert (await failure(adapter, make_call(openai, kind, "m"))).kind is Kind.BAD_RESPONSE


@pytest.mark.parametrize("kind", [*KINDS, "anthropic"])
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308])
async def test_a_redirect_is_no_answer_and_is_not_followed(
    adapter: LiteLLMAdapter, kind: str, streaming: bool, status: int
) -> None:
    async def redirect(peer: Peer) -> None:
        while True:
            await peer.request()
            location = f"location: http://127.0.0.1:{elsewhere.port}/v1\r\n" if status != 304 else ""
            await peer.send(f"HTTP/1.1 {status} See\r\n{location}content-length: 0\r\n\r\n".encode())

    async with serving(answering(WHOLE)) as elsewhere, serving(redirect) as server:
        call = make_call(f"http://127.0.0.1:{server.port}/v1", kind, "m")
        error = await failure(adapter, call, stream=streaming)
        assert (error.kind, error.status) == (Kind.BAD_RESPONSE, status)
        assert (len(server.requests), elsewhere.requests) == (1, [])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_plain_answer_is_a_stream_of_one_event(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str
) -> None:
    openai.script("m", body=ANSWER)
    assert text_of(await chunks_of(await open_stream(adapter, make_call(openai, kind, "m")))) == "hi"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_byte_order_mark_costs_no_text(adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str) -> None:
    openai.script("m", body=b"\xef\xbb\xbf" + SAID.encode(), content_type="text/event-stream")
    assert text_of(await chunks_of(await open_stream(adapter, make_call(openai, kind, "m")))) == "hello"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_litellm_asks_of_others_once_it_has_the_answer_is_not_looked_at(
    adapter: LiteLLMAdapter, stream: bool
) -> None:
    """A program's callback, say, that sends the request and its `"stream": true` to where logs are kept."""
    ours = OurCall(5.0, streaming=stream)
    async with serving(answering(whole(b'{"kept": true}'))) as server:
        ours.asking = False
        with ours:
            client = http_handler.AsyncHTTPHandler()
            answer = await client.post(f"http://127.0.0.1:{server.port}/logs", json={"stream": True})
            await client.client.aclose()
    assert answer.json() == {"kept": True}


@pytest.mark.parametrize("stream", [False, True])
async def test_an_exchange_is_over_with_its_answer(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    calls: list[OurCall] = []
    acompletion = litellm.acompletion

    async def noted(**kwargs: Any) -> Any:
        ours = our_call()
        assert ours is not None
        calls.append(ours)
        return await acompletion(**kwargs)

    monkeypatch.setattr(litellm, "acompletion", noted)
    openai.script("m")
    call = make_call(openai, "openai", "m")
    opened = await open_stream(adapter, call) if stream else None
    if opened is None:
        await complete(adapter, call)
    assert [ours.asking for ours in calls] == [False]
    if opened is not None:
        await chunks_of(opened)
