"""Parts of requests and answers on both wires."""

from __future__ import annotations

from typing import Any, Final

from gateway.wire.json import Json, JsonObject

SCHEMA: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL: Final = {
    "type": "function",
    "function": {"name": "weather", "description": "of a city", "parameters": SCHEMA},
}
MESSAGES_TOOL: Final = {"name": "weather", "description": "of a city", "input_schema": SCHEMA}


def user(content: Json = "hi") -> JsonObject:
    return {"role": "user", "content": content}


def assistant(content: Json = "hello", **more: Json) -> JsonObject:
    return {"role": "assistant", "content": content, **more}


def system(content: Json = "be brief") -> JsonObject:
    return {"role": "system", "content": content}


def text(value: str, **more: Json) -> JsonObject:
    return {"type": "text", "text": value, **more}


def chat_call(call_id: str = "call_1", arguments: Json = '{"city":"Rome"}', name: str = "weather") -> JsonObject:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def use(call_id: str = "toolu_1", name: str = "weather", **given: Json) -> JsonObject:
    return {"type": "tool_use", "id": call_id, "name": name, "input": given}


def tool(call_id: str = "call_1", content: Json = "sunny") -> JsonObject:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def result(call_id: str = "toolu_1", content: Json = "sunny", **more: Json) -> JsonObject:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def png(data: str = "AAAA") -> JsonObject:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def png_block(data: str = "AAAA") -> JsonObject:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def message(*content: JsonObject, stop: Json = "end_turn", **more: Any) -> JsonObject:
    """Return a reply of Messages."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5",
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
        **more,
    }


def completion(finish: Json = "stop", **said: Json) -> JsonObject:
    """Return a reply of chat."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-5",
        "choices": [{"index": 0, "message": {"role": "assistant", **said}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def chunk(finish: Json = None, **delta: Json) -> JsonObject:
    """Return a chunk of a chat stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5", "choices": [choice]}


USAGE_CHUNK: Final = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "gpt-5",
    "choices": [],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}


def message_start(**usage: int) -> JsonObject:
    counts = {"input_tokens": 10, "output_tokens": 1, **usage}
    return {"type": "message_start", "message": message(stop=None, usage=counts)}


def start(index: int, **block: Json) -> JsonObject:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **value: Json) -> JsonObject:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **value}}


def stop(index: int) -> JsonObject:
    return {"type": "content_block_stop", "index": index}


def message_delta(reason: Json = "end_turn", usage: Json = None, **more: Json) -> JsonObject:
    counts = {"output_tokens": 5} if usage is None else usage
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None, **more}, "usage": counts}


MESSAGE_STOP: Final = {"type": "message_stop"}
