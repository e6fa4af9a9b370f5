"""Chat clients of Claude: our translation beside LiteLLM's classes, and where they differ, each with its reason."""

from __future__ import annotations

import copy
import json
from typing import Any, Final

import httpx
import litellm  # noqa: F401 - imported here, where its warnings are no errors
import pytest
from litellm.llms.anthropic.chat.handler import ModelResponseIterator
from litellm.llms.anthropic.chat.transformation import AnthropicConfig
from litellm.types.utils import ModelResponse

from gateway.adapters.anthropic import to_messages
from gateway.adapters.base import NotSupported
from gateway.adapters.litellm.translate import answer_data
from gateway.wire.json import JsonObject
from tests.unit.adapters.anthropic.shapes import (
    CHAT_TOOL,
    MESSAGE_STOP,
    SCHEMA,
    assistant,
    chat_call,
    delta,
    message,
    message_delta,
    message_start,
    png,
    start,
    stop,
    system,
    text,
    tool,
    use,
    user,
)
from tests.unit.adapters.anthropic.summed import chat_sum

pytestmark = pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning")
"""Pydantic says so of LiteLLM's classes when the first answer is made."""

MODELS: Final = ("claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-8", "claude-sonnet-5", "claude-opus-5")
EPHEMERAL: Final = {"type": "ephemeral"}
CALLED: Final = [user(), assistant("x", tool_calls=[chat_call("a"), chat_call("b", "")]), tool("a"), tool("b")]
CLOSED: Final = {"name": "n", "schema": {**SCHEMA, "additionalProperties": False}}
SIGNED: Final = {"type": "thinking", "thinking": "hm", "signature": "sig"}
PDF: Final[JsonObject] = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0x"}}

SAME: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "stream": {"stream": True},
    "system": {"messages": [system("a"), system([text("b", cache_control=EPHEMERAL)]), user()]},
    "tools": {"tools": [CHAT_TOOL], "tool_choice": "auto"},
    "no tool": {"tools": [CHAT_TOOL], "tool_choice": "none"},
    "cached tool": {"tools": [{**CHAT_TOOL, "cache_control": EPHEMERAL}]},
    "one call at a time": {"tools": [CHAT_TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
    "history": {"messages": [*CALLED, user("and?")], "tools": [CHAT_TOOL]},
    "result with image": {"messages": [*CALLED[:2], tool("a", [text("r"), png()]), tool("b")], "tools": [CHAT_TOOL]},
    "thinking in the history": {
        "messages": [user(), assistant("x", thinking_blocks=[SIGNED], tool_calls=[chat_call("a")]), tool("a")],
        "tools": [CHAT_TOOL],
        "thinking": {"type": "adaptive"},
        "max_tokens": 8000,
        "models": MODELS[1:],
    },
    "images": {"messages": [user([text("a"), png(), {"type": "image_url", "image_url": {"url": "https://e.org/a.png"}}])]},
    "pdf": {"messages": [user([PDF])]},
    "stop": {"stop": "END"},
    "stops": {"stop": ["a", "b"]},
    "max_tokens": {"max_tokens": 10},
    "max_completion_tokens": {"max_completion_tokens": 10},
    "temperature": {"temperature": 0.2},
    "top_p": {"top_p": 0.2},
    "user": {"user": "u"},
    "e-mail": {"user": "ann@example.com"},
    "tier": {"service_tier": "default"},
    "no effort": {"reasoning_effort": "none"},
    "low": {"reasoning_effort": "low", "max_tokens": 9000},
    "minimal": {"reasoning_effort": "minimal", "max_tokens": 9000},
    "max": {"reasoning_effort": "max", "models": MODELS[1:]},
    "budget": {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 9000, "models": MODELS[:2]},
    "cached text": {"messages": [user([text("a", cache_control=EPHEMERAL), text("b")])]},
    "breakpoint": {"messages": [user([text("a", prompt_cache_breakpoint={"mode": "explicit"})])]},
    "same side": {"messages": [user("a"), user("b"), assistant("c"), assistant("d"), user("e")]},
    "prefill": {"messages": [user(), assistant("The answer is ")], "models": MODELS[:1]},
    "late system": {
        "messages": [user(), assistant(), system("s"), user("b"), assistant("c"), user("d"), system("t")],
        "models": MODELS[3:],
    },
}  # fmt: skip
"""Both send the same."""

DIFFERENT: Final[dict[str, tuple[dict[str, Any], set[str], str]]] = {
    "late system": (
        {"messages": [user(), system("s")], "models": MODELS[:1]},
        {"messages"},
        "the note before it has other words",
    ),
    "developer": (
        {"messages": [{"role": "developer", "content": "s"}, user()]},
        {"system", "messages", "model", "max_tokens"},
        "LiteLLM refuses OpenAI's newer word for it",
    ),
    "no tools": ({"messages": CALLED}, {"tools", "tool_choice"}, "LiteLLM invents a tool that the model may call"),
    "title": (
        {"messages": [user([{"type": "file", "file": {**PDF["file"], "filename": "a.pdf"}}])]},
        {"messages"},
        "the model can be told what a file is called",
    ),
    "both samplings": (
        {"temperature": 0.2, "top_p": 0.5, "models": MODELS[:2]},
        {"top_p"},
        "refused by all models since 4.1: https://github.com/BerriAI/litellm/issues/15097",
    ),
    "sampling while thinking": (
        {"temperature": 0.2, "reasoning_effort": "high", "models": MODELS[1:2]},
        {"temperature"},
        "refused while the model thinks",
    ),
    "effort without max_tokens": (
        {"reasoning_effort": "high", "models": MODELS[:1]},
        {"max_tokens"},
        "the answer would be cut at 4,096 tokens after the thinking",
    ),
    "effort above max_tokens": (
        {"reasoning_effort": "max", "max_tokens": 4096, "models": MODELS[:1]},
        {"thinking"},
        "refused: the budget must be smaller than max_tokens",
    ),
    "effort before calls without thinking": (
        {"messages": CALLED, "tools": [CHAT_TOOL], "reasoning_effort": "low", "max_tokens": 9000, "models": MODELS[:1]},
        {"thinking"},
        "refused: a budget wants thinking before the last calls",
    ),
    "forced tool": (
        {"tools": [CHAT_TOOL], "tool_choice": "required", "models": MODELS[3:]},
        {"thinking"},
        "a model that thinks unasked refuses, or answers in words",
    ),
    "schema": (
        {"response_format": {"type": "json_schema", "json_schema": CLOSED}},
        {"output_format", "output_config"},
        "output_format was the name in the beta",
    ),
    "empty": (
        {"messages": [user([text(""), text("a")]), assistant(""), user("z")]},
        {"messages"},
        "LiteLLM puts words of its own into empty messages",
    ),
    "assistant first": (
        {"messages": [assistant(), user()]},
        {"messages"},
        "the first turn must be a user's",
    ),
    "renamed": (
        {"tools": [{"type": "function", "function": {"name": "a.b", "parameters": SCHEMA}}]},
        {"tools"},
        "our names depend on the name alone, theirs on the other tools, which spoils prompt caches",
    ),
    "function": (
        {"messages": [user(), assistant(None, function_call={"name": "f", "arguments": "{}"}),
                      {"role": "function", "name": "f", "content": "r"}], "tools": [CHAT_TOOL]},
        {"messages"},
        "LiteLLM gives call and result two random ids, which is refused",
    ),
    "ids": (
        {"messages": [*CALLED, *CALLED[1:]], "tools": [CHAT_TOOL]},
        {"messages"},
        "an id may come once only",
    ),
    "prefill": (
        {"messages": [user(), assistant("The answer is ")], "models": MODELS[1:]},
        {"not supported", "messages", "model", "max_tokens"},
        "newer models refuse it, so the next target is better",
    ),
}  # fmt: skip
"""Case → what differs there, and why."""


def ours(body: JsonObject) -> JsonObject:
    try:
        return to_messages.request(copy.deepcopy(body)).body
    except NotSupported as unsupported:
        return {"not supported": str(unsupported)}


def theirs(body: JsonObject) -> JsonObject:
    params = copy.deepcopy(body)
    model, messages = params.pop("model"), params.pop("messages")
    config = AnthropicConfig()
    try:
        given = config.map_openai_params(params, {}, model, True)
        given.pop("json_mode", None)
        sent = config.transform_request(model, messages, given, {"drop_params": True}, {})
    except Exception as error:  # noqa: BLE001 - of any type
        return {"refused": str(error)[:80]}
    found: JsonObject = json.loads(json.dumps(sent))
    for one in found.get("tools", ()):
        if one.get("type") == "custom":  # the default
            del one["type"]
    return found


def _cases(table: dict[str, Any]) -> list[Any]:
    found = []
    for name, entry in table.items():
        params, *rest = entry if isinstance(entry, tuple) else (entry,)
        for model in params.get("models", MODELS):
            body = {
                "model": model,
                "messages": [user()],
                **{key: value for key, value in params.items() if key != "models"},
            }
            found.append(pytest.param(body, *rest, id=f"{name}-{model}"))
    return found


@pytest.mark.parametrize("body", _cases(SAME))
def test_both_send_the_same(body: JsonObject) -> None:
    assert ours(body) == theirs(body)


@pytest.mark.parametrize(("body", "fields", "why"), _cases(DIFFERENT))
def test_both_differ_as_listed(body: JsonObject, fields: set[str], why: str) -> None:
    mine, their = ours(body), theirs(body)
    differing = {name for name in mine.keys() | their.keys() if mine.get(name) != their.get(name)} - {"refused"}
    assert differing == fields, why


WEB: Final[list[JsonObject]] = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
]
ANSWERS: Final = {
    "text": message(text("Hel"), text("lo")),
    "calls": message(text("x"), use("a", city="Rome"), use("b"), stop="tool_use"),
    "call alone": message(use("a", city="Rome"), stop="tool_use"),
    "thinking": message(SIGNED, {"type": "redacted_thinking", "data": "x"}, text("a")),
    "hosted tool": message(*WEB, text("found")),
    "refusal": message(
        text("x"), stop="refusal", stop_details={"type": "refusal", "category": "bio", "explanation": "no"}
    ),
    "cut": message(text("x"), stop="max_tokens"),
    "window": message(text("x"), stop="model_context_window_exceeded"),
    "paused": message(text("x"), stop="pause_turn"),
    "cached": message(
        text("x"),
        usage={
            "input_tokens": 3,
            "cache_read_input_tokens": 20,
            "cache_creation_input_tokens": 4,
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 5},
        },
    ),
}


def _counts(usage: JsonObject | None) -> tuple[Any, ...]:
    """Return the counts that both tell. LiteLLM estimates the tokens of thinking where they are not told."""
    usage = usage or {}
    details = usage.get("prompt_tokens_details") or {}
    return (
        usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("total_tokens"),
        details.get("cached_tokens"), details.get("cache_write_tokens", details.get("cache_creation_tokens")),
    )  # fmt: skip


def _json(value: Any) -> Any:
    return [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in value or ()]


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS.keys())
def test_both_read_the_same_in_an_answer(data: JsonObject) -> None:
    read = AnthropicConfig().transform_parsed_response(copy.deepcopy(data), httpx.Response(200), ModelResponse())
    their, mine = answer_data(read), to_messages.answer(data, created=1)
    said, says = their["choices"][0], mine["choices"][0]
    assert says["finish_reason"] == said["finish_reason"]
    for field in ("content", "reasoning_content", "thinking_blocks", "refusal"):
        assert says["message"].get(field) == said["message"].get(field), field
    assert _json(says["message"].get("tool_calls")) == _json(said["message"].get("tool_calls"))
    assert _counts(mine["usage"]) == _counts(their["usage"])
    assert mine["model"] == their["model"]


def test_an_empty_answer_has_an_empty_text_where_litellm_has_null() -> None:
    """Clients that wait for a text get one."""
    data = message()
    read = AnthropicConfig().transform_parsed_response(copy.deepcopy(data), httpx.Response(200), ModelResponse())
    assert answer_data(read)["choices"][0]["message"]["content"] is None
    assert to_messages.answer(data, created=1)["choices"][0]["message"]["content"] == ""


TEXT: Final = [
    start(0, type="text", text=""),
    {"type": "ping"},
    delta(0, "text_delta", text="Hel"),
    delta(0, "text_delta", text="lo"),
    stop(0),
]
TOOLS: Final = [
    start(1, type="tool_use", id="a", name="weather", input={}),
    delta(1, "input_json_delta", partial_json=""),
    delta(1, "input_json_delta", partial_json='{"city": '),
    delta(1, "input_json_delta", partial_json='"Rome"}'),
    stop(1),
    start(2, type="tool_use", id="b", name="time", input={}),
    delta(2, "input_json_delta", partial_json=""),
    stop(2),
]
THINKING: Final = [
    start(0, type="thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="h"),
    delta(0, "thinking_delta", thinking="m"),
    delta(0, "signature_delta", signature="sig"),
    stop(0),
    start(1, type="redacted_thinking", data="xx"),
    stop(1),
]
STREAMS: Final = {
    "text": [message_start(), *TEXT, message_delta(), MESSAGE_STOP],
    "tools": [message_start(), *TEXT, *TOOLS, message_delta("tool_use"), MESSAGE_STOP],
    "thinking": [message_start(), *THINKING, message_delta(), MESSAGE_STOP],
    "cached": [message_start(cache_read_input_tokens=20, cache_creation_input_tokens=4), message_delta(), MESSAGE_STOP],
    "cut": [message_start(), *TEXT, message_delta("max_tokens"), MESSAGE_STOP],
    "refusal": [message_start(), *TEXT, message_delta("refusal"), MESSAGE_STOP],
    "hosted tool": [
        message_start(), start(0, **WEB[0]), delta(0, "input_json_delta", partial_json="{}"), stop(0),
        start(1, **WEB[1]), stop(1), start(2, type="text", text=""), delta(2, "text_delta", text="found"), stop(2),
        message_delta(), MESSAGE_STOP,
    ],
}  # fmt: skip


@pytest.mark.parametrize("events", STREAMS.values(), ids=STREAMS.keys())
def test_both_read_the_same_in_a_stream(events: list[JsonObject]) -> None:
    reader: Any = ModelResponseIterator(None, sync_stream=False)
    read = [reader.chunk_parser(copy.deepcopy(event)).model_dump() for event in events]
    machine = to_messages.Events(created=1)
    their, mine = chat_sum(read), chat_sum(chunk for event in events for chunk in machine.feed(event))
    assert _counts(mine.pop("usage")) == _counts(their.pop("usage"))
    assert mine == their


def test_a_cut_stream_ends_for_litellm_and_not_for_us() -> None:
    """Without `message_stop` the answer is not whole."""
    events = STREAMS["text"][:-1]
    reader: Any = ModelResponseIterator(None, sync_stream=False)
    assert chat_sum(reader.chunk_parser(copy.deepcopy(event)).model_dump() for event in events)["finish"] == "stop"
    machine = to_messages.Events(created=1)
    assert chat_sum(chunk for event in events for chunk in machine.feed(event))["finish"] is None


def test_a_call_without_a_delta_has_arguments_here_and_none_in_litellm() -> None:
    """An empty text is no JSON."""
    events = [message_start(), start(0, type="tool_use", id="b", name="time", input={}), stop(0)]
    reader: Any = ModelResponseIterator(None, sync_stream=False)
    read = chat_sum(reader.chunk_parser(copy.deepcopy(event)).model_dump() for event in events)
    assert read["calls"] == [("b", "time", "")]
    machine = to_messages.Events(created=1)
    assert chat_sum(chunk for event in events for chunk in machine.feed(event))["calls"] == [("b", "time", "{}")]
