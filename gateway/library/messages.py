"""Normalises message content of the Python API."""

from __future__ import annotations

import json
from collections.abc import Iterable

from gateway.errors import BadRequest
from gateway.wire.json import Json, JsonObject

_OTHER_PARTS = frozenset({"redacted_thinking"})
"""Types of content parts without a field of the type's name."""

_INSTEAD_OF_CONTENT = ("tool_calls", "function_call", "refusal", "audio")
"""An assistant's message with one of these fields has null content, by OpenAI's rule."""


def normalise(messages: Iterable[JsonObject]) -> list[JsonObject]:
    """Return copies of `messages` whose content is text or a list of OpenAI content parts.

    Any other JSON value becomes a JSON string, except null in a message with tool calls or the like; other fields are
    kept. Raises BadRequest for content that JSON cannot hold.
    """
    if isinstance(messages, str | bytes | dict) or not isinstance(messages, Iterable):
        raise BadRequest(f"messages is a {type(messages).__name__}, not a list of dicts", param="messages")
    return [_normalise(message, position) for position, message in enumerate(messages)]


def _normalise(message: JsonObject, position: int) -> JsonObject:
    if not isinstance(message, dict):
        raise BadRequest(f"message {position} is a {type(message).__name__}, not a dict", param=f"messages[{position}]")
    message = dict(message)
    content = message.get("content")
    if isinstance(content, str):
        return message
    is_valid = (
        "content" not in message
        or (content is None and any(message.get(key) for key in _INSTEAD_OF_CONTENT))
        or (isinstance(content, list) and bool(content) and all(_is_part(part) for part in content))
    )
    if not is_valid:
        try:
            message["content"] = json.dumps(content, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as error:
            where = f"messages[{position}].content"
            raise BadRequest(f"{where} is no JSON value: {type(error).__name__}", param=where) from error
    return message


def _is_part(value: Json) -> bool:
    """Tell whether a value is like `{"type": "text", "text": …}`: it has a field with the name of its type."""
    if not isinstance(value, dict):
        return False
    part = value.get("type")
    return isinstance(part, str) and (part in value or part in _OTHER_PARTS)
