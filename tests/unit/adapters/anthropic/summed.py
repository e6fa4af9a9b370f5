"""Streams on both wires, summed up to what a client has at their end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.wire.json import JsonObject


def chat_sum(chunks: Iterable[JsonObject]) -> dict[str, Any]:
    """Return text, reasoning, signed thinking, tool calls, refusal, finish reason and usage of a chat stream."""
    found: dict[str, Any] = {"text": "", "reasoning": "", "signed": [], "calls": [], "finish": None, "usage": None}
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        found["usage"] = chunk.get("usage") or found["usage"]
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            found["text"] += delta.get("content") or ""
            found["reasoning"] += delta.get("reasoning_content") or ""
            for block in delta.get("thinking_blocks") or ():
                if block.get("signature") or block.get("data"):
                    found["signed"].append(block.get("signature") or block.get("data"))
            for call in delta.get("tool_calls") or ():
                entry = calls.setdefault(call["index"], ["", "", ""])
                function = call.get("function") or {}
                for place, part in enumerate((call.get("id"), function.get("name"), function.get("arguments"))):
                    entry[place] += part or ""
            found["finish"] = choice.get("finish_reason") or found["finish"]
    found["calls"] = [tuple(calls[index]) for index in sorted(calls)]
    return found


def messages_sum(events: Iterable[JsonObject]) -> dict[str, Any]:
    """Return blocks, stop reason and usage of a Messages stream; blocks are [type, text or input, id, name]."""
    blocks: dict[int, list[str]] = {}
    found: dict[str, Any] = {"stop": None, "usage": {}, "is_over": False}
    for event in events:
        match event["type"]:
            case "message_start":
                found["usage"] |= event["message"]["usage"]
            case "content_block_start":
                block = event["content_block"]
                blocks[event["index"]] = [block["type"], "", block.get("id") or "", block.get("name") or ""]
            case "content_block_delta":
                delta = event["delta"]
                blocks[event["index"]][1] += (
                    delta.get("text") or delta.get("thinking") or delta.get("partial_json") or ""
                )
            case "message_delta":
                found["stop"] = event["delta"]["stop_reason"]
                found["usage"] |= event["usage"]
            case "message_stop":
                found["is_over"] = True
    return {**found, "blocks": [blocks[index] for index in sorted(blocks)]}
