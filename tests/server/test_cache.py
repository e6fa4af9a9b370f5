"""Kept answers over real connections: who gets them, what is never kept, and what each says of itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import openai
import orjson
import pytest
from multidict import CIMultiDict

from gateway.wire.json import JsonObject
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, Answer, RunningGateway, Start, read_until_broken, until

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
models:
  plain: up/a
  faq: {chain: [up/a, up/b], cache: 1h}
  shared: {chain: [up/a], cache: {ttl: 1h, scope: shared}}
  brief: {chain: [up/a], cache: {ttl: 20ms, stale_if_error: 1h}}
  short: {chain: [up/a], cache: 20ms}
  "team/*": {chain: ["up/*"], cache: 1h}
  hooked: {chain: [up/a], cache: 1h, hooks: {pre: [HOOKS.strip], post: [HOOKS.count]}}
  nested: {chain: [{alias: inner}, up/b], cache: 1h}
  inner: {chain: [up/a], hooks: {pre: [HOOKS.say], post: [HOOKS.count]}}
  some: {chain: [{target: up/a, when: {header: {x-fast: "1"}}}, up/b], cache: 1h}
  set: {chain: [{target: up/a, params: {tools: [{type: web_search}]}}], cache: 1h}
"""
HOOKS = """\
seen = []

def strip(request):
    request.pop("seed", None)
    return request

def say(request):
    request["messages"] = [{"role": "user", "content": request.get("user", "nobody")}]
    return request

def count(response):
    seen.append(1)
    response["count"] = len(seen)
    return response
"""
LIMITED = "clients:\n  default: {limits: [2 requests/hour]}\nmodels:\n"


@pytest.fixture
async def gateway(start: Start) -> RunningGateway:
    started: RunningGateway = await start(ROUTES, hooks=HOOKS)
    return started


async def results(gateway: RunningGateway, alias: str) -> dict[str, int]:
    """Return how requests of an alias were answered, as the metrics tell."""
    names = ("hit", "collapsed", "stale", "miss", "bypass")
    found = {name: await gateway.metric(f'gateway_cache_total{{alias="{alias}",result="{name}"}}') for name in names}
    return {name: int(count) for name, count in found.items() if count}


def told(answer: Answer) -> str:
    """Return the `Cache-Status` of an answer without the time that is left."""
    status, _, left = answer.headers["cache-status"].partition("; ttl=")
    assert bool(left) == ("age" in answer.headers)
    return status


class TestPlain:
    async def test_an_equal_request_gets_the_kept_bytes_without_a_call(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        first = await gateway.chat("faq")
        again = await gateway.chat("faq")
        assert (first.status, again.status, again.body) == (200, 200, first.body)
        assert len(upstream.calls) == 1
        assert first.headers["cache-status"] == "gateway; fwd=miss; stored"
        assert "age" not in first.headers
        assert again.headers["cache-status"].startswith("gateway; hit; ttl=35")
        assert (again.headers["age"], again.headers["x-gateway-attempts"]) == ("0", "0")
        assert again.headers["x-gateway-target"] == first.headers["x-gateway-target"] == "up/a"
        assert again.headers["content-type"] == "application/json"
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
        assert await results(gateway, "faq") == {"hit": 1, "miss": 1}
        assert await gateway.metric("gateway_cache_entries") == 1
        assert await gateway.metric("gateway_cache_bytes") == 512 + len(first.body)

    async def test_without_a_cache_each_request_is_a_call_and_nothing_is_said(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        for _ in range(2):
            assert "cache-status" not in (await gateway.chat("plain")).headers
        assert len(upstream.calls) == 2

    async def test_the_order_of_fields_blanks_and_who_asks_do_not_matter(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        bodies = (
            b'{"model": "faq", "messages": [{"role": "user", "content": "hi"}], "n": 1}',
            b'{"n":1,"messages":[{"content":"hi","role":"user"}],"user":"ann","model":"faq"}',
            b'{"n":1,"messages":[{"content":"hi","role":"user"}],"model":"faq","metadata":{},"prompt_cache_key":"y"}',
        )
        for body in bodies:
            answer = await gateway.request(
                "POST", "/v1/chat/completions", data=body, headers={"content-type": "application/json"}
            )
            assert answer.status == 200
        assert len(upstream.calls) == 1

    @pytest.mark.parametrize(
        "other",
        [
            {"temperature": 0},
            {"messages": [{"role": "user", "content": "hello "}]},
            {"n": 2},
            {"model": "shared"},
            {"messages": HELLO * 2},
            {"stream": True},
        ],
    )
    async def test_any_other_difference_does(
        self, other: JsonObject, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        await gateway.chat("faq")
        await gateway.chat(**{"model": "faq", **other})
        assert len(upstream.calls) == 2

    async def test_a_large_body_is_compared_as_it_was_sent(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        async def ask(text: str) -> Answer:
            body = BytesIO(orjson.dumps({"model": "faq", "messages": [{"role": "user", "content": text}]}))
            json = {"content-type": "application/json"}
            answer: Answer = await gateway.request("POST", "/v1/chat/completions", data=body, headers=json)
            return answer

        for _ in range(2):
            assert (await ask("x" * 1_500_000)).status == 200
        assert len(upstream.calls) == 1
        assert (await ask("x" * 1_499_999 + "y")).headers["cache-status"] == "gateway; fwd=miss; stored"

    async def test_the_matched_part_of_a_wildcard_and_conditions_are_part_of_the_key(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        for model in ("team/a", "team/b", "team/a"):
            await gateway.chat(model)
        assert upstream.calls == ["a", "b"]
        for headers in ({"x-fast": "1"}, {}, {"x-fast": "1"}, {"x-fast": "2"}):
            await gateway.chat("some", headers=headers)
        assert upstream.calls == ["a", "b", "a", "b"]

    async def test_a_fallback_s_answer_is_kept_with_its_target(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        upstream.script("a", status=500)
        first, again = await gateway.chat("faq"), await gateway.chat("faq")
        assert (first.headers["x-gateway-attempts"], again.headers["x-gateway-attempts"]) == ("2", "0")
        assert again.headers["x-gateway-target"] == "up/b"

    async def test_embeddings_are_kept(self, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
        body = {"model": "faq", "input": ["one", "two"]}
        first, again = [await gateway.request("POST", "/v1/embeddings", json=body) for _ in range(2)]
        assert (first.status, again.body, len(upstream.calls)) == (200, first.body, 1)

    async def test_when_its_time_is_over_it_is_asked_for_again(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        await gateway.chat("short")

        async def asked_again() -> bool:
            await gateway.chat("short")
            return len(upstream.calls) == 2

        await until(asked_again)


class TestClients:
    async def test_clients_never_see_each_other_s_answers_unless_the_file_says_so(
        self, start: Start, upstream: ScriptedOpenAI, tmp_path: Path
    ) -> None:
        (tmp_path / "keys").write_text("ann ann-key\nbob bob-key\n")
        gateway = await start(ROUTES, hooks=HOOKS, client_keys_file=tmp_path / "keys")

        async def ask(model: str, name: str) -> str:
            answer = await gateway.chat(model, headers={"authorization": f"Bearer {name}-key"})
            return told(answer)

        assert [await ask("faq", name) for name in ("ann", "bob", "ann", "bob")] == [
            *["gateway; fwd=miss; stored"] * 2,
            *["gateway; hit"] * 2,
        ]
        assert [await ask("shared", name) for name in ("ann", "bob")] == [
            "gateway; fwd=miss; stored",
            "gateway; hit",
        ]
        assert len(upstream.calls) == 3

    async def test_a_hit_takes_nothing_from_limits_and_a_refusal_still_gets_hits(
        self, start: Start, upstream: ScriptedOpenAI
    ) -> None:
        gateway = await start(ROUTES.replace("models:\n", LIMITED), hooks=HOOKS)
        for _ in range(5):
            assert (await gateway.chat("shared")).status == 200
        assert (await gateway.chat("shared", seed=1)).status == 200
        refused = await gateway.chat("shared", seed=2)
        assert (refused.status, refused.error["code"]) == (429, "limited")
        assert (await gateway.chat("shared")).headers["cache-status"].startswith("gateway; hit")
        assert len(upstream.calls) == 2

    async def test_what_a_used_up_budget_sent_to_another_alias_is_not_kept(
        self, start: Start, upstream: ScriptedOpenAI
    ) -> None:
        budget = (
            "clients:\n  default: {limits: [{tokens: 1, per: day, then: {alias: other}}]}\nmodels:\n  other: up/c\n"
        )
        gateway = await start(ROUTES.replace("models:\n", budget), hooks=HOOKS)
        assert told(await gateway.chat("faq", seed=1)) == "gateway; fwd=miss; stored"
        for stream in (False, True):
            for _ in range(2):
                answer = await gateway.chat("faq", seed=2, stream=stream)
                assert (told(answer), answer.headers["x-gateway-limited"]) == ("gateway; fwd=miss", "1 tokens/day")
        assert upstream.calls == ["a", *"cccc"]
        assert told(await gateway.chat("faq", seed=1)) == "gateway; hit"


class TestCacheControl:
    async def ask(self, gateway: RunningGateway, field: str, model: str = "faq") -> Answer:
        return await gateway.chat(model, headers={"cache-control": field})

    async def test_no_store_neither_gets_nor_keeps(self, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
        for _ in range(2):
            answer = await self.ask(gateway, "no-store")
            assert answer.headers["cache-status"] == "gateway; fwd=bypass"
        await gateway.chat("faq")
        await self.ask(gateway, "No-Store")
        assert len(upstream.calls) == 4

    async def test_a_field_in_several_lines_counts_whole(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        await gateway.chat("faq")
        body = {"model": "faq", "messages": HELLO}
        lines = CIMultiDict([("cache-control", "max-stale=5"), ("cache-control", "no-store")])
        for _ in range(2):
            assert (await gateway.request("POST", "/v1/chat/completions", json=body, headers=lines)).headers[
                "cache-status"
            ] == "gateway; fwd=bypass"

    async def test_no_cache_asks_anew_and_keeps(self, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
        upstream.script("a", reply="one").script("a", reply="two")
        await gateway.chat("faq")
        answer = await self.ask(gateway, "no-cache")
        assert answer.headers["cache-status"] == "gateway; fwd=request; stored"
        assert (await gateway.chat("faq")).text == answer.text == "two"

    async def test_max_age_takes_younger_ones_only(self, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
        await gateway.chat("faq")
        assert (await self.ask(gateway, "max-age=60")).headers["cache-status"].startswith("gateway; hit")
        for field in ("max-age=0", "max-age=soon"):
            assert (await self.ask(gateway, field)).headers["cache-status"] == "gateway; fwd=request; stored"
        assert len(upstream.calls) == 3

    async def test_only_if_cached_is_never_a_call(self, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
        for field in ("only-if-cached", "only-if-cached, no-store", "only-if-cached, no-cache"):
            answer = await self.ask(gateway, field)
            assert (answer.status, answer.error["code"]) == (504, "not_kept")
            assert answer.headers["x-should-retry"] == "false"
        assert upstream.calls == []
        await gateway.chat("faq")
        assert (await self.ask(gateway, "only-if-cached")).status == 200


class TestNeverKept:
    @pytest.mark.parametrize(
        "outcome",
        [
            {"finish_reason": "content_filter", "reply": "cut"},
            {"body": {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "", "refusal": "no"}}]}},
            {"status": 400, "error": {"message": "no"}},
            {"body": {"error": {"message": "lies with a good status"}}},
            {"no_finish": True},
        ],
    )
    async def test_what_is_refused_filtered_or_no_answer(
        self, outcome: dict[str, Any], gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        upstream.script("a", **outcome)
        for stream in (False, True):
            calls = len(upstream.calls)
            for _ in range(2):
                with suppress(aiohttp.ClientPayloadError):
                    await gateway.chat("shared", stream=stream)
            assert len(upstream.calls) == calls + 2

    @pytest.mark.parametrize(
        "more",
        [{"store": True}, {"web_search_options": {}}, {"tools": [{"type": "web_search"}]}, {"mcp_servers": []}],
    )
    async def test_a_request_that_leaves_something_upstream_or_runs_a_tool_there(
        self, more: JsonObject, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        for _ in range(2):
            assert (await gateway.chat("faq", **more)).headers["cache-status"] == "gateway; fwd=bypass"
        assert len(upstream.calls) == 2

    async def test_one_whose_tools_the_file_adds(self, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
        for _ in range(2):
            assert (await gateway.chat("set")).headers["cache-status"] == "gateway; fwd=bypass"
        assert (len(upstream.calls), await results(gateway, "set")) == (2, {"bypass": 2})

    async def test_a_response_that_does_not_write_store_false(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        body = {"object": "response", "id": "r", "status": "completed", "output": [{"type": "message", "content": []}]}
        upstream.script("a", body=body)

        async def ask(**more: Any) -> str:
            answer = await gateway.request("POST", "/v1/responses", json={"model": "shared", "input": "hi", **more})
            assert answer.status == 200
            return told(answer)

        assert [await ask() for _ in range(2)] == ["gateway; fwd=bypass"] * 2
        assert [await ask(store=False, previous_response_id="r_1"), await ask(store=False, background=True)] == [
            "gateway; fwd=bypass"
        ] * 2
        assert [await ask(store=False) for _ in range(2)] == ["gateway; fwd=miss; stored", "gateway; hit"]

    async def test_an_answer_that_is_too_large(self, start: Start, upstream: ScriptedOpenAI) -> None:
        gateway = await start(ROUTES, hooks=HOOKS, cache_bytes=16 * 1024)
        upstream.script("a", reply="x" * 2000)
        for stream in (False, True):
            for _ in range(2):
                assert "hit" not in (await gateway.chat("faq", stream=stream)).headers["cache-status"]
        assert len(upstream.calls) == 4

    async def test_nothing_with_a_size_of_0(self, start: Start, upstream: ScriptedOpenAI) -> None:
        gateway = await start(ROUTES, hooks=HOOKS, cache_bytes=0)
        for _ in range(2):
            assert "cache-status" not in (await gateway.chat("faq")).headers
        assert len(upstream.calls) == 2


class TestStreams:
    async def test_a_kept_stream_is_replayed_whole(self, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
        upstream.script("a", chunks=["one ", "two ", "three"], comments=True)
        first = await gateway.chat("faq", stream=True)
        again = await gateway.chat("faq", stream=True)
        assert len(upstream.calls) == 1
        assert first.headers["cache-status"] == "gateway; fwd=miss"
        assert again.headers["cache-status"].startswith("gateway; hit; ttl=35")
        assert again.headers["content-type"] == "text/event-stream"
        assert again.events == first.events
        assert again.body.endswith(b"data: [DONE]\n\n")
        assert (first.body.count(b"\n:") > 0, again.body.count(b"\n:")) == (True, 0), "comments tell nothing now"

    async def test_stream_options_are_part_of_the_key(self, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
        for options in (None, {"include_usage": True}, {"include_usage": True}):
            await gateway.chat("faq", stream=True, stream_options=options)
        assert len(upstream.calls) == 2

    async def test_a_stream_that_breaks_is_never_kept(self, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
        upstream.script("a", chunks=3, cut_after=2).script("a", chunks=3)
        body = {"model": "faq", "messages": HELLO, "stream": True}
        await read_until_broken(gateway, "/v1/chat/completions", body)
        for _ in range(2):
            assert (await gateway.chat("faq", stream=True)).body.endswith(b"[DONE]\n\n")
        assert upstream.calls == ["a", "a"]

    async def test_a_stream_whose_client_leaves_is_never_kept(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        gate = asyncio.Event()
        upstream.script("a", chunks=3, stall_after=1, gate=gate).script("a", chunks=3)
        body = {"model": "faq", "messages": HELLO, "stream": True}
        async with gateway.session.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
            await response.content.readany()
        await upstream.wait_for_disconnect()
        await gateway.chat("faq", stream=True)
        assert len(upstream.calls) == 2

    async def test_openai_s_sdk_reads_it(self, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
        upstream.script("a", chunks=["one ", "two"])
        texts = []
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-x", max_retries=0) as client:
            for _ in range(2):
                stream = await client.chat.completions.create(
                    model="faq", messages=[{"role": "user", "content": "hi"}], stream=True
                )
                texts.append("".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]))
            for _ in range(2):
                answer = await client.chat.completions.create(model="faq", messages=[{"role": "user", "content": "hi"}])
                texts.append(answer.choices[0].message.content or "")
        assert (texts, len(upstream.calls)) == (["one two"] * 4, 2)


class TestHooks:
    async def test_pre_hooks_come_before_and_post_hooks_run_on_each_hit(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        counts = [(await gateway.chat("hooked", seed=seed)).json["count"] for seed in (1, 2, 3)]
        assert (counts, len(upstream.calls)) == ([1, 2, 3], 1)

    async def test_post_hooks_see_the_events_of_a_replayed_stream(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        upstream.script("a", chunks=["one ", "two"])
        first, again = [await gateway.chat("hooked", stream=True) for _ in range(2)]
        assert len(upstream.calls) == 1
        events = len(first.events) - 1
        assert [event["count"] for event in again.events[:-1]] == list(range(events + 1, 2 * events + 1))
        assert again.events[-1] == "[DONE]"

    async def test_nested_post_hooks_run_on_a_hit_and_what_nested_pre_hooks_see_is_part_of_the_key(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        answers = [await gateway.chat("nested", user=user) for user in ("ann", "ann", "bob")]
        assert [answer.json["count"] for answer in answers] == [1, 2, 3]
        assert [call.body["messages"][0]["content"] for call in upstream.requests] == ["ann", "bob"]


class TestFlights:
    """Equal requests at once. The upstream answers when the gate opens, and all of them are there by then."""

    async def all_there(self, gateway: RunningGateway, count: int) -> None:
        await until(lambda: gateway.parts.lifecycle.in_flight == count)

    async def test_equal_requests_at_once_are_one_call(self, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
        gate = asyncio.Event()
        upstream.script("a", stall_after=0, gate=gate)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(gateway.chat("faq")) for _ in range(20)]
            await self.all_there(gateway, 20)
            gate.set()
        answers = [task.result() for task in tasks]
        assert len(upstream.calls) == 1
        assert {answer.body for answer in answers} == {answers[0].body}
        assert await results(gateway, "faq") == {"miss": 1, "collapsed": 19}
        assert sorted(map(told, answers)) == ["gateway; fwd=miss; collapsed"] * 19 + ["gateway; fwd=miss; stored"]

    async def test_when_the_first_one_s_client_leaves_another_one_leads_on(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        upstream.script("a", stall_after=0).script("a", reply="hello")
        async with asyncio.TaskGroup() as group:
            first = group.create_task(gateway.chat("faq"))
            await upstream.wait_for_calls(1)
            waiting = [group.create_task(gateway.chat("faq")) for _ in range(5)]
            await self.all_there(gateway, 6)
            first.cancel()
        assert {(task.result().status, task.result().text) for task in waiting} == {(200, "hello")}
        assert len(upstream.calls) == 2

    async def test_one_who_waits_may_leave(self, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
        gate = asyncio.Event()
        upstream.script("a", stall_after=0, gate=gate)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(gateway.chat("faq"))
            await upstream.wait_for_calls(1)
            waiting = [group.create_task(gateway.chat("faq")) for _ in range(3)]
            await self.all_there(gateway, 4)
            waiting[0].cancel()
            await self.all_there(gateway, 3)
            gate.set()
        assert {task.result().status for task in (first, *waiting[1:])} == {200}
        assert len(upstream.calls) == 1

    async def test_when_the_first_one_fails_each_asks_for_itself(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        gate = asyncio.Event()
        refused = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "", "refusal": "no"}}]}
        upstream.script("a", stall_after=0, gate=gate, cut_after=0).script("a", reply="hello")
        upstream.script("b", stall_after=0, gate=gate, body=refused).script("b", reply="hello")
        for model in ("shared", "team/b"):
            calls = len(upstream.calls)
            gate.clear()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(gateway.chat(model)) for _ in range(5)]
                await self.all_there(gateway, 5)
                gate.set()
            assert len(upstream.calls) == calls + 5
            assert [task.result().status for task in tasks].count(200) >= 4

    async def test_when_the_first_one_is_refused_by_limits_the_others_are_asked_for(
        self, start: Start, upstream: ScriptedOpenAI, tmp_path: Path
    ) -> None:
        (tmp_path / "keys").write_text("ann ann-key group=full\nbob bob-key\n")
        clients = "clients:\n  full: {limits: [1 requests/hour]}\nmodels:\n"
        gateway = await start(ROUTES.replace("models:\n", clients), hooks=HOOKS, client_keys_file=tmp_path / "keys")

        async def ask(name: str, **more: Any) -> Answer:
            answer: Answer = await gateway.chat("shared", headers={"authorization": f"Bearer {name}-key"}, **more)
            return answer

        await ask("ann", seed=1)
        answers = await asyncio.gather(*[ask(name) for name in ("ann", "ann", "bob", "bob", "bob")])
        assert [answer.status for answer in answers][2:] == [200, 200, 200]
        assert len(upstream.calls) == 2


class TestStale:
    async def test_an_expired_answer_serves_when_all_fail(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        for stream in (False, True):
            upstream.reset_script("a").script("a", reply="kept").script("a", status=500)
            first = await gateway.chat("brief", stream=stream)
            await asyncio.sleep(0.03)
            answer = await gateway.chat("brief", stream=stream)
            assert (answer.status, answer.events if stream else answer.body) == (
                200,
                first.events if stream else first.body,
            )
            assert answer.headers["cache-status"].startswith("gateway; fwd=stale; detail=stale-if-error; ttl=-")
            assert answer.headers["x-gateway-attempts"] == "1"
            assert answer.headers["x-gateway-target"] == "up/a"
        assert await results(gateway, "brief") == {"miss": 2, "stale": 2}

    async def test_without_it_or_with_no_cache_the_failure_is_told(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        upstream.script("a", reply="kept").script("a", reply="kept").script("a", status=500)
        for model in ("brief", "short"):
            assert (await gateway.chat(model)).status == 200
        await asyncio.sleep(0.03)
        assert (await gateway.chat("short")).status == 502
        assert (await gateway.chat("brief", headers={"cache-control": "no-cache"})).status == 502

    async def test_a_refusal_of_the_request_is_no_failure_of_the_chain(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        upstream.script("a", reply="kept").script("a", status=400, error={"message": "bad"})
        await gateway.chat("brief")
        await asyncio.sleep(0.03)
        assert (await gateway.chat("brief")).status == 400


class TestReload:
    async def test_an_unchanged_alias_keeps_its_answers_and_a_changed_one_does_not(
        self, gateway: RunningGateway, upstream: ScriptedOpenAI
    ) -> None:
        for model in ("faq", "shared"):
            await gateway.chat(model)
        text = gateway.config.read_text()
        gateway.config.write_text(text.replace("faq: {chain: [up/a, up/b]", "faq: {chain: [up/a, up/c]"))
        assert (await gateway.request("POST", "/-/reload")).status == 200
        assert [told(await gateway.chat(model)) for model in ("faq", "shared")] == [
            "gateway; fwd=miss; stored",
            "gateway; hit",
        ]
        assert len(upstream.calls) == 3


async def test_explain_tells_whether_an_answer_is_kept(gateway: RunningGateway) -> None:
    async def cache(query: str) -> Any:
        return (await gateway.get(f"/-/explain?{query}")).json.get("cache")

    assert await cache("model=plain") is None
    told = await cache("model=faq&header=cache-control%3Dmax-age%3D60")
    assert (told["ttl_s"], told["scope"], told["looked_up"], told["kept"]) == (3600, "client", True, True)
    assert (await cache("model=faq&operation=speech"))["why_not"] == "no answer to speech is ever kept"
    assert (await cache("model=set"))["why_not"] == "it has a tool that the upstream runs"


async def test_explain_tells_of_a_gateway_that_keeps_nothing(start: Start) -> None:
    gateway = await start(ROUTES, hooks=HOOKS, cache_bytes=0)
    told = (await gateway.get("/-/explain?model=faq")).json["cache"]
    assert (told["looked_up"], told["kept"]) == (False, False)
    assert "--cache-size" in told["why_not"]
