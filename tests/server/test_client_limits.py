"""Limits of clients, over real connections: what is refused and how it is told, and what each end settles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.engine.limits.store import Fill, bucket
from gateway.policy.limits import ClientGroup, Limit, Price
from gateway.policy.target import Target
from gateway.wire.json import JsonObject
from tests.limiting import group, limit, with_groups
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import ROUTES, Answer, RunningGateway, Start, read_until_broken, until

KEYS = (
    "ann ann-key\nbob bob-key\ncat cat-key group=search\ndan dan-key group=search\neve eve-key group=gone\n"
    "ops ops-key admin\n"
)
LONG = [{"role": "user", "content": "x" * 400}]
"""Of 100 tokens, by its bytes."""
USAGE = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}


class Limited:
    """A gateway whose table has groups, and the keys of KEYS."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway

    def set(self, *groups: ClientGroup, **more: Any) -> None:
        """Swap the table for one with these groups."""
        tables = self.gateway.parts.reloader
        tables.current = replace(with_groups(tables.current, *groups, **more), generation=tables.current.generation + 1)

    async def chat(self, model: str = "fast", *, key: str | None = "ann", **body: Any) -> Answer:
        return await self.gateway.chat(model, headers=self.headers(key), **body)

    def headers(self, key: str | None) -> dict[str, str]:
        return {} if key is None else {"authorization": f"Bearer {key}-key"}

    @property
    def fills(self) -> dict[str, Fill]:
        return {fill.key: fill for fill in self.gateway.parts.limits.store.look()}

    @property
    def used(self) -> dict[str, float]:
        return {key: round(fill.used) for key, fill in self.fills.items()}

    @property
    def open(self) -> int:
        return sum(fill.reservations for fill in self.fills.values())


@pytest.fixture
async def limited(start: Start, tmp_path: Path) -> Limited:
    (tmp_path / "keys").write_text(KEYS)
    routes = ROUTES.replace("providers:\n", CHAT_ONLY) + EXTRA
    return Limited(await start(routes, hooks=HOOKS, client_keys_file=tmp_path / "keys"))


CHAT_ONLY = """\
providers:
  other: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream, wires: [chat]}
"""
"""A provider that is asked for chat only, whatever its clients speak."""


EXTRA = """\
  broken: {chain: [up/broken, up/b]}
  only: up/broken
  held: {chain: [up/held], stream: {hold: full}}
  small: {chain: [up/held], stream: {hold: full, max_bytes: 4096}}
  hooked: {chain: [up/a], hooks: {pre: [HOOKS.note], post: [{path: HOOKS.fail, operations: [chat]}]}}
  noted: {chain: [up/a], hooks: {pre: [HOOKS.note]}}
  cheap: {chain: [up/cheap], hooks: {pre: [HOOKS.shout]}}
  mini: {chain: [up/cheap]}
  same: {chain: [up/a]}
  never: {chain: [{target: up/a, when: {stream: true}}]}
  chatty: other/a
"""
CLIENTS = """\
clients:
  search: {models: [fast], limits: [2 requests/hour, 100 tokens/day], share: true}
  gone: {}
"""
HOOKS = """\
seen = []

def note(request):
    seen.append(dict(request))
    return request

def shout(request):
    request["user"] = "shouted"
    return request

def fail(response):
    raise RuntimeError
"""


async def test_without_groups_nothing_is_told_and_nothing_taken(limited: Limited) -> None:
    answer = await limited.chat()
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith(("ratelimit", "x-gateway-limited"))]
    assert limited.fills == {}


async def test_a_file_that_has_no_clients_has_no_group_but_default(limited: Limited) -> None:
    """An edit that loses `clients` must not lift what a group may not."""
    for key, status in (("ann", 200), ("cat", 403)):
        assert (await limited.chat(key=key)).status == status
        for path in ("/v1/models", "/v1/models/fast"):
            assert (await limited.gateway.get(path, headers=limited.headers(key))).status == status
    refused = await limited.chat(key="cat")
    assert refused.error["code"] == "unknown_group"
    kept = await limited.gateway.get("/v1/responses/resp_1", headers=limited.headers("cat"))
    assert kept.status == 403


async def test_a_full_bucket_refuses_with_the_limit_s_text_and_the_exact_wait(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    limited.set(group("default", "2 requests/minute"))
    for left in (1, 0):
        answer = await limited.chat()
        assert answer.status == 200
        assert answer.headers["ratelimit-policy"] == '"requests/minute";q=2;w=60'
        assert answer.headers["ratelimit"].startswith(f'"requests/minute";r={left};t=')
    refused = await limited.chat()
    assert (refused.status, refused.error["code"], refused.error["type"]) == (429, "limited", "rate_limit_error")
    assert refused.error["limit"] == "2 requests/minute"
    assert "the client 'ann' has reached the limit of 2 requests/minute" in refused.error["message"]
    assert 28 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["ratelimit"].startswith('"requests/minute";r=0;t=')
    assert "x-should-retry" not in refused.headers
    assert len(upstream.calls) == 2
    assert (await limited.chat(key="bob")).status == 200, "whose buckets are his own"


async def test_a_budget_s_refusal_tells_sdks_not_to_retry(limited: Limited) -> None:
    limited.set(group("default", "1 requests/day"))
    assert (await limited.chat()).headers["ratelimit-policy"] == '"requests/day";q=1;w=86400'
    refused = await limited.chat()
    assert (refused.status, refused.error["code"]) == (429, "budget_exceeded")
    assert refused.headers["x-should-retry"] == "false"
    assert 0 < int(refused.headers["retry-after"]) <= 86400


async def test_a_budget_that_requests_under_way_hold_is_not_told_to_be_used_up(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    """They give most of it back when they end: whoever is told not to repeat the request would miss that."""
    gate = asyncio.Event()
    upstream.script("a", reply="hi", usage=USAGE, stall_after=0, gate=gate)
    limited.set(group("default", "1000 tokens/day", "30 requests/minute"))
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(limited.chat(max_tokens=480)) for _ in range(2)]
        await until(lambda: limited.open == 4)
        refused = await limited.chat(max_tokens=480)
        assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (429, "limited", "1")
        assert "x-should-retry" not in refused.headers
        assert (
            "'ann' has requests under way that hold what is left of 1000 tokens/day; ask again in 1s"
            in (refused.error["message"])
        )
        gate.set()
    assert [one.result().status for one in asked] == [200, 200]
    assert (await limited.chat(max_tokens=480)).status == 200
    upstream.reset_script("a").script("a", reply="hi", usage={"prompt_tokens": 700, "completion_tokens": 1})
    await limited.chat(max_tokens=10)
    refused = await limited.chat(max_tokens=480)
    assert (refused.error["code"], refused.headers["x-should-retry"]) == ("budget_exceeded", "false")


async def test_a_request_that_is_too_large_for_what_is_left_is_told_so(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    """Its client has not reached the limit: a smaller request fits."""
    upstream.script("a", usage=USAGE)
    limited.set(group("default", "2000 tokens/day"))
    assert (await limited.chat()).status == 200
    refused = await limited.chat(max_tokens=1990)
    assert "'ann' has 1,958 tokens left of 2000 tokens/day, and the request may use 1,991" in refused.error["message"]
    assert refused.error["message"].endswith(", or name a lower output limit")
    assert "or name" not in (await limited.chat(messages=LONG * 100, max_tokens=1)).error["message"]
    limited.set(group("default", spend(1)), price_of=dollars(0, 1000, 0))
    assert (await limited.chat(max_tokens=600)).status == 200
    refused = await limited.chat(max_tokens=990)
    assert "has $0.988 left of $1/day, and the request may cost $0.99; ask" in refused.error["message"]


async def test_a_refusal_is_in_the_wire_s_envelope(limited: Limited) -> None:
    limited.set(group("default", "1 requests/hour"))
    for _ in range(2):
        answer = await limited.gateway.request(
            "POST",
            "/v1/messages",
            json={"model": "fast", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]},
            headers={"x-api-key": "ann-key"},
        )
    error = answer.json["error"]
    assert (answer.status, answer.json["type"], error["type"]) == (429, "error", "rate_limit_error")
    assert (error["code"], error["limit"]) == ("limited", "1 requests/hour")


async def test_the_tightest_of_several_is_told(limited: Limited, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", reply="hi", usage=USAGE)
    limited.set(group("default", "100 requests/minute", "4000 tokens/day", "10 concurrent"))
    answer = await limited.chat(max_tokens=3000)
    assert answer.headers["ratelimit-policy"] == '"tokens/day";q=4000;qu="tokens";w=86400'
    assert limited.used == {"client/ann requests/minute": 1, "client/ann tokens/day": 42}


async def test_clients_of_a_group_that_shares_take_from_one_bucket(limited: Limited) -> None:
    limited.set(group("search", "2 requests/minute", share=True))
    assert (await limited.chat(key="cat")).status == 200
    assert (await limited.chat(key="dan")).status == 200
    refused = await limited.chat(key="cat")
    assert refused.status == 429
    assert "the group 'search' has reached" in refused.error["message"]
    assert (await limited.chat(key="ann")).status == 200


async def test_a_group_s_models_are_all_that_its_clients_see_and_may_ask_for(limited: Limited) -> None:
    limited.set(group("search", models=["fast", "team/*"]))
    assert (await limited.chat(key="cat")).status == 200
    assert (await limited.chat("team/x", key="cat")).status == 200
    refused = await limited.chat("pair", key="cat")
    assert (refused.status, refused.error["code"], refused.error["param"]) == (403, "model_not_allowed", "model")
    assert (await limited.chat("pair", key="ann")).status == 200
    shown = await limited.gateway.get("/v1/models", headers=limited.headers("cat"))
    assert [each["id"] for each in shown.json["data"]] == ["fast"]
    shown = await limited.gateway.get("/v1/models", headers=limited.headers("ann"))
    assert len(shown.json["data"]) > 5
    page = await limited.gateway.get(
        "/v1/models", headers={"anthropic-version": "2023-06-01", **limited.headers("cat")}
    )
    assert [each["id"] for each in page.json["data"]] == ["fast"]
    one = await limited.gateway.get("/v1/models/pair", headers=limited.headers("cat"))
    assert (one.status, one.error["code"]) == (403, "model_not_allowed")
    assert (await limited.gateway.get("/v1/models/fast", headers=limited.headers("cat"))).status == 200


async def test_an_unknown_group_is_refused_and_logged_once_a_swap_or_re_read(
    limited: Limited, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = "clients of an unknown group are refused"
    limited.set()
    for _ in range(3):
        refused = await limited.chat(key="eve")
        assert (refused.status, refused.error["code"]) == (403, "unknown_group")
        for path in ("/v1/models", "/v1/models/fast", "/v1/responses/resp_1"):
            assert (await limited.gateway.get(path, headers=limited.headers("eve"))).status == 403
    assert caplog.messages.count(told) == 1
    limited.set()
    await limited.chat(key="eve")
    assert caplog.messages.count(told) == 2
    (tmp_path / "keys").write_text(f"{KEYS}new new-key\n")
    await until(lambda: limited.chat(key="new"))
    await until(lambda: _status_is(limited, "new", 200))
    await limited.chat(key="eve")
    assert caplog.messages.count(told) == 3
    limited.set(group("gone"))
    assert (await limited.chat(key="eve")).status == 200


async def _status_is(limited: Limited, key: str, status: int) -> bool:
    return (await limited.chat(key=key)).status == status


async def test_without_a_keys_file_all_are_one_client_of_default(start: Start) -> None:
    limited = Limited(await start())
    limited.set(group("default", "1 requests/minute"))
    assert (await limited.chat(key=None)).status == 200
    refused = await limited.chat(key="ann")
    assert refused.status == 429
    assert refused.error["message"].startswith("the client without a key has reached the limit")
    assert list(limited.fills) == ["client/ requests/minute"]


async def test_limits_of_default_are_edited_while_what_is_used_stays(limited: Limited) -> None:
    limited.set(group("default", "10 requests/hour"))
    for _ in range(3):
        await limited.chat()
    limited.set(group("default", "3 requests/hour"))
    assert (await limited.chat()).status == 429
    limited.set(group("default", "4 requests/hour"))
    assert (await limited.chat()).status == 200
    limited.set()
    assert (await limited.chat()).status == 200


async def test_at_once_only_so_many(limited: Limited, upstream: ScriptedOpenAI) -> None:
    gate = asyncio.Event()
    upstream.script("a", chunks=["one ", "two"], stall_after=1, gate=gate)
    limited.set(group("default", "1 concurrent"))
    async with asyncio.TaskGroup() as tasks:
        streamed = tasks.create_task(limited.chat(stream=True))
        await until(lambda: limited.open == 1)
        refused = await limited.chat("echo")
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert refused.headers["ratelimit-policy"] == '"concurrent";q=1;qu="concurrent-requests"'
        gate.set()
    assert streamed.result().status == 200
    assert limited.fills == {}


# How much is taken


async def test_a_request_reserves_its_input_and_output_and_is_settled_by_its_usage(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    gate = asyncio.Event()
    upstream.script("a", reply="hi", usage=USAGE, stall_after=0, gate=gate)
    limited.set(group("default", "100000 tokens/day"))
    for body, expected in (
        ({}, 1 + 1000),
        ({"max_tokens": 200}, 1 + 200),
        ({"max_completion_tokens": 70, "max_tokens": 200, "n": 3}, 1 + 600),
        ({"messages": LONG, "max_tokens": 1}, 101),
        ({"max_tokens": 10**9}, 100000),
    ):
        gate.clear()
        before = limited.used.get("client/ann tokens/day", 0)
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(limited.chat(**body))
            if expected == 100000:
                assert (await asked).status == 429, "the bucket is in use"
                continue
            await until(lambda: limited.open)
            assert limited.used["client/ann tokens/day"] - before == expected, body
            gate.set()
        assert asked.result().status == 200
        assert limited.used["client/ann tokens/day"] - before == 42


async def test_no_output_is_expected_of_what_writes_no_text(limited: Limited, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body={"object": "list", "data": [{"embedding": [1.0], "index": 0}], "model": "a"})
    limited.set(group("default", "1000 tokens/day"))
    answer = await limited.gateway.request(
        "POST", "/v1/embeddings", json={"model": "fast", "input": "x" * 400}, headers=limited.headers("ann")
    )
    assert answer.status == 200
    assert limited.used == {"client/ann tokens/day": 100}, "as the answer tells no usage"


@pytest.mark.parametrize("asks", [False, True])
async def test_a_stream_is_settled_by_a_usage_that_only_those_see_who_asked(
    limited: Limited, upstream: ScriptedOpenAI, *, asks: bool
) -> None:
    upstream.script("a", chunks=["hello ", "world"], usage=USAGE)
    limited.set(group("default", "100000 tokens/day"))
    options: JsonObject = {"stream_options": {"include_usage": True}} if asks else {}
    answer = await limited.chat(stream=True, **options)
    assert upstream.requests[-1].body["stream_options"] == {"include_usage": True}
    assert any(event != "[DONE]" and event.get("usage") for event in answer.events) is asks
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in answer.events[:-1] if event["choices"])
    assert limited.used == {"client/ann tokens/day": 42}


async def test_a_stream_asks_for_no_usage_where_only_requests_are_limited(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    limited.set(group("default", "100 requests/day"))
    await limited.chat(stream=True)
    assert "stream_options" not in upstream.requests[-1].body


async def test_a_stream_without_usage_counts_its_text(limited: Limited, upstream: ScriptedOpenAI) -> None:
    chunk = '{"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"%s"},%s}]}'
    texts = [chunk % ("word " * 8, '"finish_reason":null')] * 50 + [chunk % ("", '"finish_reason":"stop"'), "[DONE]"]
    body = "".join(f"data: {text}\n\n" for text in texts)
    upstream.script("a", body=body, content_type="text/event-stream")
    limited.set(group("default", "100000 tokens/day"))
    assert (await limited.chat(stream=True)).status == 200
    assert abs(limited.used["client/ann tokens/day"] - 501) <= 5


FREE: dict[str, JsonObject] = {
    "server_error": {"status": 500},
    "overloaded": {"status": 503},
    "rate_limit": {"status": 429},
    "auth": {"status": 401},
    "billing": {"status": 402},
    "not_found": {"status": 404, "error": {"code": "model_not_found"}},
    "bad_request": {"status": 400},
    "context_window": {"status": 400, "error": {"code": "context_length_exceeded"}},
    "connection": {"reset": True},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", FREE)
async def test_tokens_go_back_after_failures_that_cost_none_and_the_request_stays_taken(
    limited: Limited, upstream: ScriptedOpenAI, kind: str, *, stream: bool
) -> None:
    upstream.script("broken", **FREE[kind])
    limited.set(group("default", "9 requests/day", "9000 tokens/day", "9 concurrent"))
    assert (await limited.chat("only", stream=stream)).status >= 400
    assert limited.used == {"client/ann requests/day": 1}
    assert limited.open == 0


PAID: dict[str, JsonObject] = {
    "bad_response": {"body": b"{}"},
    "content_filter": {"status": 400, "error": {"code": "content_filter"}},
    "cut": {"reply": "hello", "cut_after": 3},
}


@pytest.mark.parametrize("kind", PAID)
async def test_after_other_failures_the_input_is_taken(limited: Limited, upstream: ScriptedOpenAI, kind: str) -> None:
    upstream.script("broken", **PAID[kind])
    limited.set(group("default", "9000 tokens/day"))
    assert (await limited.chat("only", messages=LONG)).status >= 400
    assert limited.used == {"client/ann tokens/day": 100}
    assert limited.open == 0


async def test_one_reservation_serves_whatever_is_tried(limited: Limited, upstream: ScriptedOpenAI) -> None:
    upstream.script("broken", status=500)
    upstream.script("b", reply="hi", usage=USAGE)
    limited.set(group("default", "9 requests/day", "9000 tokens/day"))
    answer = await limited.chat("broken")
    assert (answer.status, answer.headers["x-gateway-attempts"]) == (200, "2")
    assert limited.used == {"client/ann requests/day": 1, "client/ann tokens/day": 42}


async def test_a_request_that_calls_nobody_takes_nothing(limited: Limited, upstream: ScriptedOpenAI) -> None:
    limited.set(group("default", "9 requests/day", "9000 tokens/day", "9 concurrent"))
    refused = await limited.chat("never")
    assert (refused.status, refused.error["code"]) == (400, "no_step")
    assert (limited.fills, upstream.calls) == ({}, [])


async def test_a_broken_stream_takes_its_input_and_the_text_that_came(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", chunks=["word " * 8] * 20, cut_after=10)
    limited.set(group("default", "9000 tokens/day"))
    body = {"model": "fast", "stream": True, "messages": LONG}
    await read_until_broken(limited.gateway, "/v1/chat/completions", body, headers=limited.headers("ann"))
    await until(lambda: not limited.open)
    assert abs(limited.used["client/ann tokens/day"] - 200) <= 5


async def test_a_held_stream_that_broke_takes_the_text_that_came(limited: Limited, upstream: ScriptedOpenAI) -> None:
    upstream.script("held", chunks=["word " * 8] * 20, cut_after=10)
    limited.set(group("default", "9000 tokens/day"))
    refused = await limited.chat("held", stream=True, messages=LONG)
    assert refused.status == 502
    assert abs(limited.used["client/ann tokens/day"] - 200) <= 5
    assert limited.open == 0


async def test_a_held_stream_that_grew_too_large_takes_the_text_that_came(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    upstream.script("held", chunks=["word " * 8] * 100)
    limited.set(group("default", "9000 tokens/day"))
    refused = await limited.chat("small", stream=True, messages=LONG)
    assert refused.error["code"] == "hold_exceeded"
    assert 120 < limited.used["client/ann tokens/day"] < 300
    assert limited.open == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_before_content_takes_its_input(
    limited: Limited, upstream: ScriptedOpenAI, *, stream: bool
) -> None:
    upstream.script("a", reply="hello", delay_s=30)
    limited.set(group("default", "9 requests/day", "9000 tokens/day", "9 concurrent"))
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(limited.chat(stream=stream, messages=LONG))
        await until(lambda: upstream.calls)
        asked.cancel()
    await until(lambda: not limited.open)
    assert limited.used == {"client/ann requests/day": 1, "client/ann tokens/day": 100}


async def test_a_client_that_leaves_a_stream_takes_the_text_that_came(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", chunks=["word " * 8] * 20, stall_after=10)
    limited.set(group("default", "9000 tokens/day"))
    body = {"model": "fast", "stream": True, "messages": LONG}
    url = f"{limited.gateway.url}/v1/chat/completions"
    async with limited.gateway.session.post(url, json=body, headers=limited.headers("ann")) as response:
        seen = b""
        while seen.count(b"word " * 8) < 10:
            seen += await response.content.readany()
    await until(lambda: not limited.open)
    assert abs(limited.used["client/ann tokens/day"] - 200) <= 5


WRITTEN: dict[str, JsonObject] = {
    "content": {"content": "word " * 8},
    "reasoning_content": {"content": None, "reasoning_content": "word " * 8},
    "reasoning": {"reasoning": "word " * 8},
    "refusal": {"refusal": "word " * 8},
    "tool_calls": {"tool_calls": [{"index": 0, "function": {"arguments": "word " * 8}}]},
    "function_call": {"function_call": {"arguments": "word " * 8}},
}
"""Delta of a chunk → 40 bytes that a model wrote, which are 10 tokens."""


def _stream(*deltas: JsonObject, finish: JsonObject | None = None) -> tuple[str, int]:
    """Return a stream of chunks with these deltas, and the number of bytes before the last chunk and `[DONE]`."""
    chunks = [{"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events = [f"data: {orjson.dumps(chunk).decode()}\n\n" for chunk in chunks]
    last = {"id": "1", "choices": [{"index": 0, "delta": finish or {}, "finish_reason": "stop"}]}
    return "".join([*events, f"data: {orjson.dumps(last).decode()}\n\ndata: [DONE]\n\n"]), len("".join(events))


@pytest.mark.parametrize(
    ("path", "name"),
    [("chat/completions", name) for name in WRITTEN]
    # Translations leave a `function_call` out.
    + [(path, name) for path in ("messages", "responses") for name in WRITTEN if name != "function_call"],
)
async def test_a_client_that_leaves_a_stream_takes_all_that_the_model_wrote(
    limited: Limited, upstream: ScriptedOpenAI, name: str, path: str
) -> None:
    """Tool calls, reasoning and refusals too, relayed and translated."""
    first = {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]}
    body, begun = _stream(first if name == "tool_calls" else {"role": "assistant"}, *[WRITTEN[name]] * 300)
    upstream.script("a", body=body, content_type="text/event-stream", stall_after=begun)
    limited.set(group("default", "90000 tokens/day"))
    text: JsonObject = {"input": "x" * 400} if path == "responses" else {"messages": LONG, "max_tokens": 9}
    url = f"{limited.gateway.url}/v1/{path}"
    asked = {"model": "chatty", "stream": True, **text}
    async with limited.gateway.session.post(url, json=asked, headers=limited.headers("ann")) as response:
        seen = b""
        while seen.count(b"word " * 8) < 300:
            seen += await response.content.readany()
    await until(lambda: not limited.open)
    assert abs(limited.used["client/ann tokens/day"] - 3100) <= 30, "roughly: in runs, numbers grow"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_model_wrote_counts_where_no_usage_is_told(
    limited: Limited, upstream: ScriptedOpenAI, *, stream: bool
) -> None:
    """All choices, and what comes beside the finish reason."""
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "x" * 4099}}
    said = {"role": "assistant", "content": "x" * 4096, "reasoning_content": "x" * 4096, "tool_calls": [call]}
    choices = [{"index": index, "message": said, "finish_reason": "stop"} for index in range(4)]
    chunks = [{"choices": [{"index": index, "delta": said, "finish_reason": "stop"}]} for index in range(4)]
    events = "".join(f"data: {orjson.dumps(chunk).decode()}\n\n" for chunk in chunks)
    body = f"{events}data: [DONE]\n\n" if stream else orjson.dumps({"choices": choices})
    upstream.script("a", body=body, content_type="text/event-stream" if stream else None)
    limited.set(group("default", "90000 tokens/day"))
    assert (await limited.chat(messages=LONG, stream=stream, n=4)).status == 200
    assert limited.used == {"client/ann tokens/day": 100 + 4096 + 4096 + 4100}


XAI = {
    "prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428,
    "completion_tokens_details": {"reasoning_tokens": 2809},
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["chat/completions", "messages", "responses"])
async def test_reasoning_that_is_told_beside_the_completion_counts(
    limited: Limited, upstream: ScriptedOpenAI, path: str, *, stream: bool
) -> None:
    upstream.script("a", reply="hello", usage=XAI)
    limited.set(group("default", "90000 tokens/day"))
    text: JsonObject = {"input": "hi"} if path == "responses" else {"messages": LONG, "max_tokens": 9}
    asked = {"model": "chatty", "stream": stream, **text}
    answer = await limited.gateway.request("POST", f"/v1/{path}", json=asked, headers=limited.headers("ann"))
    assert answer.status == 200
    assert limited.used == {"client/ann tokens/day": 14428}
    metrics = (await limited.gateway.get("/metrics", headers=limited.headers("ops"))).body.decode()
    sample = 'gateway_tokens_total{{alias="chatty",direction="{}",target="other/a"}} {}\n'.format
    assert sample("prompt", 10120.0) in metrics
    assert sample("completion", 4308.0) in metrics


async def test_a_post_hook_that_fails_does_not_change_what_was_used(limited: Limited, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", reply="hi", usage=USAGE)
    limited.set(group("default", "9000 tokens/day"))
    assert (await limited.chat("hooked")).error["code"] == "hook_failed"
    assert limited.used == {"client/ann tokens/day": 42}
    assert limited.open == 0


async def test_hooks_see_the_client_and_nothing_of_it_goes_upstream(limited: Limited, upstream: ScriptedOpenAI) -> None:
    await limited.chat("noted", client="somebody else")
    assert "client" not in upstream.requests[-1].body
    seen = await _seen(limited)
    assert seen["client"] == "ann"


async def _seen(limited: Limited) -> JsonObject:
    route = limited.gateway.parts.reloader.current.routes["noted"]
    seen: JsonObject = route.pre[0].call.__globals__["seen"][-1]
    return seen


# Spend and `then`


def dollars(input_: float, output: float, cached: float) -> Callable[[Target], Price | None]:
    """Return prices of all but the model `unpriced`."""
    price = Price(input=input_, output=output, cached_input=cached)
    return lambda target: None if target.model in {"unpriced", "b"} else price


def spend(amount: float, per: Any = "day", then: str | None = None) -> Limit:
    return Limit(unit="spend", amount=amount, per=per, then=then, text=f"${amount:g}/{per}")


async def test_spend_is_settled_by_price_and_cached_input_is_cheaper(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", reply="hi", usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 20}})
    limited.set(group("default", spend(50)), price_of=dollars(1000, 5000, 100))
    answer = await limited.chat()
    assert answer.headers["ratelimit-policy"] == '"spend/day";q=5000;qu="cents";w=86400'
    [fill] = limited.fills.values()
    assert fill.used == pytest.approx((10 * 1000 + 20 * 100 + 12 * 5000) / 1e6)


async def test_a_target_without_a_price_is_passed_over_where_spend_is_limited(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=500)
    limited.set(group("default", spend(50)), price_of=dollars(1, 1, 1))
    refused = await limited.chat("pair")
    assert [row["kind"] for row in refused.error["attempts"]] == ["server_error", "unsupported"]
    told = (await limited.gateway.get("/-/explain?model=pair&client=ann", headers=limited.headers("ops"))).json
    assert [one["why"] for one in told["walk"]["not_called"]] == [
        "passed over: its price is not known, and spend is limited"
    ]
    refused = await limited.chat("team/unpriced")
    assert (refused.status, refused.error["code"]) == (400, "unsupported")
    assert "the price of up/unpriced is not known" in refused.error["message"]
    assert limited.fills == {}
    assert (await limited.chat("echo")).status == 200, "a mock costs nothing"


async def test_a_used_up_budget_sends_on_to_its_then(limited: Limited, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", reply="dear", usage=USAGE).script("cheap", reply="cheap", usage=USAGE)
    budget = replace(limit("40 tokens/day"), then="cheap")
    limited.set(group("default", budget, "9000 tokens/hour", models=["noted"]))
    assert (await limited.chat("noted", max_tokens=1)).text == "dear"
    answer = await limited.chat("noted", max_tokens=1)
    assert (answer.text, answer.headers["x-gateway-limited"]) == ("cheap", "40 tokens/day")
    assert answer.headers["x-gateway-target"] == "up/cheap"
    assert answer.headers["ratelimit-policy"].startswith('"tokens/hour"')
    assert upstream.requests[-1].body["user"] == "shouted", "its own hooks ran"
    assert (await _seen(limited))["model"] == "noted", "and the asked alias' did"
    assert limited.used["client/ann tokens/day"] == 42, "nothing was taken from it"
    assert limited.used["client/ann tokens/hour"] >= 83
    streamed = await limited.chat("noted", stream=True, max_tokens=1)
    assert streamed.headers["x-gateway-limited"] == "40 tokens/day"
    assert limited.open == 0


async def test_a_then_needs_a_price_only_where_spend_is_still_limited(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", reply="dear", usage=USAGE)
    for more, status in (((), 200), ((spend(50, "month"),), 400)):
        limited.set(group("default", spend(0.01, then="mini"), *more), price_of=_price_of_a)
        if not more:
            assert (await limited.chat(max_tokens=12)).text == "dear"
        answer = await limited.chat(max_tokens=12)
        assert answer.status == status
    assert "the price of up/cheap is not known" in answer.error["message"]


async def test_a_then_that_costs_nothing_needs_nothing_left_of_a_limit_of_spend(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", reply="dear", usage=USAGE).script("cheap", reply="cheap", usage=USAGE)
    tokens = replace(limit("40 tokens/day"), then="mini")
    for price_of, status in ((_price_of_a_alone, 200), (_price_of_all, 429)):
        limited.set(group("default", tokens, spend(0.05, "month")), price_of=price_of)
        answers = [await limited.chat(max_tokens=40) for _ in range(2)]
        assert answers[-1].status == status
    assert "of $0.05/month" in answers[-1].error["message"], "which has no `then`"


def _price_of_all(target: Target) -> Price | None:
    return Price(input=1000, output=1000, cached_input=0)


def _price_of_a_alone(target: Target) -> Price | None:
    return _price_of_all(target) if target.model == "a" else Price(input=0, output=0, cached_input=0)


def _price_of_a(target: Target) -> Price | None:
    return _price_of_all(target) if target.model == "a" else None


async def test_a_then_does_not_help_when_another_bucket_is_full(limited: Limited) -> None:
    budget = replace(limit("40 tokens/day"), then="cheap")
    limited.set(group("default", budget, "2 requests/hour"))
    assert [(await limited.chat(max_tokens=40)).status for _ in range(3)] == [200, 200, 429]


async def test_of_several_full_budgets_the_first_says_where_to_unless_one_has_no_then(limited: Limited) -> None:
    day, month = replace(limit("40 tokens/day"), then="cheap"), limit("40 tokens/month")
    for other, status in ((replace(month, then="mini"), 200), (month, 429)):
        limited.set(group("default", day, other))
        answers = [await limited.chat(max_tokens=40) for _ in range(2)]
        assert answers[-1].status == status
        if status == 200:
            assert answers[-1].headers["x-gateway-limited"] == "40 tokens/day"
            assert answers[-1].headers["x-gateway-target"] == "up/cheap"


async def test_embeddings_that_would_change_their_model_are_refused(limited: Limited, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body={"object": "list", "data": [{"embedding": [1.0], "index": 0}], "model": "a"})
    for then, status in (("mini", 429), ("same", 200)):
        limited.set(group("default", replace(limit("5 tokens/day"), then=then)))
        for expected in (200, status) if then == "mini" else (status,):
            answer = await limited.gateway.request(
                "POST", "/v1/embeddings", json={"model": "fast", "input": "x" * 40}, headers=limited.headers("ann")
            )
            assert answer.status == expected
    assert answer.headers["x-gateway-limited"] == "5 tokens/day"


async def test_bound_requests_are_refused(limited: Limited, upstream: ScriptedOpenAI) -> None:
    budget = replace(limit("5 tokens/day"), then="mini")
    limited.set(group("default", budget))
    limited.gateway.parts.limits.store.try_reserve("all of it", [bucket("client", "ann", budget)], {"tokens": 5})
    limited.gateway.parts.limits.store.settle("all of it", {})
    body = {"model": "fast", "input": "hi", "store": False}
    answers = [
        await limited.gateway.request("POST", "/v1/responses", json={**body, **more}, headers=limited.headers("ann"))
        for more in ({}, {"previous_response_id": "resp_1"})
    ]
    assert set(upstream.calls) == {"cheap"}  # its path for responses is missing, so it is asked twice
    assert (answers[1].status, answers[1].error["code"]) == (429, "budget_exceeded")


# All at once


async def test_two_hundred_at_once_take_no_more_than_a_budget_for_a_hundred(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    """Each uses exactly what it reserves, but for the last that came in, which may use more than was left."""
    estimate = 1 + 99
    upstream.script("a", reply="hi", usage={"prompt_tokens": 1, "completion_tokens": 99}, delay_s=0.05)
    limited.set(group("default", f"{100 * estimate} tokens/day"))
    answers = await asyncio.gather(*[limited.chat(max_tokens=99) for _ in range(200)])
    statuses = [answer.status for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (100, 100)
    assert len(upstream.calls) == 100
    assert limited.used == {"client/ann tokens/day": 100 * estimate}
    assert limited.open == 0


async def test_two_hundred_at_once_that_use_half_are_let_in_as_room_is_given_back(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    estimate = 1 + 99
    upstream.script("a", reply="hi", usage={"prompt_tokens": 1, "completion_tokens": 49})
    limited.set(group("default", f"{100 * estimate} tokens/day"))
    answers = await asyncio.gather(*[limited.chat(max_tokens=99) for _ in range(200)])
    used = 50 * [answer.status for answer in answers].count(200)
    assert 5000 <= used <= 100 * estimate
    assert limited.used == {"client/ann tokens/day": used}
    assert limited.open == 0


# Long bodies, sound, and the file


async def test_a_long_body_is_measured_and_its_stream_asked_for_usage(
    limited: Limited, upstream: ScriptedOpenAI
) -> None:
    text = "word " * 400_000
    upstream.script("a", chunks=["hello"], usage=USAGE, stall_after=0, gate=(gate := asyncio.Event()))
    limited.set(group("default", "9000000 tokens/day"))
    body = {"model": "fast", "stream": True, "max_tokens": 10, "messages": [{"role": "user", "content": text}]}
    headers = {"content-type": "application/json", **limited.headers("ann")}
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(
            limited.gateway.request("POST", "/v1/chat/completions", data=BytesIO(orjson.dumps(body)), headers=headers)
        )
        await until(lambda: limited.open)
        assert abs(limited.used["client/ann tokens/day"] - 500_010) < 50
        gate.set()
    assert asked.result().status == 200
    assert upstream.requests[-1].body["stream_options"] == {"include_usage": True}
    assert upstream.requests[-1].body["messages"][0]["content"] == text
    assert limited.used == {"client/ann tokens/day": 42}


async def test_sound_is_settled_at_its_end_by_what_was_read_aloud(limited: Limited) -> None:
    limited.set(group("default", "9000 tokens/day", "2 concurrent"))
    spoken = {"model": "echo", "input": "x" * 400, "voice": "alloy"}
    answer = await limited.gateway.request("POST", "/v1/audio/speech", json=spoken, headers=limited.headers("ann"))
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/wav")
    assert limited.used == {"client/ann tokens/day": 100}
    assert limited.open == 0


async def test_limits_are_those_of_the_file_and_an_edit_keeps_what_is_used(start: Start, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(KEYS)
    clients = (
        "clients:\n  search: {models: [fast], limits: [2 requests/hour, 100 tokens/day], share: true}\n  gone: {}\n"
    )
    limited = Limited(await start(ROUTES + clients, client_keys_file=tmp_path / "keys"))
    assert [(await limited.chat(key=key, max_tokens=9)).status for key in ("cat", "dan", "cat")] == [200, 200, 429]
    assert (await limited.chat("pair", key="dan")).status == 403
    assert (await limited.chat("pair", key="eve")).status == 200
    config = limited.gateway.config
    for before, after, status in (("2 requests", "1 requests", 429), ("1 requests", "3 requests", 200)):
        config.write_text(config.read_text().replace(before, after))
        limited.gateway.parts.reloader.reload()
        assert (await limited.chat(key="cat", max_tokens=9)).status == status
