"""Which requests have the same key: what an answer depends on, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.engine.cache.keys import key_of, terms
from gateway.engine.facts import RequestFacts
from gateway.engine.request import RoutedRequest
from gateway.operations import OPERATIONS
from gateway.policy.params import upstream_params
from gateway.policy.table import Route
from gateway.telemetry.report import CallReport
from gateway.wire.json import JsonObject, RawJson, RawSource
from tests.compiling import route

CHAIN = """\
providers:
  up: {kind: openai, base_url: "http://127.0.0.1:1/v1", api_key: PROVIDER_KEY, headers: {x-org: "1"}}
models:
  fast: {chain: [{target: up/a, params: {seed: 1}}, up/b], cache: 1h, retries: 1}
"""
BODY: JsonObject = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}


async def key(
    text: str | Route = CHAIN,
    body: JsonObject = BODY,
    *,
    model: str = "fast",
    operation: str = "chat",
    client: str | None = "ann",
    shared: bool = False,
    stream: bool = False,
    **more: Any,
) -> bytes | None:
    known = text if isinstance(text, Route) else route(text, model)
    request = RoutedRequest(OPERATIONS[operation], model, known, upstream_params(body), {}, 0.0, CallReport())
    request.client = client
    for name, value in more.items():
        setattr(request, name, value)
    return await key_of(request, body, terms(known, model, operation), stream=stream, shared=shared)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("PROVIDER_KEY", "another"),
        ("cache: 1h", "cache: 2h"),
        ("cache: 1h", "cache: {ttl: 1h, stale_if_error: 1d}"),
        ("retries: 1", "retries: 2, timeout: 3s, stream: {hold: full}"),
    ],
)
async def test_how_the_chain_is_called_does_not_matter(old: str, new: str) -> None:
    assert await key(CHAIN.replace(old, new)) == await key()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("up/b", "up/c"),
        (", up/b", ""),
        ("seed: 1", "seed: 2"),
        ("127.0.0.1:1/v1", "127.0.0.1:2/v1"),
        ('x-org: "1"', 'x-org: "2"'),
        ("cache: 1h", "cache: 1h, hooks: {pre: [examples.hooks.redact]}"),
    ],
)
async def test_a_changed_chain_has_other_keys(old: str, new: str) -> None:
    assert old in CHAIN
    assert await key(CHAIN.replace(old, new)) != await key()


async def test_wire_stream_client_query_and_the_fields_that_go_upstream_matter() -> None:
    found = [
        await key(),
        await key(operation="responses"),
        await key(stream=True),
        await key(client="bob"),
        await key(client=None),
        await key(shared=True),
        await key(query="beta=true"),
        await key(headers={"anthropic-beta": "some"}),
        await key(body={**BODY, "stream_options": {"include_usage": True}}),
        await key(body={**BODY, "temperature": 1.0}),
        await key(body={**BODY, "temperature": None}),
    ]
    assert len(set(found)) == len(found)
    assert await key(shared=True, client="bob") == await key(shared=True)


async def test_who_asks_what_is_not_sent_and_ids_do_not_matter() -> None:
    own = {"user": "u", "metadata": {"a": 1}, "safety_identifier": "s", "prompt_cache_key": "k", "timeout": 3}
    assert await key(body={**own, **BODY, "stream": False}) == await key()
    ids = {"x-request-id": "1", "traceparent": "2", "tracestate": "3"}
    assert await key(headers=ids) == await key()


async def test_the_name_that_a_wildcard_matched_matters() -> None:
    text = 'models: {"any/*": {chain: [mock/echo], cache: 1h}}'
    assert await key(text, model="any/a") != await key(text, model="any/b")


async def test_parts_cannot_be_moved_from_one_into_another() -> None:
    long = RawJson(b'"x"', 0, 3, RawSource(3, 100))
    assert await key(body={**BODY, "seed": long}) != await key(body={**BODY, "seed": "x"})
    assert await key(body={**BODY, "a": long, "b": "y"}) != await key(body={**BODY, "a": "y", "b": long})
    two = [RawJson(b'"x""x"', 0, 3, RawSource(3, 100)), RawJson(b'"x""x""', 3, 6, RawSource(3, 100))]
    assert await key(body={**BODY, "a": two[0], "b": two[1]}) == await key(body={**BODY, "a": two[1], "b": two[0]})


async def test_conditions_matter_by_whether_they_are_met() -> None:
    text = """\
models:
  fast:
    chain:
    - {target: mock/a, when: {tools: true}}
    - pool: [{alias: gold}, mock/c]
    - {target: mock/d, when: {client: [bob]}}
    cache: 1h
  gold: {chain: [{target: mock/b, when: {metadata: {tier: gold}}}]}
"""
    known = route(text)

    async def met(client: str = "ann", **more: Any) -> bytes | None:
        body = {**BODY, **more}
        facts = RequestFacts(OPERATIONS["chat"], body, arrived=lambda: 0.0, client=client)
        return await key(known, body, client=client, shared=True, facts=facts)

    plain = await met()
    assert await met(metadata={"tier": "silver"}) == plain
    gold = await met(metadata={"tier": "gold"})
    assert len({plain, gold, await met("bob"), await met(tools=[{"type": "function"}])}) == 4


async def test_pre_hooks_of_nested_aliases_see_the_whole_body_so_all_of_it_matters() -> None:
    text = """\
models:
  fast: {chain: [{alias: inner}], cache: 1h}
  inner: {chain: [mock/echo], hooks: {pre: [examples.hooks.redact]}}
"""
    assert await key(text, {**BODY, "user": "ann"}) != await key(text, {**BODY, "user": "bob"})
    assert await key(text, {**BODY, "timeout": 1}) != await key(text, {**BODY, "timeout": 2})
    assert await key(text, {"messages": BODY["messages"], "model": "fast"}) == await key(text)


async def test_what_json_cannot_hold_has_no_key() -> None:
    assert await key(body={**BODY, "seed": object()}) is None
    assert await key(body={**BODY, "seed": float("nan")}) is not None
    assert await key(body={**BODY, "seed": 10**30}) != await key(body={**BODY, "seed": 10**30 + 1})


async def test_a_script_of_a_mock_matters() -> None:
    text = "providers: {m: {kind: mock, script: [{text: one}]}}\nmodels: {fast: {chain: [m/a], cache: 1h}}"
    assert await key(text) != await key(text.replace("one", "two"))


async def test_terms_tell_what_the_steps_parameters_decide() -> None:
    text = "models: {fast: {chain: [mock/a, {target: mock/b, params: {store: true}}], cache: 1h}}"
    assert [dict(block) for block in terms(route(text), "fast", "chat").overrides] == [{}, {"store": True}]
    assert terms(route(CHAIN), "fast", "chat").overrides == ({},)
    known = route(CHAIN)
    google = replace(known.steps[0].target.endpoint, kind="gemini")
    step = replace(known.steps[0], target=replace(known.steps[0].target, endpoint=google))
    assert (terms(known, "fast", "chat").binds, terms(replace(known, steps=(step,)), "fast", "chat").binds) == (
        False,
        True,
    )
