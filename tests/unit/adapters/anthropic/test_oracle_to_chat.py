"""Messages clients of other models: our translation beside LiteLLM's, and where they differ, each with its reason."""

from __future__ import annotations

import copy
import json
from typing import Any, Final

import litellm  # noqa: F401 - imported here, where its warnings are no errors
import pytest
from litellm.llms.anthropic.messages.adapters.streaming_iterator import AnthropicStreamWrapper
from litellm.llms.anthropic.messages.adapters.transformation import LiteLLMAnthropicMessagesAdapter
from litellm.types.utils import ModelResponse, ModelResponseStream, Usage

from gateway.adapters.anthropic import to_chat
from gateway.adapters.anthropic.chat_models import chat_model
from gateway.adapters.base import NotSupported
from gateway.wire.json import JsonObject
from tests.unit.adapters.anthropic.shapes import (
    MESSAGES_TOOL,
    SCHEMA,
    USAGE_CHUNK,
    assistant,
    chat_call,
    chunk,
    completion,
    png_block,
    result,
    text,
    use,
    user,
)
from tests.unit.adapters.anthropic.summed import messages_sum

pytestmark = pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning")
"""Pydantic says so of LiteLLM's classes when the first answer is made."""

MODELS: Final = ("gpt-4o", "gpt-5.1")
CLOSED: Final = {**SCHEMA, "additionalProperties": False}
PDF: Final = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}
SIGNED: Final = {"type": "thinking", "thinking": "hm", "signature": "sig"}
WEB: Final = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
]

SAME: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "system": {"system": "be brief"},
    "tools": {"tools": [MESSAGES_TOOL], "tool_choice": {"type": "auto"}},
    "any tool": {"tools": [MESSAGES_TOOL], "tool_choice": {"type": "any"}},
    "one tool": {"tools": [MESSAGES_TOOL], "tool_choice": {"type": "tool", "name": "weather"}},
    "no tool": {"tools": [MESSAGES_TOOL], "tool_choice": {"type": "none"}},
    "history": {
        "messages": [
            user(),
            assistant([text("x"), use("a"), use("b", city="Rome")]),
            user([result("a", "r"), result("b", "s"), text("a"), text("b")]),
        ],
        "tools": [MESSAGES_TOOL],
    },
    "images": {
        "messages": [
            user([text("a"), png_block(), {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}}])
        ]
    },
    "pdf": {"messages": [user([text("a"), {"type": "document", "title": "a.pdf", "source": PDF}])]},
    "stop": {"stop_sequences": ["END"], "models": MODELS[:1]},
    "budget": {"thinking": {"type": "enabled", "budget_tokens": 3000}, "models": MODELS[1:]},
    "large budget": {"thinking": {"type": "enabled", "budget_tokens": 30_000}, "models": MODELS[1:]},
    "no thinking": {"thinking": {"type": "disabled"}, "models": MODELS[1:]},
    "adaptive": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}, "models": MODELS[1:]},
    "user": {"metadata": {"user_id": "u"}},
    "sampling": {"temperature": 0.5, "top_p": 0.9, "models": MODELS[:1]},
    "hosted tools": {"messages": [user(), assistant([*WEB, text("found")]), user("b")]},
}
"""Both send the same."""

DIFFERENT: Final[dict[str, tuple[dict[str, Any], set[str], str]]] = {
    "system blocks": (
        {"system": [text("x-anthropic-billing-header: a"), text("b"), text("c")]},
        {"messages"},
        "the bill changes with each call and spoils prompt caches; some servers want the system prompt as one text",
    ),
    "one call at a time": (
        {"tools": [MESSAGES_TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {"parallel_tool_calls"},
        "LiteLLM forgets it",
    ),
    "thinking in the history": (
        {"messages": [user(), assistant([SIGNED, text("a")]), user("b")]},
        {"messages"},
        "it is Claude's, and servers refuse fields that they do not know",
    ),
    "one text": (
        {"messages": [user([text("a")])]},
        {"messages"},
        "a lone text needs no list, which some servers do not know",
    ),
    "error": (
        {"messages": [user(), assistant([use("a")]), user([result("a", "bad", is_error=True)])]},
        {"messages"},
        "LiteLLM does not tell the model that the tool failed",
    ),
    "image of a tool": (
        {"messages": [user(), assistant([use("a")]), user([result("a", [png_block()])])]},
        {"messages"},
        "OpenAI refuses images in results of tools",
    ),
    "thinking": (
        {"thinking": {"type": "enabled", "budget_tokens": 3000}, "models": MODELS[:1]},
        {"reasoning_effort"},
        "refused by models that do not reason",
    ),
    "adaptive": (
        {"thinking": {"type": "adaptive"}, "models": MODELS[1:]},
        {"reasoning_effort"},
        "how much to think is left to the model",
    ),
    "effort": (
        {"output_config": {"effort": "high"}, "models": MODELS[1:]},
        {"reasoning_effort"},
        "an effort holds without `thinking`, too",
    ),
    "format": (
        {"output_config": {"format": {"type": "json_schema", "schema": CLOSED}}},
        {"response_format"},
        "it has another name",
    ),
    "open format": (
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
        {"response_format"},
        "LiteLLM closes the schema and makes all properties required, which changes its meaning",
    ),
    "sampling": (
        {"temperature": 0.5, "top_k": 3, "models": MODELS[1:]},
        {"temperature", "top_k"},
        "refused by OpenAI's reasoning models; chat has no top_k",
    ),
    "hosted tool": (
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}], "models": MODELS[:1]},
        {"not supported", "max_tokens", "messages", "model", "web_search_options"},
        "few models behind chat search the web, and theirs is another search",
    ),
    "late system": (
        {"messages": [user(), {"role": "system", "content": "s"}, assistant(), user("b")]},
        {"messages"},
        "the note before it has other words",
    ),
}
"""Case → what differs there, and why."""


def ours(body: JsonObject) -> JsonObject:
    try:
        return to_chat.request(copy.deepcopy(body)).body
    except NotSupported as unsupported:
        return {"not supported": str(unsupported)}


def theirs(body: JsonObject) -> JsonObject:
    adapter = LiteLLMAnthropicMessagesAdapter()
    sent = adapter.translate_anthropic_to_openai(copy.deepcopy(body), custom_llm_provider="openai")[0]  # type: ignore[arg-type]  # a TypedDict
    found: JsonObject = json.loads(json.dumps(sent))
    if chat_model(body["model"]).reasons and "max_tokens" in found:  # LiteLLM renames it in a later stage
        found["max_completion_tokens"] = found.pop("max_tokens")
    for message in found["messages"]:
        if message.get("thinking_blocks", 0) is None:
            del message["thinking_blocks"]
        for call in message.get("tool_calls", ()):
            function = call["function"]
            function["arguments"] = json.dumps(json.loads(function["arguments"]), separators=(",", ":"))
    return found


def _cases(table: dict[str, Any]) -> list[Any]:
    found = []
    for name, entry in table.items():
        params, *rest = entry if isinstance(entry, tuple) else (entry,)
        for model in params.get("models", MODELS):
            body = {"model": model, "max_tokens": 100, "messages": [user()], **params}
            body.pop("models", None)
            found.append(pytest.param(body, *rest, id=f"{name}-{model}"))
    return found


@pytest.mark.parametrize("body", _cases(SAME))
def test_both_send_the_same(body: JsonObject) -> None:
    assert ours(body) == theirs(body)


@pytest.mark.parametrize(("body", "fields", "why"), _cases(DIFFERENT))
def test_both_differ_as_listed(body: JsonObject, fields: set[str], why: str) -> None:
    mine, their = ours(body), theirs(body)
    assert {name for name in mine.keys() | their.keys() if mine.get(name) != their.get(name)} == fields, why


CALLS: Final = [chat_call("a"), chat_call("b", "{}", "time")]
ANSWERS: Final = {
    "text": completion(content="Hello"),
    "reasoning": completion(content="Hello", reasoning_content="hm"),
    "calls": completion("tool_calls", content="x", tool_calls=CALLS),
    "calls alone": completion("tool_calls", content=None, tool_calls=CALLS),
    "cut": completion("length", content="x"),
    "filtered": completion("content_filter", content="x"),
    "refused": completion(content=None, refusal="no"),
    "cached": {
        **completion(content="x"),
        "usage": {
            "prompt_tokens": 30,
            "completion_tokens": 5,
            "total_tokens": 35,
            "prompt_tokens_details": {"cached_tokens": 20},
        },
    },
}


def _plain(content: list[JsonObject]) -> list[JsonObject]:
    """Return blocks without fields that are null, and without signatures."""
    return [
        {name: value for name, value in block.items() if value is not None and name != "signature"} for block in content
    ]


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS.keys())
def test_both_read_the_same_in_an_answer(data: JsonObject) -> None:
    given = copy.deepcopy(data)
    response = ModelResponse(**given)
    response.usage = Usage(**given["usage"])  # type: ignore[attr-defined]  # LiteLLM sets it like this
    their: Any = LiteLLMAnthropicMessagesAdapter().translate_openai_response_to_anthropic(response)
    mine = to_chat.answer(data)
    assert _plain(mine["content"]) == _plain(their["content"])
    assert (mine["stop_reason"], mine["stop_details"]) == (their["stop_reason"], their["stop_details"])
    assert mine["usage"] == their["usage"]
    assert mine["model"] == their["model"]


def _call(index: int, call_id: str | None, name: str | None, arguments: str) -> JsonObject:
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": call_id, "type": "function", "function": function}


STREAMS: Final = {
    "text": [
        chunk(role="assistant", content=""),
        chunk(content="Hel"),
        chunk(content="lo"),
        chunk("stop"),
        USAGE_CHUNK,
    ],
    "reasoning": [
        chunk(reasoning_content="h"),
        chunk(reasoning_content="m"),
        chunk(content="x"),
        chunk("stop"),
        USAGE_CHUNK,
    ],
    "calls": [
        chunk(content="x"),
        chunk(tool_calls=[_call(0, "a", "weather", "")]),
        chunk(tool_calls=[_call(0, None, None, '{"city":')]),
        chunk(tool_calls=[_call(0, None, None, '"Rome"}')]),
        chunk(tool_calls=[_call(1, "b", "time", "")]),
        chunk(tool_calls=[_call(1, None, None, "{}")]),
        chunk("tool_calls"),
        USAGE_CHUNK,
    ],
    "cut": [chunk(content="x"), chunk("length"), USAGE_CHUNK],
    "filtered": [chunk(content="x"), chunk("content_filter"), USAGE_CHUNK],
}


def _theirs(chunks: list[JsonObject]) -> dict[str, Any]:
    stream: Any = iter([ModelResponseStream(**copy.deepcopy(one)) for one in chunks])
    return messages_sum(AnthropicStreamWrapper(completion_stream=stream, model="gpt-5"))


def _ours(chunks: list[JsonObject]) -> dict[str, Any]:
    machine = to_chat.Events()
    return messages_sum([event for one in chunks for event in machine.feed(one)] + machine.end())


@pytest.mark.parametrize("chunks", STREAMS.values(), ids=STREAMS.keys())
def test_both_read_the_same_in_a_stream(chunks: list[JsonObject]) -> None:
    their, mine = _theirs(chunks), _ours(chunks)
    assert mine["blocks"] == [block for block in their["blocks"] if block[1] or block[2]], "without empty texts"
    assert (mine["stop"], mine["is_over"]) == (their["stop"], True)
    assert [mine["usage"][name] for name in ("input_tokens", "output_tokens")] == [
        their["usage"][name] for name in ("input_tokens", "output_tokens")
    ]


def test_a_cut_stream_ends_for_litellm_and_not_for_us() -> None:
    """Anthropic's SDKs take a stream with `message_stop` for a whole answer."""
    cut = STREAMS["text"][:-2]
    assert _theirs(cut)["is_over"]
    assert not _ours(cut)["is_over"]
