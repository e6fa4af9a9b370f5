"""Anthropic's Messages: plain, as a stream, counting, models and the error envelope.

https://docs.anthropic.com/en/api/messages and .../messages-streaming, .../errors
"""

from __future__ import annotations

import json
from itertools import count
from typing import Any, Final

from tests.wires.play import EVENT_STREAM, TEXT, Answer, Play, WireRequest, in_json, named_event

ERROR_TYPES: Final = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error",
    504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
HEADERS: Final = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2026-11-29T15:00:00Z",
    "anthropic-ratelimit-input-tokens-remaining": "9000",
    "anthropic-organization-id": "org-scripted",
}
USAGE: Final = {
    "input_tokens": 7,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 3,
    "output_tokens": 5,
    "service_tier": "standard",
}
_SERIAL: Final = count(1)


def create(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /v1/messages`."""
    made = message(request, play)
    if not request.stream:
        return in_json(made)
    error = named_event(error_body(play, 529))
    return Answer(parts=list(map(named_event, events(made))), content_type=EVENT_STREAM, error_part=error)


def count_tokens(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /v1/messages/count_tokens`."""
    return in_json({"input_tokens": len(json.dumps(request.body["messages"])) // 4})


def models(request: WireRequest, play: Play) -> Answer:
    """Answer `GET /v1/models` with an `anthropic-version`."""
    model = {
        "type": "model", "id": "claude-scripted", "display_name": "Scripted", "created_at": "2026-01-01T00:00:00Z"
    }  # fmt: skip
    return in_json({"data": [model], "has_more": False, "first_id": model["id"], "last_id": model["id"]})


def error_body(play: Play, status: int) -> dict[str, Any]:
    """Return the error envelope."""
    kind = ERROR_TYPES.get(status, "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": "scripted error", **play.error},
        "request_id": f"req_{next(_SERIAL)}",
    }


def message(request: WireRequest, play: Play) -> dict[str, Any]:
    """Return a whole message."""
    content: list[dict[str, Any]] = []
    if play.thinking is not None:
        content.append({"type": "thinking", "thinking": play.thinking, "signature": "c2lnbmVk"})
    if not play.tools or play.text != TEXT:
        content.append({"type": "text", "text": play.text})
    content += [
        {"type": "tool_use", "id": f"toolu_{tool.id}", "name": tool.name, "input": dict(tool.arguments)}
        for tool in play.tools
    ]
    return {
        "id": f"msg_{next(_SERIAL)}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": content,
        "stop_reason": play.stop or ("tool_use" if play.tools else "end_turn"),
        "stop_sequence": None,
        "usage": dict(play.usage or USAGE),
    }


def events(made: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events in which a message is told."""
    begun = {**made, "content": [], "stop_reason": None, "usage": {**made["usage"], "output_tokens": 1}}
    told: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(made["content"]):
        empty, deltas = _deltas(block)
        told.append({"type": "content_block_start", "index": index, "content_block": {**block, **empty}})
        if not index:
            told.append({"type": "ping"})
        told += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        told.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": made["stop_reason"], "stop_sequence": None}
    told.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": made["usage"]["output_tokens"]}})
    told.append({"type": "message_stop"})
    return told


def _deltas(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what the block lacks at its start, and the deltas that bring it."""
    if block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": word} for word in Play(text=block["thinking"]).words]
        return {"thinking": "", "signature": ""}, [
            *deltas,
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    if block["type"] == "text":
        return {"text": ""}, [{"type": "text_delta", "text": word} for word in Play(text=block["text"]).words]
    arguments = json.dumps(block["input"])
    pieces = ["", *(arguments[start : start + 8] for start in range(0, len(arguments), 8))]
    return {"input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
