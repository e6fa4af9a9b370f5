"""The Python API: what docs/python.md promises, on real files and the mock provider."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway import (
    BadRequest,
    ConfigError,
    GatewayError,
    HookFailed,
    Provider,
    StreamBroken,
    UnknownModel,
    UpstreamFailed,
    UsageError,
)
from gateway.operations import CHAT
from gateway.telemetry.logs import JsonFormatter
from gateway.telemetry.report import CallReport
from gateway.wire.json import JsonObject

ROUTES = """
version: 1
models:
  demo: [mock/status-503, mock/echo]
  echo: mock/echo
  broken: mock/cut
  down: mock/status-503
  "team/*": "mock/*"
defaults: {retries: 0}
"""

HELLO: list[JsonObject] = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Provider]]:
    made: list[Provider] = []

    def provider(text: str = ROUTES) -> Provider:
        path = tmp_path / "routes.yaml"
        path.write_text(text)
        made.append(Provider.from_file(path))
        return made[-1]

    yield provider
    for one in made:
        await one.close()


def text_of(response: JsonObject) -> str:
    return str(response["choices"][0]["message"]["content"])


async def test_a_chat_is_completed_as_a_plain_dict_in_openais_shape(make: Callable[..., Provider]) -> None:
    response = await make().complete_chat(model="demo", messages=HELLO, temperature=0.7)
    assert type(response) is dict
    assert (response["object"], text_of(response)) == ("chat.completion", "hello")


async def test_a_chat_is_streamed_as_plain_dicts(make: Callable[..., Provider]) -> None:
    chunks = [chunk async for chunk in make().stream_chat(model="demo", messages=HELLO)]
    assert all(type(chunk) is dict for chunk in chunks)
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == "hello"


async def test_a_stream_that_broke_off_raises(make: Callable[..., Provider]) -> None:
    with pytest.raises(StreamBroken):
        async for _ in make().stream_chat(model="broken", messages=HELLO):
            pass


async def test_a_stream_may_be_left_early(make: Callable[..., Provider]) -> None:
    stream = make().stream_chat(model="echo", messages=[{"role": "user", "content": "a b c d"}])
    async with aclosing(stream) as chunks:
        await anext(chunks)


async def test_a_model_that_no_target_answers_for_raises_with_its_attempts(make: Callable[..., Provider]) -> None:
    with pytest.raises(UpstreamFailed) as failed:
        await make().complete_chat("down", HELLO)
    assert (failed.value.status, [attempt.kind for attempt in failed.value.attempts]) == (503, ["overloaded"])


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[JsonObject]]:
    """Return a function that returns the lines of the calls made since, as the server's formatter writes them."""
    caplog.set_level(logging.INFO, "gateway")
    caplog.clear()

    def lines() -> list[JsonObject]:
        made = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
        caplog.clear()
        return made

    return lines


async def test_each_call_is_one_line_as_the_server_writes_it(
    make: Callable[..., Provider], log: Callable[[], list[JsonObject]]
) -> None:
    provider = make()
    log()
    await provider.complete_chat("demo", HELLO)
    [line] = log()
    assert {"time", "ms", "request_id"} < line.keys()
    assert [attempt.pop("ms") >= 0 for attempt in line["attempts"]] == [True, True]
    assert {name: value for name, value in line.items() if name not in {"time", "ms", "request_id"}} == {
        "level": "info",
        "logger": "gateway.access",
        "event": "request",
        "operation": "chat",
        "alias": "demo",
        "target": "mock/echo",
        "status": 200,
        "stream": False,
        "generation": 1,
        "attempts": [
            {"target": "mock/status-503", "kind": "overloaded", "status": 503},
            {"target": "mock/echo", "kind": None, "status": 200},
        ],
        "tokens": {"prompt": 1, "completion": 1},
    }
    assert "hello" not in str(line)


async def test_the_line_tells_how_a_call_ended(
    make: Callable[..., Provider], log: Callable[[], list[JsonObject]]
) -> None:
    provider = make()
    log()

    async def told(call: Awaitable[object]) -> tuple[object, ...]:
        with suppress(GatewayError):
            await call
        [line] = log()
        kinds = [attempt["kind"] for attempt in line["attempts"]]
        return line["status"], line.get("error"), line["target"], kinds, line["stream"]

    async def drained(model: str) -> None:
        async for _ in provider.stream_chat(model, HELLO):
            pass

    async def left(model: str) -> None:
        async with aclosing(provider.stream_chat(model, HELLO)) as chunks:
            await anext(chunks)

    assert await told(provider.complete_chat("down", HELLO)) == (503, "upstream_failed", None, ["overloaded"], False)
    assert await told(provider.complete_chat("dmo", HELLO)) == (404, "model_not_found", None, [], False)
    assert await told(drained("demo")) == (200, None, "mock/echo", ["overloaded", None], True)
    assert await told(drained("broken")) == (502, "stream_broken", "mock/cut", ["bad_response"], True)
    assert await told(left("echo")) == (499, None, "mock/echo", [None], True)


async def test_a_program_that_logs_no_info_gets_no_line(
    make: Callable[..., Provider], caplog: pytest.LogCaptureFixture
) -> None:
    await make().complete_chat("demo", HELLO)
    assert caplog.records == []


async def test_from_file_serves_only_what_the_file_declares(make: Callable[..., Provider]) -> None:
    with pytest.raises(UnknownModel, match="did you mean 'demo'"):
        await make().complete_chat("dmo", HELLO)
    with pytest.raises(UnknownModel):
        await make().complete_chat("openai/gpt-4o", HELLO)


async def test_a_request_without_a_model_is_refused(make: Callable[..., Provider]) -> None:
    with pytest.raises(BadRequest) as refused:
        await make()._pipeline.answer(CHAT, {"messages": HELLO}, report=CallReport())
    assert refused.value.param == "model"


async def test_a_wildcard_carries_the_matched_part_over(make: Callable[..., Provider]) -> None:
    provider = make()
    assert provider.map_model_name("team/echo") == "mock/echo"
    assert text_of(await provider.complete_chat("team/echo", HELLO)) == "hello"
    report = CallReport()
    await provider._pipeline.answer(CHAT, {"model": "team/echo", "messages": HELLO}, report=report)
    assert (report.alias, report.attempts[0].target, report.attempts[0].label) == ("team/*", "mock/echo", "mock/*")
    for odd in ("team/../x", "team/a?b", "team/", "team/a//b", "team/a b"):
        with pytest.raises(UnknownModel):
            await provider.complete_chat(odd, HELLO)


def test_a_bad_file_raises_every_problem_and_a_missing_one_a_usage_error(tmp_path: Path) -> None:
    bad = tmp_path / "routes.yaml"
    bad.write_text("version: 2\nmodels: {a: nope}\n")
    with pytest.raises(ConfigError) as refused:
        Provider.from_file(bad)
    assert {problem.code for problem in refused.value.problems} >= {"bad-version"}
    with pytest.raises(UsageError):
        Provider.from_file(tmp_path / "missing.yaml")


# Mappings and fallbacks in code.


async def test_a_mapping_followed_by_its_fallbacks_without_repeats_is_the_chain(make: Callable[..., Provider]) -> None:
    provider = make()
    provider.add_model_mapping("mine", "mock/status-503")
    provider.add_model_fallback("mine", ["mock/status-503", "mock/echo"])
    report = CallReport()
    await provider._pipeline.answer(CHAT, {"model": "mine", "messages": HELLO}, report=report)
    assert [attempt.target for attempt in report.attempts] == ["mock/status-503", "mock/echo"]


async def test_what_is_added_in_code_wins_over_the_file_and_survives_a_reload(
    make: Callable[..., Provider], tmp_path: Path
) -> None:
    provider = make()
    provider.add_model_mapping("echo", "mock/other")
    assert provider.map_model_name("echo") == "mock/other"
    (tmp_path / "routes.yaml").write_text(ROUTES.replace("down:", "up:"))
    provider.reload()
    assert provider.map_model_name("echo") == "mock/other"
    assert provider.map_model_name("up") == "mock/status-503"


async def test_each_half_of_a_chain_is_replaced_by_its_own_call(make: Callable[..., Provider]) -> None:
    provider = make()
    provider.add_model_fallback("demo", ["mock/other"])
    report = CallReport()
    await provider._pipeline.answer(CHAT, {"model": "demo", "messages": HELLO}, report=report)
    assert [attempt.target for attempt in report.attempts] == ["mock/status-503", "mock/other"]


async def test_a_mapping_that_cannot_be_is_refused_and_changes_nothing(make: Callable[..., Provider]) -> None:
    provider = make()
    with pytest.raises(ConfigError):
        provider.add_model_mapping("echo", "nowhere/x")
    assert provider.map_model_name("echo") == "mock/echo"
    provider.add_model_mapping("fine", "mock/echo")


async def test_a_changed_file_is_read_again_when_the_table_is_asked_for(
    make: Callable[..., Provider], tmp_path: Path
) -> None:
    provider = make()
    (tmp_path / "routes.yaml").write_text(ROUTES.replace("echo: mock/echo", "echo: mock/elsewhere"))
    end_s = time.monotonic() + 5
    while provider.map_model_name("echo") != "mock/elsewhere":
        assert time.monotonic() < end_s


# Hooks.


async def test_hooks_see_and_change_the_request_and_the_response(make: Callable[..., Provider]) -> None:
    provider = make()
    seen: list[Any] = []

    def before(params: JsonObject) -> JsonObject:
        seen.append((params["model"], params["temperature"]))
        params["messages"].append({"role": "user", "content": "changed"})
        return params

    async def after(response: JsonObject) -> JsonObject:
        return {**response, "extra": True}

    provider.add_pre_process_hook(before)
    provider.add_post_process_hook(after)
    messages = list(HELLO)
    response = await provider.complete_chat("demo", messages, temperature=0.5)
    assert (text_of(response), response["extra"], seen) == ("changed", True, [("demo", 0.5)])
    assert messages == HELLO


async def test_post_hooks_see_every_chunk_of_a_stream(make: Callable[..., Provider]) -> None:
    provider = make()
    provider.add_post_process_hook(lambda chunk: {**chunk, "seen": True})
    chunks = [chunk async for chunk in provider.stream_chat("echo", HELLO)]
    assert chunks
    assert all(chunk["seen"] for chunk in chunks)


async def test_a_hook_may_add_its_like_as_a_decorator(make: Callable[..., Provider]) -> None:
    provider = make()

    @provider.add_pre_process_hook
    def shout(params: JsonObject) -> JsonObject:
        params["messages"][0]["content"] = "HELLO"
        return params

    assert callable(shout)
    assert text_of(await provider.complete_chat("echo", HELLO)) == "HELLO"


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (lambda params: None, "returned NoneType, not a dict"),
        (lambda params: {**params, "model": "other"}, "changed the model"),
        (lambda params: 1 / 0, "ZeroDivisionError"),
    ],
)
async def test_a_hook_that_misbehaves_fails_the_request_with_its_reason(
    make: Callable[..., Provider], hook: Callable[[JsonObject], Any], message: str
) -> None:
    provider = make()
    provider.add_pre_process_hook(hook)
    with pytest.raises(HookFailed, match=message) as failed:
        await provider.complete_chat("echo", HELLO)
    assert failed.value.status == 500


async def test_a_hook_may_refuse_a_request_with_an_error_of_ours(make: Callable[..., Provider]) -> None:
    provider = make()

    @provider.add_pre_process_hook
    def refuse(params: JsonObject) -> JsonObject:
        raise BadRequest("not on a Sunday", param="messages")

    with pytest.raises(BadRequest, match="not on a Sunday"):
        await provider.complete_chat("echo", HELLO)


async def test_a_hook_is_a_callable(make: Callable[..., Provider]) -> None:
    with pytest.raises(TypeError, match="a hook is a callable, not a str"):
        make().add_pre_process_hook("not callable")  # type: ignore[type-var]  # what a program may get wrong


async def test_a_hook_names_the_operations_that_it_knows(make: Callable[..., Provider]) -> None:
    provider = make()
    provider.add_post_process_hook(lambda answer: {**answer, "seen": "messages"}, operations=["messages"])
    provider.add_post_process_hook(lambda answer: {**answer, "seen too": "chat"}, operations={"chat", "messages"})
    answer = await provider.complete_chat("echo", HELLO)
    assert ("seen" in answer, answer["seen too"]) == (False, "chat")
    provider.add_pre_process_hook(lambda params: params, operations=("responses", "embeddings"))
    with pytest.raises(GatewayError, match="does not know chat") as refused:
        await provider.complete_chat("echo", HELLO)
    assert (refused.value.status, refused.value.code) == (400, "unsupported")


async def test_a_hook_names_the_chunks_that_it_gets(make: Callable[..., Provider]) -> None:
    provider = make()
    provider.add_post_process_hook(lambda chunk: {**chunk, "last": True}, events="final")
    chunks = [chunk async for chunk in provider.stream_chat("echo", HELLO)]
    assert [chunk.get("last", False) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


async def test_names_that_no_hook_can_have_are_refused_at_once(make: Callable[..., Provider]) -> None:
    add = make().add_pre_process_hook
    with pytest.raises(ValueError, match="there is no operation 'mesages'; did you mean 'messages'"):
        add(lambda params: params, operations=["chat", "mesages"])
    with pytest.raises(ValueError, match=r"there is no operation 'x'; there are chat, completions, .*translations"):
        add(lambda params: params, operations=["x"])
    with pytest.raises(ValueError, match="a hook knows at least one operation"):
        add(lambda params: params, operations=[])
    with pytest.raises(TypeError, match="must be a list of names, not a string"):
        add(lambda params: params, operations="chat")
    with pytest.raises(ValueError, match="the events of a hook are one of text, final, all, not 'last'"):
        make().add_post_process_hook(lambda chunk: chunk, events="last")  # type: ignore[arg-type]  # a typing error


async def test_a_hook_that_fails_says_nothing_of_what_it_saw(make: Callable[..., Provider]) -> None:
    provider = make()

    def leaky(params: JsonObject) -> JsonObject:
        raise ValueError(f"cannot handle {params['messages']}")

    provider.add_pre_process_hook(leaky)
    with pytest.raises(HookFailed) as failed:
        await provider.complete_chat("echo", [{"role": "user", "content": "private"}])
    assert "private" not in str(failed.value)


HOOKS = """
import asyncio

def boom(params):
    params["messages"] = "half done"
    raise RuntimeError("boom")

async def slow(params):
    await asyncio.sleep(60)
    return params

def upper(response):
    for choice in response["choices"]:
        for part in ("message", "delta"):
            if choice.get(part, {}).get("content"):
                choice[part]["content"] = choice[part]["content"].upper()
    return response
"""


async def test_the_files_hooks_run_with_their_limits_and_may_be_skipped(
    make: Callable[..., Provider], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hooks_of_this_test.py").write_text(HOOKS)
    monkeypatch.setattr(sys, "path", [*sys.path])
    provider = make(
        """
        version: 1
        hooks: {post: [hooks_of_this_test.upper]}
        models:
          skips:
            chain: [mock/echo]
            hooks:
              pre:
                - {path: hooks_of_this_test.boom, on_error: skip}
                - {path: hooks_of_this_test.slow, timeout: 20ms, on_error: skip}
          fails: {chain: [mock/echo], hooks: {pre: [{path: hooks_of_this_test.slow, timeout: 20ms}]}}
        """
    )
    assert text_of(await provider.complete_chat("skips", HELLO)) == "HELLO"
    with pytest.raises(HookFailed, match=r"hooks_of_this_test\.slow failed: it took too long"):
        await provider.complete_chat("fails", HELLO)


async def test_a_hook_without_a_limit_ends_with_the_deadline(
    make: Callable[..., Provider], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_hooks_of_this_test.py").write_text(HOOKS)
    monkeypatch.setattr(sys, "path", [*sys.path])
    provider = make(
        """
        version: 1
        defaults: {deadline: 50ms}
        models:
          before: {chain: [mock/echo], hooks: {pre: [slow_hooks_of_this_test.slow]}}
          after: {chain: [mock/echo], hooks: {post: [slow_hooks_of_this_test.slow]}}
        """
    )
    for model in ("before", "after"):
        with pytest.raises(HookFailed, match="took too long"):
            await provider.complete_chat(model, HELLO)
    with pytest.raises(HookFailed, match="took too long"):
        async for _ in provider.stream_chat("after", HELLO):
            pass


@pytest.mark.parametrize("hook", [lambda **_: {}, lambda a, b: {}])
async def test_a_hook_takes_exactly_one_argument(
    make: Callable[..., Provider], hook: Callable[..., JsonObject]
) -> None:
    with pytest.raises(TypeError, match="exactly one argument"):
        make().add_pre_process_hook(hook)


async def test_fallbacks_are_a_list_and_messages_too(make: Callable[..., Provider]) -> None:
    provider = make()
    with pytest.raises(TypeError, match="must be a list of targets"):
        provider.add_model_fallback("demo", "mock/echo")
    for messages in ("hello", None, {"role": "user"}):
        with pytest.raises(BadRequest, match="not a list of dicts"):
            await provider.complete_chat("demo", messages)  # type: ignore[arg-type]  # what a program may get wrong


async def test_a_reload_returns_the_problems_of_the_file(make: Callable[..., Provider], tmp_path: Path) -> None:
    provider = make()
    assert provider.reload() == ()
    (tmp_path / "routes.yaml").write_text("version: 1\nmodels: {a: nope}\n")
    assert [problem.code for problem in provider.reload()] == ["no-provider"]
    assert provider.map_model_name("echo") == "mock/echo"


# Capabilities.


class Embedder:
    async def get_embedding(self, text: str) -> list[float]:
        return [float(len(text))]


async def test_a_registered_capability_is_an_attribute(make: Callable[..., Provider]) -> None:
    provider = make()
    provider.register_capability("cached_embedding", Embedder())
    provider.reload()
    assert await provider.cached_embedding.get_embedding("text") == [4.0]


async def test_an_unknown_attribute_names_the_capabilities_there_are(make: Callable[..., Provider]) -> None:
    provider = make()
    provider.register_capability("one", object())
    with pytest.raises(AttributeError, match="no capability named 'two' is registered; there are: one"):
        _ = provider.two
    assert not hasattr(provider, "_private")


@pytest.mark.parametrize("name", ["complete_chat", "not an identifier", "_private", "tables", ""])
async def test_a_capability_may_not_take_a_name_that_means_something(make: Callable[..., Provider], name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a capability"):
        make().register_capability(name, object())


# Parameters.


async def test_arguments_left_at_their_default_are_not_sent(make: Callable[..., Provider]) -> None:
    provider = make()
    sent: list[JsonObject] = []

    @provider.add_pre_process_hook
    def note(params: JsonObject) -> JsonObject:
        sent.append(dict(params))
        return params

    await provider.complete_chat("echo", HELLO)
    await provider.complete_chat(
        "echo", HELLO, temperature=0.0, top_p=0.5, n=2, max_tokens=9, user_id="me", tools=[], seed=1
    )
    assert sent[0] == {"model": "echo", "operation": "chat", "messages": HELLO}
    assert sent[1] == {
        "model": "echo",
        "operation": "chat",
        "messages": HELLO,
        "temperature": 0.0,
        "top_p": 0.5,
        "n": 2,
        "max_tokens": 9,
        "user": "me",
        "tools": [],
        "seed": 1,
    }


# The module's own provider.


def run(code: str, **environ: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env={**clean, **environ}, capture_output=True, text=True, timeout=9
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_reads_no_file_and_loads_nothing_heavy() -> None:
    code = "import sys, gateway; print([m for m in ('aiohttp', 'litellm', 'yaml', 'jsonschema') if m in sys.modules])"
    assert run(code, GATEWAY_CONFIG="/nowhere/routes.yaml") == "[]\n"


def test_the_built_in_mapping_is_there_without_a_file() -> None:
    code = """
from gateway import provider
names = ["gpt-4o-mini", "gpt-4o", "gpt-4", "gpt-3.5-turbo", "claude-3-opus", "claude-3-sonnet", "claude-3-haiku"]
print([provider.map_model_name(name) for name in [*names, "unmapped", "groq/llama"]])
print([step.target.name for step in provider.tables.current.routes["gpt-4o-mini"].steps])
"""
    assert run(code, GATEWAY_CONFIG="") == (
        "['openai/gpt-4o-mini', 'openai/gpt-4o', 'openai/gpt-4-turbo', 'openai/gpt-3.5-turbo', "
        "'anthropic/claude-3-opus', 'anthropic/claude-3-sonnet', 'anthropic/claude-3-haiku', "
        "'unmapped', 'groq/llama']\n"
        "['openai/gpt-4o-mini', 'openai/gpt-3.5-turbo']\n"
    )


def test_gateway_config_names_the_file_and_the_public_name_is_never_the_module(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(ROUTES)
    code = """
import asyncio
import gateway.library.provider
from gateway import Provider, complete_chat, provider, stream_chat
assert isinstance(provider, Provider), provider
print(asyncio.run(complete_chat("demo", [{"role": "user", "content": "hi"}]))["choices"][0]["message"]["content"])
async def stream():
    return [chunk async for chunk in stream_chat(model="demo", messages=[{"role": "user", "content": "hi"}])]
print(bool(asyncio.run(stream())))
"""
    assert run(code, GATEWAY_CONFIG=str(tmp_path / "routes.yaml")) == "hi\nTrue\n"


async def test_limits_of_providers_hold(make: Callable[..., Provider], caplog: pytest.LogCaptureFixture) -> None:
    provider = make("""
version: 1
providers: {quota: {kind: mock, limits: [2 requests/hour, 1 concurrent]}}
models: {echo: quota/echo, chain: [quota/echo, mock/echo]}
defaults: {deadline: 1s}
""")
    await provider.complete_chat("echo", HELLO)
    async with aclosing(provider.stream_chat("echo", HELLO)) as chunks:
        assert [chunk async for chunk in chunks]
    with pytest.raises(GatewayError) as caught:
        await provider.complete_chat("echo", HELLO)
    assert (caught.value.status, caught.value.code) == (429, "limited")
    with caplog.at_level(logging.INFO, logger="gateway"):
        await provider.complete_chat("chain", HELLO)
    line = json.loads(JsonFormatter().format(caplog.records[-1]))
    assert [(one["target"], one["kind"]) for one in line["attempts"]] == [
        ("quota/echo", "limited"),
        ("mock/echo", None),
    ]
