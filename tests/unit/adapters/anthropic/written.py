"""Strategies that write requests, answers and streams on both wires."""

from __future__ import annotations

import json
from typing import Final

from hypothesis import strategies as st

from gateway.wire.json import JsonObject
from tests.unit.adapters.anthropic.shapes import (
    CHAT_TOOL,
    MESSAGE_STOP,
    MESSAGES_TOOL,
    USAGE_CHUNK,
    assistant,
    chat_call,
    chunk,
    delta,
    message_delta,
    message_start,
    png,
    png_block,
    result,
    start,
    stop,
    system,
    text,
    tool,
    use,
    user,
)

TEXTS: Final = st.text(alphabet="abc é\n", min_size=1, max_size=8)
IDS: Final = st.text(alphabet="ab.:_-1", min_size=1, max_size=6)
INPUTS: Final = st.dictionaries(st.sampled_from(["city", "day"]), TEXTS, max_size=2)
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "index", "delta", "id", "name", "function", "tool_calls", "input",
                 "choices", "message", "usage", "error", "finish_reason", "stop_reason", "source", "data", "arguments",
                 "tools", "tool_choice", "messages", "thinking", "content_block", "partial_json", "image_url", "url"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip
"""Anything, with the fields of both wires."""
TYPES: Final = st.sampled_from(
    ["text", "thinking", "tool_use", "tool_result", "image", "document", "image_url", "file", "message_start", "error",
     "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop", "function"]
)  # fmt: skip


@st.composite
def anything(draw: st.DrawFn) -> JsonObject:
    """Return an object whose types are known words with odd fields beside them."""
    fields = draw(st.dictionaries(st.sampled_from(["delta", "content_block", "message", "index", "content"]), JSON))
    for value in fields.values():
        if isinstance(value, dict) and draw(st.booleans()):
            value["type"] = draw(TYPES)
    return {**fields, **({"type": draw(TYPES)} if draw(st.booleans()) else {})}


@st.composite
def chat_conversations(draw: st.DrawFn) -> list[JsonObject]:
    """Return messages of a chat in which each call has a result, and which ends with the user or a result."""
    messages: list[JsonObject] = [system(draw(TEXTS))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            messages.append(system(draw(TEXTS)))
        messages.append(user(draw(TEXTS | st.lists(TEXTS.map(text) | st.just(png()), min_size=1, max_size=3))))
        if draw(st.booleans()):
            ids = draw(st.lists(IDS, min_size=1, max_size=3, unique=True))
            calls = [chat_call(one, json.dumps(draw(INPUTS))) for one in ids]
            messages.append(assistant(draw(st.none() | TEXTS), tool_calls=calls))
            messages += [tool(one, draw(TEXTS)) for one in draw(st.permutations(ids))]
        if draw(st.booleans()):
            messages.append(assistant(draw(TEXTS)))
    return [*messages, user(draw(TEXTS))]


CHAT_REQUESTS: Final = st.fixed_dictionaries(
    {"model": st.sampled_from(["claude-sonnet-4-5", "claude-opus-5", "kimi-k2"]), "messages": chat_conversations()},
    optional={
        "tools": st.just([CHAT_TOOL]),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "stop": TEXTS.filter(lambda one: not one.isspace()),
        "reasoning_effort": st.sampled_from(["none", "low", "high", "max"]),
        "max_tokens": st.integers(1, 9000),
        "user": IDS,
    },
)


@st.composite
def turns(draw: st.DrawFn) -> list[JsonObject]:
    """Return turns of Messages in which each call has a result."""
    found: list[JsonObject] = []
    for number in range(draw(st.integers(1, 4))):
        found.append(user(draw(TEXTS | st.lists(TEXTS.map(text) | st.just(png_block()), min_size=1, max_size=3))))
        blocks = [text(draw(TEXTS))]
        ids = [f"toolu_{number}_{one}" for one in range(draw(st.integers(0, 3)))]
        blocks += [use(one, **draw(INPUTS)) for one in ids]
        if draw(st.booleans()):
            blocks.insert(0, {"type": "thinking", "thinking": draw(TEXTS), "signature": "sig"})
        found.append(assistant(blocks))
        if ids:
            found.append(user([*(result(one, draw(TEXTS)) for one in ids), text(draw(TEXTS))]))
            found.append(assistant(draw(TEXTS)))
    return [*found, user(draw(TEXTS))]


MESSAGES_REQUESTS: Final = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["gpt-4o", "gpt-5.4", "deepseek-v4"]),
        "max_tokens": st.integers(1, 9),
        "messages": turns(),
    },
    optional={"system": TEXTS, "tools": st.just([MESSAGES_TOOL]), "temperature": st.floats(0, 1)},
)


def _cut(draw: st.DrawFn, whole: str) -> list[str]:
    """Return a text in pieces."""
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=3)))
    return [whole[begin:end] for begin, end in zip([0, *places], [*places, len(whole)], strict=True)]


@st.composite
def messages_streams(draw: st.DrawFn) -> list[JsonObject]:
    """Return the events of a whole Messages stream."""
    events = [message_start(cache_read_input_tokens=draw(st.integers(0, 9)))]
    used = False
    for index in range(draw(st.integers(0, 4))):
        match draw(st.sampled_from(["text", "thinking", "tool_use", "hosted"])):
            case "text":
                events.append(start(index, type="text", text=""))
                events += [delta(index, "text_delta", text=part) for part in _cut(draw, draw(TEXTS))]
            case "thinking":
                events.append(start(index, type="thinking", thinking="", signature=""))
                events += [delta(index, "thinking_delta", thinking=part) for part in _cut(draw, draw(TEXTS))]
                events.append(delta(index, "signature_delta", signature="sig"))
            case "tool_use":
                used = True
                events.append(start(index, type="tool_use", id=f"toolu_{index}", name="weather", input={}))
                parts = _cut(draw, json.dumps(draw(INPUTS)))
                events += [delta(index, "input_json_delta", partial_json=part) for part in parts]
            case _:
                events.append(start(index, type="server_tool_use", id="srvtoolu_1", name="web_search", input={}))
        events.append(stop(index))
        if draw(st.booleans()):
            events.append({"type": "ping"})
    return [
        *events,
        message_delta("tool_use" if used else draw(st.sampled_from(["end_turn", "max_tokens"]))),
        MESSAGE_STOP,
    ]


@st.composite
def chat_streams(draw: st.DrawFn) -> list[JsonObject]:
    """Return the chunks of a whole chat stream."""
    chunks = [chunk(role="assistant", content="")]
    chunks += [chunk(reasoning_content=part) for part in _cut(draw, draw(st.just("") | TEXTS))]
    chunks += [chunk(content=part) for part in _cut(draw, draw(st.just("") | TEXTS))]
    count = draw(st.integers(0, 3))
    for index in range(count):
        begin = {**chat_call(f"call_{index}", ""), "index": index}
        chunks.append(chunk(tool_calls=[begin]))
        for part in _cut(draw, json.dumps(draw(INPUTS))):
            chunks.append(chunk(tool_calls=[{"index": index, "function": {"arguments": part}}]))
    chunks.append(chunk("tool_calls" if count else draw(st.sampled_from(["stop", "length"]))))
    return [*chunks, USAGE_CHUNK] if draw(st.booleans()) else chunks
