"""Hooks of aliases that a chain goes on with by `{alias: …}`: they go with the steps, through real HTTP."""

from __future__ import annotations

import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import Answer, Start, save

HOOKS = """\
import asyncio

from gateway import BadRequest


def _asks(name):
    def ask(params):
        last = params["messages"][-1] if "messages" in params else params
        key = "content" if "messages" in params else "input"
        last[key] += f" {name}"
        return params
    return ask


def _answers(name):
    def answer(data):
        data.setdefault("trail", []).append(name)
        return data
    return answer


everywhere, asked, outer, inner, star = map(_asks, ("everywhere", "asked", "outer", "inner", "star"))
everywhere_too, asked_too, outer_too, inner_too = map(_answers, ("everywhere", "asked", "outer", "inner"))


async def slow(params):
    await asyncio.sleep(0.01)
    return inner(params)


async def hang(params):
    await asyncio.sleep(60)


def fail(params):
    params["messages"].clear()
    raise ValueError("the prompt")


def refuse(params):
    raise BadRequest("not today")


def rename(params):
    return {**params, "model": "inner"}
"""

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
hooks: {pre: [HOOKS.everywhere], post: [HOOKS.everywhere_too]}
models:
  smart:
    chain: [up/a, {alias: outer}, up/d]
    hooks: {pre: [HOOKS.asked], post: [HOOKS.asked_too]}
  outer:
    chain: [up/b, {alias: inner}]
    hooks: {pre: [HOOKS.outer], post: [HOOKS.outer_too]}
  inner:
    chain: [{target: up/c, retries: 1}]
    hooks: {pre: [HOOKS.slow], post: [HOOKS.inner_too]}
  plain: [{alias: unhooked}, {alias: inner}, up/d]
  unhooked: [up/b]
"""

BARE = "\n".join(line for line in ROUTES.splitlines() if not line.startswith("hooks:")).partition("  plain:")[0]
"""ROUTES without hooks for every request, to add aliases to."""


def asked_of(upstream: ScriptedOpenAI) -> list[tuple[str, str]]:
    """Return the model and the last message of each call."""
    return [(request.model, request.body["messages"][-1]["content"]) for request in upstream.requests]


def trail(answer: Answer) -> list[str]:
    """Return the post hooks that an answer, or each event of a stream, passed."""
    if answer.headers["content-type"] == "application/json":
        return list(answer.json["trail"])
    trails = {tuple(event["trail"]) for event in answer.events[:-1]}
    assert len(trails) == 1
    return [*trails.pop()]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failing", "sent", "passed"),
    [
        ([], ["a: hello everywhere asked"], "everywhere asked"),
        (["a"], ["a: hello everywhere asked", "b: hello everywhere asked outer"], "everywhere asked outer"),
        (
            ["a", "b", "c"],
            [
                "a: hello everywhere asked",
                "b: hello everywhere asked outer",
                "c: hello everywhere asked outer inner",
                "c: hello everywhere asked outer inner",
            ],
            "everywhere asked outer inner",
        ),
        (
            ["a", "b", "c", "c"],
            [
                "a: hello everywhere asked",
                "b: hello everywhere asked outer",
                "c: hello everywhere asked outer inner",
                "c: hello everywhere asked outer inner",
                "d: hello everywhere asked",
            ],
            "everywhere asked",
        ),
    ],
)
async def test_hooks_go_with_their_steps_from_outer_to_inner(
    start: Start, upstream: ScriptedOpenAI, stream: bool, failing: list[str], sent: list[str], passed: str
) -> None:
    for model in failing:
        upstream.script(model, status=500)
    for model in "abcd":
        upstream.script(model, reply="hi there")
    gateway = await start(ROUTES, hooks=HOOKS)
    answer = await gateway.chat("smart", stream=stream)
    assert answer.status == 200
    assert [f"{model}: {text}" for model, text in asked_of(upstream)] == sent
    assert trail(answer) == passed.split()


async def test_an_alias_without_hooks_passes_the_hooks_of_those_it_leads_to(
    start: Start, upstream: ScriptedOpenAI
) -> None:
    upstream.script("b", status=500).script("c", reply="hello")
    gateway = await start(
        ROUTES.replace("hooks: {pre: [HOOKS.everywhere], post: [HOOKS.everywhere_too]}\n", ""), hooks=HOOKS
    )
    answer = await gateway.chat("plain")
    assert (answer.status, asked_of(upstream)) == (200, [("b", "hello"), ("c", "hello inner")])
    assert trail(answer) == ["inner"]


async def test_the_same_alias_twice_runs_its_hooks_once(start: Start, upstream: ScriptedOpenAI) -> None:
    upstream.script("c", status=500).script("c", status=500).script("d", status=500).script("c", reply="hello")
    routes = BARE + "  twice: [{alias: inner}, up/d, {alias: inner}, {alias: outer}]\n"
    count = "\nruns = []\n\ndef counted(params):\n    runs.append(1)\n    return {**params, 'seed': len(runs)}\n"
    gateway = await start(routes.replace("HOOKS.slow", "HOOKS.counted"), hooks=HOOKS + count)
    answer = await gateway.chat("twice")
    assert answer.status == 200
    assert [(call.model, call.body.get("seed")) for call in upstream.requests] == [
        ("c", 1), ("c", 1), ("d", None), ("c", 1)
    ]  # fmt: skip


async def test_a_wildcard_and_embeddings_pass_them_too(start: Start, upstream: ScriptedOpenAI) -> None:
    routes = BARE + '  to-star: [{alias: team/x}]\n  "team/*": {chain: ["up/*"], hooks: {pre: [HOOKS.star]}}\n'
    gateway = await start(routes, hooks=HOOKS)
    assert (await gateway.chat("to-star")).status == 200
    body = {"model": "to-star", "input": "words"}
    assert (await gateway.request("POST", "/v1/embeddings", json=body)).status == 200
    assert [(call.model, call.body.get("input")) for call in upstream.requests] == [("x", None), ("x", "words star")]
    assert upstream.requests[0].body["messages"] == [{"role": "user", "content": "hello star"}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("hook", "status", "code", "message"),
    [
        ("HOOKS.fail", 500, "hook_failed", "fail failed: ValueError"),
        ("HOOKS.refuse", 400, "bad_request", "not today"),
        ("HOOKS.rename", 500, "hook_failed", "a pre hook of 'safe' changed the model"),
        ("{path: HOOKS.hang, timeout: 50ms}", 500, "hook_failed", "hang failed: it took too long"),
    ],
)
async def test_a_failing_hook_ends_the_request_when_its_step_is_about_to_be_tried(
    start: Start, upstream: ScriptedOpenAI, stream: bool, hook: str, status: int, code: str, message: str
) -> None:
    upstream.script("a", reply="hello").script("a", status=500)
    gateway = await start(
        BARE + f"  risky: [up/a, {{alias: safe}}, up/d]\n  safe: {{chain: [up/b], hooks: {{pre: [{hook}]}}}}\n",
        hooks=HOOKS,
    )
    assert (await gateway.chat("risky", stream=stream)).status == 200
    answer = await gateway.chat("risky", stream=stream)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert message in answer.error["message"]
    assert [attempt["target"] for attempt in answer.error["attempts"]] == ["up/a"]
    assert (answer.headers["x-gateway-attempts"], upstream.calls) == ("1", ["a", "a"])


async def test_a_hook_that_may_be_skipped_leaves_the_copy_that_it_got(start: Start, upstream: ScriptedOpenAI) -> None:
    hooks = "[{path: HOOKS.fail, on_error: skip}, HOOKS.inner]"
    routes = BARE + f"  lax: [{{alias: safe}}]\n  safe: {{chain: [up/b], hooks: {{pre: {hooks}}}}}\n"
    gateway = await start(routes, hooks=HOOKS)
    assert (await gateway.chat("lax")).status == 200
    assert asked_of(upstream) == [("b", "hello inner")]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_goes_nowhere_if_a_nested_hook_on_its_way_could_not_read_it(
    start: Start, upstream: ScriptedOpenAI, stream: bool
) -> None:
    routes = BARE + "  late: [up/a, {alias: safe}]\n  safe: {chain: [up/b], hooks: {pre: [HOOKS.inner]}}\n"
    gateway = await start(routes, hooks=HOOKS)
    body = {"model": "late", "prompt": "hello", **({"stream": True} if stream else {})}
    answer = await gateway.request("POST", "/v1/completions", json=body)
    assert (answer.status, answer.error["code"]) == (400, "unsupported")
    assert answer.error["message"].startswith("'safe' has the pre hook")
    assert upstream.calls == []


async def test_a_prompt_passes_by_nested_hooks_that_may_be_skipped_and_by_post_hooks(
    start: Start, upstream: ScriptedOpenAI
) -> None:
    hooks = "{pre: [{path: HOOKS.inner, on_error: skip}], post: [HOOKS.inner_too]}"
    routes = BARE + f"  lax: [{{alias: safe}}]\n  safe: {{chain: [up/b], hooks: {hooks}}}\n"
    gateway = await start(routes, hooks=HOOKS)
    answer = await gateway.request("POST", "/v1/completions", json={"model": "lax", "prompt": "hello"})
    assert (answer.status, upstream.requests[0].body["prompt"]) == (200, "hello")
    assert "trail" not in answer.json


async def test_editing_a_nested_alias_changes_those_that_lead_to_it(start: Start, upstream: ScriptedOpenAI) -> None:
    without = BARE + "  outside: [{alias: safe}]\n  safe: {chain: [up/b]}\n"
    gateway = await start(without, hooks=HOOKS)
    await gateway.chat("outside")
    text = gateway.config.read_text()
    module = text.partition("pre: [")[2].partition(".")[0]
    for hooks in ("inner", "outer"):
        save(gateway.config, text.replace("chain: [up/b]}", f"chain: [up/b], hooks: {{pre: [{module}.{hooks}]}}}}"))
        assert (await gateway.request("POST", "/-/reload")).status == 200
        await gateway.chat("outside")
    assert asked_of(upstream) == [("b", "hello"), ("b", "hello inner"), ("b", "hello outer")]
