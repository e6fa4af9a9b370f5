"""Message content that is not text: what the Python API makes of it before it goes upstream."""

from __future__ import annotations

import json
from collections.abc import Iterable

from gateway.errors import BadRequest
from gateway.wire.json import Json, JsonObject

_OTHER_PARTS = frozenset({"redacted_thinking"})
"""Content parts that do not carry a field of their own type's name."""

_SPEAKS_OTHERWISE = ("tool_calls", "function_call", "refusal", "audio")
"""An assistant's message with one of these has null as its content by OpenAI's own rule."""


def normalise(messages: Iterable[JsonObject]) -> list[JsonObject]:
    """Return copies of `messages` whose content is text or a list of OpenAI content parts.

    Any other JSON value becomes a JSON string; every other field is kept. Null stays null where it means that the
    message speaks through its tool calls. Raises BadRequest for content that JSON cannot hold.
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
    keeps = (
        "content" not in message
        or (content is None and any(message.get(key) for key in _SPEAKS_OTHERWISE))
        or (isinstance(content, list) and bool(content) and all(_is_part(part) for part in content))
    )
    if not keeps:
        try:
            message["content"] = json.dumps(content, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as error:
            where = f"messages[{position}].content"
            raise BadRequest(f"{where} is no JSON value: {type(error).__name__}", param=where) from error
    return message


def _is_part(value: Json) -> bool:
    """Tell whether a value looks like `{"type": "text", "text": …}`: a field is named as its type says."""
    if not isinstance(value, dict):
        return False
    part = value.get("type")
    return isinstance(part, str) and (part in value or part in _OTHER_PARTS)
