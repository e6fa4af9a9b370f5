"""Hooks and the operations that they know, and the events of a stream that they ask for, through real HTTP."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import Any

import litellm  # noqa: F401 - here, where its warnings are no errors: gateways load it in a thread
import orjson
import pytest

from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, Answer, RunningGateway, Start, save

HOOKS = """\
from gateway import BadRequest

CALLED = []


def note(request):
    CALLED.append(request["operation"])
    request["user"] = "-".join(map(str, [request["operation"], *sorted(request)]))
    return request


def clean(request):
    return {name: request[name] for name in ("model", "messages", "prompt", "input", "stream") if name in request}


def disguise(request):
    return {**request, "operation": "chat"}


def refuse(request):
    raise BadRequest(f"no {request['operation']} today", param="user")


def stamp(answer):
    return {**answer, "stamped": True}


def stamp_again(answer):
    return {**answer, "stamped again": True}
"""

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
  claude: {kind: anthropic, base_url: "BASE_URL", api_key: sk-upstream}
models:
  unhooked: up/a
  usual: {chain: [up/a], hooks: {pre: [HOOKS.note], post: [HOOKS.stamp]}}
  all: {chain: [up/a], hooks: {pre: [&all {path: HOOKS.note, operations: [chat, completions, embeddings]}]}}
  only: {chain: [up/a], hooks: {pre: [{path: HOOKS.note, operations: [completions, count_tokens]}]}}
  skipped: {chain: [up/a], hooks: {pre: [{path: HOOKS.refuse, operations: [messages], on_error: skip}]}}
  after: {chain: [up/a], hooks: {post: [{path: HOOKS.stamp, operations: [completions]}, HOOKS.stamp_again]}}
  mixed: {chain: [up/a], hooks: {pre: [{path: HOOKS.refuse, on_error: skip}, *all]}}
  disguised: {chain: [{alias: all}], hooks: {pre: [{path: HOOKS.disguise, operations: [completions]}]}}
  cleaned: {chain: [{alias: all}], hooks: {pre: [{path: HOOKS.clean, operations: [chat, completions]}]}}
  refused: {chain: [up/a], hooks: {pre: [{path: HOOKS.refuse, operations: [completions]}]}}
  outer: [up/b, {alias: only}]
  carried: [{alias: claude}, up/a]
  claude: {chain: [claude/x], hooks: {pre: [HOOKS.note]}}
"""

FIELDS: dict[str, dict[str, Any]] = {
    "chat": {"messages": HELLO},
    "completions": {"prompt": "once"},
    "embeddings": {"input": "words"},
}
PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions", "embeddings": "/v1/embeddings"}


async def ask(gateway: RunningGateway, operation: str, model: str, /, **body: Any) -> Answer:
    return await gateway.request("POST", PATHS[operation], json={"model": model, **FIELDS[operation], **body})


@pytest.fixture
async def gateway(start: Start) -> RunningGateway:
    started: RunningGateway = await start(ROUTES, hooks=HOOKS)
    return started


@pytest.mark.parametrize("operation", FIELDS)
async def test_a_hook_that_knows_the_operation_sees_its_name_which_is_not_sent(
    gateway: RunningGateway, upstream: ScriptedOpenAI, operation: str
) -> None:
    assert (await ask(gateway, operation, "all", operation="the client's own")).status == 200
    (sent,) = upstream.requests
    (own,) = FIELDS[operation]
    assert sent.body["user"] == "-".join([operation, *sorted([own, "model", "operation"])])
    assert "operation" not in sent.body


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("operation", FIELDS)
async def test_a_client_s_own_field_of_that_name_is_never_sent_without_hooks_either(
    gateway: RunningGateway, upstream: ScriptedOpenAI, operation: str, large: bool
) -> None:
    body = {"model": "unhooked", "operation": "own", "user": "x" * (1_500_000 if large else 1), **FIELDS[operation]}
    answer = await gateway.request(
        "POST",
        PATHS[operation],
        data=io.BytesIO(orjson.dumps(body)),
        headers={"content-type": "application/json"},
    )
    assert answer.status == 200
    assert "operation" not in upstream.requests[0].body


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("operation", "model", "hint"),
    [
        ("completions", "usual", "operations: [chat, completions, embeddings]"),
        ("chat", "only", "operations: [chat, completions, count_tokens]"),
        ("embeddings", "only", "operations: [completions, count_tokens, embeddings]"),
    ],
)
async def test_a_request_that_a_pre_hook_does_not_know_is_refused_and_the_answer_says_what_to_write(
    gateway: RunningGateway, upstream: ScriptedOpenAI, operation: str, model: str, hint: str, stream: bool
) -> None:
    answer = await ask(gateway, operation, model, **({"stream": True} if stream else {}))
    assert (answer.status, answer.error["code"], upstream.calls) == (400, "unsupported", [])
    assert f"{model!r} has the pre hook " in answer.error["message"]
    assert f"note, which does not know {operation}, so nothing is sent past it" in answer.error["message"]
    assert answer.error["message"].endswith(hint)
    assert (answer.headers["x-should-retry"], answer.headers["x-gateway-attempts"]) == ("false", "0")


async def test_a_hook_of_a_nested_alias_refuses_before_any_call(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    answer = await ask(gateway, "chat", "outer")
    assert (answer.status, upstream.calls) == (400, [])
    assert answer.error["message"].startswith("'only' has the pre hook")
    upstream.script("b", status=500)
    assert (await ask(gateway, "completions", "outer")).status == 200
    assert [request.body.get("user") for request in upstream.requests] == [None, "completions-model-operation-prompt"]


async def test_the_hooks_of_a_step_that_is_passed_over_refuse_nothing(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    assert (await ask(gateway, "completions", "carried")).status == 200
    assert upstream.calls == ["a"]


@pytest.mark.parametrize(("operation", "model"), [("chat", "skipped"), ("completions", "mixed")])
async def test_a_hook_that_may_be_skipped_is_not_run_for_an_operation_that_it_does_not_know(
    gateway: RunningGateway, upstream: ScriptedOpenAI, operation: str, model: str
) -> None:
    assert (await ask(gateway, operation, model)).status == 200
    user = upstream.requests[0].body.get("user")
    assert user == ("completions-model-operation-prompt" if model == "mixed" else None)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("operation", "stamp"), [("chat", b'"stamped again":true'), ("completions", b'"stamped":true')]
)
async def test_a_post_hook_is_run_for_the_operations_that_it_knows(
    gateway: RunningGateway, operation: str, stamp: bytes, stream: bool
) -> None:
    body = (await ask(gateway, operation, "after", stream=stream)).body
    assert stamp in body
    assert body.count(b'"stamped') == body.count(stamp)


@pytest.mark.parametrize("model", ["disguised", "cleaned"])
async def test_a_hook_can_neither_hide_nor_change_the_operation_for_a_nested_alias(
    gateway: RunningGateway, upstream: ScriptedOpenAI, model: str
) -> None:
    assert (await ask(gateway, "completions", model)).status == 200
    assert upstream.requests[0].body["user"].startswith("completions-")
    assert "operation" not in upstream.requests[0].body


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hook_refuses_in_its_own_words(gateway: RunningGateway, upstream: ScriptedOpenAI, stream: bool) -> None:
    answer = await ask(gateway, "completions", "refused", stream=stream)
    assert (answer.status, upstream.calls) == (400, [])
    assert answer.error == {
        "message": "no completions today",
        "type": "invalid_request_error",
        "param": "user",
        "code": "bad_request",
    }


async def test_an_edit_of_the_operations_counts_at_once(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    text = gateway.config.read_text()
    assert (await ask(gateway, "embeddings", "only")).status == 400
    save(gateway.config, text.replace("[completions, count_tokens]", "[completions, embeddings]"))
    assert (await gateway.request("POST", "/-/reload")).status == 200
    assert (await ask(gateway, "embeddings", "only")).status == 200
    save(gateway.config, text)
    assert (await gateway.request("POST", "/-/reload")).status == 200
    assert (await ask(gateway, "embeddings", "only")).status == 400


# Another wire.

MESSAGES = """\
version: 1
providers:
  claude: {kind: anthropic, base_url: "CLAUDE_URL", api_key: sk-claude-key}
models:
  usual: {chain: [claude/a], hooks: {pre: [HOOKS.note]}}
  knowing: {chain: [claude/a], hooks: {pre: [{path: HOOKS.tell, operations: [messages]}]}}
  refused: {chain: [claude/a], hooks: {pre: [{path: HOOKS.refuse, operations: [messages]}]}}
  text: {chain: [claude/a], hooks: {post: [{path: HOOKS.stamp, operations: [messages], events: text}]}}
  final: {chain: [claude/a], hooks: {post: [{path: HOOKS.stamp, operations: [messages], events: final}]}}
"""

TELL = """
def tell(request):
    return {**request, "system": request["operation"]}
"""


@pytest.fixture
async def claude() -> AsyncIterator[ScriptedAnthropic]:
    async with ScriptedAnthropic() as server:
        yield server


async def message(
    start: Start, claude: ScriptedAnthropic, model: str, path: str = "/v1/messages", **body: Any
) -> Answer:
    claude.script("a", reply="one two")
    gateway = await start(MESSAGES.replace("CLAUDE_URL", claude.base_url), hooks=HOOKS + TELL)
    whole = {"model": model, "max_tokens": 9, "messages": HELLO, **body}
    answer: Answer = await gateway.request("POST", path, json=whole)
    return answer


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_messages_go_nowhere_past_a_hook_for_chats(start: Start, claude: ScriptedAnthropic, path: str) -> None:
    answer = await message(start, claude, "usual", path)
    assert (answer.status, answer.json["type"], claude.requests) == (400, "error", [])
    assert f"does not know {path.rpartition('/')[2]}, so nothing" in answer.error["message"]


async def test_a_hook_for_messages_sees_them_and_refuses_in_their_envelope(
    start: Start, claude: ScriptedAnthropic
) -> None:
    assert (await message(start, claude, "knowing")).status == 200
    (sent,) = claude.requests
    assert (sent.body["system"], "operation" in sent.body) == ("messages", False)
    answer = await message(start, claude, "refused")
    assert (answer.status, answer.json["type"]) == (400, "error")
    assert (answer.error["type"], answer.error["message"]) == ("invalid_request_error", "no messages today")


@pytest.mark.parametrize(
    ("model", "stamped"), [("text", ["content_block_delta"] * 2), ("final", ["message_delta", "message_stop"])]
)
async def test_a_post_hook_gets_the_events_of_a_message_that_it_asks_for(
    start: Start, claude: ScriptedAnthropic, model: str, stamped: list[str]
) -> None:
    answer = await message(start, claude, model, stream=True)
    events = [event for event in answer.body.decode().split("\n\n") if event]
    assert [event.split("\n")[0][7:] for event in events if STAMP.decode() in event] == stamped
    assert events[-1].startswith("event: message_stop")


# The events of a stream.

STREAMED = """\
version: 1
providers:
  up: {kind: openai, base_url: "BASE_URL"}
models:
  none: up/a
  text: {chain: [up/a], hooks: {post: [{path: HOOKS.stamp, events: text}]}}
  final: {chain: [up/a], hooks: {post: [{path: HOOKS.stamp, events: final}]}}
  all: {chain: [up/a], hooks: {post: [{path: HOOKS.stamp, events: all}]}}
  each: {chain: [up/a], hooks: {post: [{path: HOOKS.stamp, events: final}, {path: HOOKS.stamp_again, events: text}]}}
  prompts: {chain: [up/a], hooks: {post: [{path: HOOKS.stamp, operations: [completions], events: final}]}}
"""

STAMP, STAMP_AGAIN = b'"stamped":true', b'"stamped again":true'


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    data = {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    return b"data:  " + orjson.dumps(data) + b"\n\n"


USAGE = b'data:  {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 3}}\n\n'
EVENTS = {
    "role": event({"role": "assistant", "content": ""}),
    "one": event({"content": "one "}),
    "two": event({"content": "two "}),
    "tool": event({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}),
    "last": event({"content": "end"}, "stop"),
    "usage": USAGE,
}


@pytest.mark.parametrize(
    ("model", "stamped", "stamped_again"),
    [
        ("none", "", ""),
        ("text", "one two tool last", ""),
        ("final", "last usage", ""),
        ("all", "role one two tool last usage", ""),
        ("each", "last usage", "one two tool last"),
    ],
)
async def test_a_post_hook_gets_the_events_that_it_asks_for_and_the_others_pass_as_they_came(
    start: Start, upstream: ScriptedOpenAI, model: str, stamped: str, stamped_again: str
) -> None:
    gateway = await start(STREAMED, hooks=HOOKS)
    body = b": a comment\n\n" + b"".join(EVENTS.values()) + b"data: [DONE]\n\n"
    upstream.script("a", body=body, content_type="text/event-stream")
    answer = await gateway.chat(model, stream=True)
    comment, *sent, end = answer.body.removesuffix(b"\n\n").split(b"\n\n")
    assert (comment, end) == (b": a comment", b"data: [DONE]")
    hooked = {*stamped.split(), *stamped_again.split()}
    for (name, written), arrived in zip(EVENTS.items(), sent, strict=True):
        assert (STAMP in arrived, STAMP_AGAIN in arrived) == (name in stamped.split(), name in stamped_again.split())
        assert (arrived + b"\n\n" == written) == (name not in hooked)


async def test_many_events_of_text_pass_a_hook_for_the_last_ones_as_they_came(
    start: Start, upstream: ScriptedOpenAI
) -> None:
    gateway = await start(STREAMED, hooks=HOOKS)
    texts = b"".join(event({"content": f"word {number}"}) for number in range(300))
    upstream.script("a", body=texts + EVENTS["last"] + b"data: [DONE]\n\n", content_type="text/event-stream")
    body = (await gateway.chat("final", stream=True)).body
    assert body.startswith(texts)
    assert body.count(STAMP) == 1


@pytest.mark.parametrize("model", ["text", "final", "all"])
async def test_a_plain_answer_passes_the_hook_whatever_events_it_wants(
    start: Start, upstream: ScriptedOpenAI, model: str
) -> None:
    gateway = await start(STREAMED, hooks=HOOKS)
    assert (await gateway.chat(model)).json["stamped"] is True


async def test_completions_have_text_and_last_events_too(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway = await start(STREAMED, hooks=HOOKS)
    choices = [{"index": 0, "text": "one", "finish_reason": None}, {"index": 0, "text": "", "finish_reason": "stop"}]
    events = [b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n" for choice in choices]
    upstream.script("a", body=b"".join(events) + b"data: [DONE]\n\n", content_type="text/event-stream")
    answer = await ask(gateway, "completions", "prompts", stream=True)
    assert answer.body.startswith(events[0])
    assert answer.body.count(STAMP) == 1
