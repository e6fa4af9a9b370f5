"""What the cache does with answers that no server test can make: of other forms, and of stores that lie."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.adapters.base import Reply
from gateway.adapters.events import Event, Stream
from gateway.engine.cache.cache import MAX_TERMS, Cache
from gateway.engine.cache.memory import MemoryAnswers
from gateway.engine.cache.store import Entry
from gateway.engine.nested import NestedHooks
from gateway.engine.request import RoutedRequest
from gateway.errors import NotKept
from gateway.operations import OPERATIONS
from gateway.policy.params import upstream_params
from gateway.policy.table import Route
from gateway.telemetry.report import CallReport
from gateway.wire.json import JsonObject
from tests.compiling import route

ROUTE = route("models: {fast: {chain: [mock/a, mock/b], cache: 1h}}")
BODY: JsonObject = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
ANSWER: JsonObject = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}]}


class Empty:
    """A stream without events."""

    def __init__(self) -> None:
        self.headers: Mapping[str, str] = {"content-type": "audio/mpeg"}

    async def read(self) -> list[Event]:
        return []

    async def aclose(self) -> None:
        pass


class Asked:
    """A cache, and the chain behind it, which answers as its step `step` with `reply`."""

    def __init__(self, known: Route = ROUTE) -> None:
        self.store = MemoryAnswers(1024 * 1024)
        self.cache = Cache(self.store)
        self.route = known
        self.step = 0
        self.reply: Any = Reply(ANSWER)
        self.calls = 0

    def request(self, body: JsonObject, model: str) -> RoutedRequest:
        now_s = asyncio.get_running_loop().time()
        return RoutedRequest(
            OPERATIONS["chat"], model, self.route, upstream_params(body), {}, now_s, CallReport(alias=model)
        )

    async def ask(
        self, body: JsonObject = BODY, *, model: str = "fast", nested: NestedHooks | None = None, **headers: str
    ) -> str:
        """Return the `Cache-Status` of the answer."""
        request = self.request(body, model)
        request.nested = nested

        async def call() -> Reply:
            self.calls += 1
            answered = self.route.steps[self.step]
            request.report.calls, request.report.target = 1, answered.target
            if nested is not None:
                request.answered = answered
                await nested.run(answered, deadline_s=request.deadline_s)
            reply: Reply = self.reply
            return reply

        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = await self.cache.complete(request, body, fields, call)
        return reply.headers["cache-status"].partition("; ttl")[0]


async def test_an_answer_that_was_translated_is_kept_as_it_is_sent() -> None:
    asked = Asked()
    assert await asked.ask() == "gateway; fwd=miss; stored"
    assert await asked.ask() == "gateway; hit"
    assert (asked.calls, asked.store.bytes > 0) == (1, True)


async def test_an_answer_in_bytes_is_not_kept() -> None:
    asked = Asked()
    source: Stream = Empty()
    asked.reply = Reply({}, body=source)
    assert [await asked.ask() for _ in range(2)] == ["gateway; fwd=miss"] * 2
    assert asked.store.bytes == 0


async def test_what_json_cannot_hold_bypasses_the_cache() -> None:
    asked = Asked()
    body = {**BODY, "seed": object()}
    assert await asked.ask(body) == "gateway; fwd=bypass"
    with pytest.raises(NotKept):
        await asked.ask(body, cache_control="only-if-cached")
    assert asked.calls == 1


async def test_a_stream_that_bypasses_the_cache_passes_with_its_fields() -> None:
    asked = Asked()
    body = {**BODY, "store": True}

    async def call() -> Stream:
        return Empty()

    stream = await asked.cache.open_stream(asked.request(body, "fast"), body, {}, call)
    assert stream.headers == {"content-type": "audio/mpeg", "cache-status": "gateway; fwd=bypass"}
    assert await stream.read() == []


async def test_an_entry_of_a_step_that_there_is_not_counts_as_none() -> None:
    class Lying(MemoryAnswers):
        def put(self, key: bytes, entry: Entry, *, keep_s: float) -> None:
            super().put(key, entry._replace(step=2), keep_s=keep_s)

    asked = Asked()
    asked.cache = Cache(Lying(1024 * 1024))
    assert [await asked.ask() for _ in range(2)] == ["gateway; fwd=miss; stored"] * 2


async def test_an_answer_of_a_target_that_the_chain_does_not_have_is_not_kept() -> None:
    asked = Asked()
    answered = route("models: {fast: {chain: [mock/c], cache: 1h}}").steps[0].target
    request = asked.request(BODY, "fast")

    async def call() -> Reply:
        request.report.target = answered
        return Reply(ANSWER)

    await asked.cache.complete(request, BODY, {}, call)
    assert asked.store.bytes == 0


async def test_what_a_nested_alias_s_hook_makes_unfit_is_not_kept() -> None:
    text = """\
models:
  fast: {chain: [{alias: inner}, mock/b], cache: {ttl: 1h}}
  inner: {chain: [mock/a], hooks: {pre: [tests.unit.engine.cache.test_cache.keep_upstream]}}
"""
    asked = Asked(route(text))

    def nested() -> NestedHooks:
        return NestedHooks(dict(BODY), model="fast", operation="chat")

    assert await asked.ask(nested=nested()) == "gateway; fwd=miss"
    asked.step = 1
    assert await asked.ask(nested=nested()) == "gateway; fwd=miss; stored"


def keep_upstream(request: JsonObject) -> JsonObject:
    """A pre hook."""
    return {**request, "store": True}


async def test_more_names_than_terms_are_kept_for_are_answered_all_the_same() -> None:
    asked = Asked()
    for number in range(MAX_TERMS + 2):
        await asked.ask(model=f"name-{number}", cache_control="no-cache")
    assert await asked.ask(model=f"name-{MAX_TERMS + 1}") == "gateway; hit"
