"""Requests, answers and streams as vendors document them, for targets behind LiteLLM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from gateway.wire.json import JsonObject
from tests.event_frames import encode_frame
from tests.litellm_upstreams import WEATHER

EVENTS: Final = "text/event-stream"
FRAMES: Final = "application/vnd.amazon.eventstream"


@dataclass(frozen=True, slots=True)
class Vendor:
    """One target, and what its upstream says."""

    kind: str
    model: str
    answers: Mapping[str, JsonObject]
    """By name: plain answers."""
    streams: Mapping[str, bytes]
    content_type: str = EVENTS
    overrides: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    readable_by_functions: bool = True
    """LiteLLM's call function can read the streams too."""

    def __str__(self) -> str:
        return self.kind


def sse(*events: JsonObject, named: bool = False) -> bytes:
    """Return server-sent events; with `named` each has its type for a name."""
    return "".join(
        (f"event: {event['type']}\n" if named else "") + f"data: {json.dumps(event)}\n\n" for event in events
    ).encode()


def _frame(name: str, payload: JsonObject) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return encode_frame(headers, json.dumps(payload).encode())


CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Berlin"}'}}
ANSWERED: Final = [
    {"role": "user", "content": "how is the weather in Berlin?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
]
PIXEL: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)
SCHEMA: Final = {
    "type": "json_schema",
    "json_schema": {
        "name": "city",
        "schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

WORDS: Final = ("one ", "two ", "three ", "four")

REQUESTS: Final[Mapping[str, JsonObject]] = MappingProxyType(
    {
        "text": {"messages": [{"role": "user", "content": "hi"}]},
        "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
        "sampling": {
            "messages": [{"role": "user", "content": "hi"}], "temperature": 0.2, "top_p": 0.9, "max_tokens": 100,
            "seed": 7, "frequency_penalty": 0.1, "user": "u",
        },
        "max_completion_tokens": {"messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 9},
        "stop": {"messages": [{"role": "user", "content": "hi"}], "stop": ["END"]},
        "system": {
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "hello"},
                {"role": "system", "content": "be polite"},
                {"role": "user", "content": "and now?"},
            ]
        },
        "developer": {"messages": [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}]},
        "tools": {"messages": [{"role": "user", "content": "hi"}], "tools": [WEATHER]},
        "tool choice": {"messages": [{"role": "user", "content": "hi"}], "tools": [WEATHER], "tool_choice": "required"},
        "tool results": {"messages": ANSWERED, "tools": [WEATHER]},
        "image": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what is this?"},
                        {"type": "image_url", "image_url": {"url": PIXEL}},
                    ],
                }
            ]
        },
        "schema": {"messages": [{"role": "user", "content": "hi"}], "response_format": SCHEMA},
        "json": {"messages": [{"role": "user", "content": "hi"}], "response_format": {"type": "json_object"}},
        "effort": {"messages": [{"role": "user", "content": "hi"}], "reasoning_effort": "low"},
    }
)  # fmt: skip

_OPENAI_HEAD: Final = {"id": "x", "object": "chat.completion", "created": 1, "model": "m-2026"}
_CHUNK_HEAD: Final = _OPENAI_HEAD | {"object": "chat.completion.chunk"}
_USAGE: Final = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def _openai_answer(message: JsonObject, reason: str, **more: Any) -> JsonObject:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    return {**_OPENAI_HEAD, "choices": [choice], "usage": _USAGE, "service_tier": "default", **more}


def _chunks(*deltas: tuple[JsonObject, str | None]) -> bytes:
    chunks: list[JsonObject] = [
        {**_CHUNK_HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]} for delta, reason in deltas
    ]
    return sse(*chunks, {**_CHUNK_HEAD, "choices": [], "usage": _USAGE}) + b"data: [DONE]\n\n"


def _call_delta(**fields: Any) -> JsonObject:
    return {"tool_calls": [{"index": 0, **fields}]}


OPENAI_ANSWERS: Final[Mapping[str, JsonObject]] = MappingProxyType(
    {
        "text": _openai_answer({"content": "good day"}, "stop"),
        "tools": _openai_answer({"content": None, "tool_calls": [CALL]}, "tool_calls"),
        "length": _openai_answer({"content": "good"}, "length"),
        "filter": _openai_answer({"content": ""}, "content_filter"),
        "cached": _openai_answer(
            {"content": "good day"}, "stop", usage={**_USAGE, "prompt_tokens_details": {"cached_tokens": 5}}
        ),
    }
)
OPENAI_STREAMS: Final[Mapping[str, bytes]] = MappingProxyType(
    {
        "text": _chunks(
            ({"role": "assistant", "content": ""}, None),
            *[({"content": word}, None) for word in WORDS],
            ({}, "stop"),
        ),
        "tools": _chunks(
            (_call_delta(id="call_1", type="function", function={"name": "weather", "arguments": ""}), None),
            (_call_delta(function={"arguments": '{"city": '}), None),
            (_call_delta(function={"arguments": '"Berlin"}'}), None),
            ({}, "tool_calls"),
        ),
        "length": _chunks(({"role": "assistant", "content": "one"}, None), ({}, "length")),
    }
)  # fmt: skip


def _cohere(content: list[JsonObject], reason: str, **message: Any) -> JsonObject:
    return {
        "id": "x", "finish_reason": reason, "message": {"role": "assistant", "content": content, **message},
        "usage": {
            "billed_units": {"input_tokens": 1, "output_tokens": 1},
            "tokens": {"input_tokens": 7, "output_tokens": 3},
        },
    }  # fmt: skip


def _cohere_end(reason: str) -> JsonObject:
    return {
        "type": "message-end",
        "delta": {"finish_reason": reason, "usage": {"tokens": {"input_tokens": 7, "output_tokens": 3}}},
    }


def _cohere_text(text: str) -> JsonObject:
    return {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}}


def _cohere_call(kind: str, call: JsonObject) -> JsonObject:
    return {"type": kind, "index": 0, "delta": {"message": {"tool_calls": call}}}


_COHERE_START: Final = {"type": "message-start", "id": "x", "delta": {"message": {"role": "assistant", "content": []}}}

COHERE: Final = Vendor(
    "cohere_chat",
    "command-r",
    {
        "text": _cohere([{"type": "text", "text": "good day"}], "COMPLETE"),
        "tools": _cohere([], "TOOL_CALL", tool_calls=[CALL]),
        "length": _cohere([{"type": "text", "text": "good"}], "MAX_TOKENS"),
    },
    {
        "text": sse(_COHERE_START, *map(_cohere_text, WORDS), _cohere_end("COMPLETE"), named=True),
        "tools": sse(
            _COHERE_START,
            _cohere_call(
                "tool-call-start",
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}},
            ),
            _cohere_call("tool-call-delta", {"function": {"arguments": '{"city": '}}),
            _cohere_call("tool-call-delta", {"function": {"arguments": '"Berlin"}'}}),
            {"type": "tool-call-end", "index": 0},
            _cohere_end("TOOL_CALL"),
            named=True,
        ),
        "length": sse(_COHERE_START, _cohere_text("one"), _cohere_end("MAX_TOKENS"), named=True),
    },
    readable_by_functions=False,
)  # fmt: skip


def _converse(content: list[JsonObject], reason: str) -> JsonObject:
    return {
        "output": {"message": {"role": "assistant", "content": content}}, "stopReason": reason,
        "usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}, "metrics": {"latencyMs": 5},
    }  # fmt: skip


def _converse_stream(reason: str, *frames: bytes) -> bytes:
    start = _frame("messageStart", {"role": "assistant"})
    stop = _frame("contentBlockStop", {"contentBlockIndex": 0}) + _frame("messageStop", {"stopReason": reason})
    told = {"usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}, "metrics": {"latencyMs": 5}}
    return start + b"".join(frames) + stop + _frame("metadata", told)


def _converse_delta(delta: JsonObject) -> bytes:
    return _frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": delta})


_USE: Final = {"toolUseId": "call_1", "name": "weather"}

BEDROCK: Final = Vendor(
    "bedrock",
    "amazon.nova-pro-v1:0",
    {
        "text": _converse([{"text": "good day"}], "end_turn"),
        "tools": _converse([{"toolUse": {**_USE, "input": {"city": "Berlin"}}}], "tool_use"),
        "length": _converse([{"text": "good"}], "max_tokens"),
    },
    {
        "text": _converse_stream("end_turn", *[_converse_delta({"text": text}) for text in WORDS]),
        "tools": _converse_stream(
            "tool_use",
            _frame("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": _USE}}),
            _converse_delta({"toolUse": {"input": '{"city": '}}),
            _converse_delta({"toolUse": {"input": '"Berlin"}'}}),
        ),
        "length": _converse_stream("max_tokens", _converse_delta({"text": "one"})),
    },
    content_type=FRAMES,
    overrides={"aws_region_name": "us-east-1"},
)  # fmt: skip

_GOOGLE_USAGE: Final = {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10}


def _google(parts: list[JsonObject], reason: str | None) -> JsonObject:
    candidate = {"index": 0, "content": {"role": "model", "parts": parts}}
    ended = {} if reason is None else {"finishReason": reason}
    return {
        "candidates": [candidate | ended],
        "usageMetadata": _GOOGLE_USAGE,
        "modelVersion": "gemini-x",
        "responseId": "x",
    }


_GOOGLE_CALL: Final = {"functionCall": {"name": "weather", "args": {"city": "Berlin"}}}
_GOOGLE_ANSWERS: Final = {
    "text": _google([{"text": "good day"}], "STOP"),
    "tools": _google([_GOOGLE_CALL], "STOP"),
    "length": _google([{"text": "good"}], "MAX_TOKENS"),
}
_GOOGLE_STREAMS: Final = {
    "text": sse(
        *[_google([{"text": text}], None) for text in WORDS[:-1]], _google([{"text": WORDS[-1]}], "STOP")
    ),
    "tools": sse(_google([{"text": "well "}], None), _google([_GOOGLE_CALL], None), _google([{"text": ""}], "STOP")),
    "length": sse(_google([{"text": "one"}], None), _google([{"text": ""}], "MAX_TOKENS")),
}  # fmt: skip
GEMINI: Final = Vendor("gemini", "gemini-2.5-pro", _GOOGLE_ANSWERS, _GOOGLE_STREAMS)
VERTEX: Final = Vendor(
    "vertex_ai", "gemini-2.5-pro", _GOOGLE_ANSWERS, _GOOGLE_STREAMS,
    overrides={"vertex_project": "p", "vertex_location": "us-central1"},
)  # fmt: skip


def _claude(content: list[JsonObject], reason: str) -> JsonObject:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-2026", "content": content,
        "stop_reason": reason, "stop_sequence": None, "usage": {"input_tokens": 7, "output_tokens": 3},
    }  # fmt: skip


def _claude_stream(block: JsonObject, deltas: list[JsonObject], reason: str) -> bytes:
    start = _claude([], "") | {"stop_reason": None, "usage": {"input_tokens": 7, "output_tokens": 1}}
    return sse(
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "ping"},
        *[{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas],
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
        {"type": "message_stop"},
        named=True,
    )


_CLAUDE_USE: Final = {"id": "call_1", "name": "weather"}
_CLAUDE_ANSWERS: Final = {
    "text": _claude([{"type": "text", "text": "good day"}], "end_turn"),
    "tools": _claude(
        [{"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Berlin"}}], "tool_use"
    ),
    "length": _claude([{"type": "text", "text": "good"}], "max_tokens"),
}
_CLAUDE_STREAMS: Final = {
    "text": _claude_stream(
        {"type": "text", "text": ""},
        [{"type": "text_delta", "text": text} for text in WORDS],
        "end_turn",
    ),
    "tools": _claude_stream(
        {"type": "tool_use", **_CLAUDE_USE, "input": {}},
        [{"type": "input_json_delta", "partial_json": text} for text in ('{"city": ', '"Berlin"}')],
        "tool_use",
    ),
    "length": _claude_stream({"type": "text", "text": ""}, [{"type": "text_delta", "text": "one"}], "max_tokens"),
}
ANTHROPIC: Final = Vendor("anthropic", "claude-sonnet-4-5", _CLAUDE_ANSWERS, _CLAUDE_STREAMS)
VERTEX_CLAUDE: Final = Vendor(
    "vertex_ai", "claude-sonnet-4-5", _CLAUDE_ANSWERS, _CLAUDE_STREAMS,
    overrides={"vertex_project": "p", "vertex_location": "us-east5"},
)  # fmt: skip

VENDORS: Final = (
    COHERE, BEDROCK, GEMINI, ANTHROPIC,
    *[
        Vendor(kind, model, OPENAI_ANSWERS, OPENAI_STREAMS)
        for kind, model in (
            ("mistral", "mistral-small"), ("deepseek", "deepseek-chat"), ("groq", "llama"), ("hosted_vllm", "m"),
            ("openai", "gpt-4o"), ("azure", "gpt-4o"), ("moonshot", "kimi"), ("xai", "grok-3"), ("fireworks_ai", "m"),
        )
    ],
)  # fmt: skip
