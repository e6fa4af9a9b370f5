"""Reads chunks of a chat stream, for those who translate them."""

from __future__ import annotations

from gateway.wire.json import JsonObject


def is_lone_text(chunk: JsonObject) -> bool:
    """Tell whether a chunk, found to be one, has nothing but a text of the first choice."""
    choices = chunk.get("choices")
    if not isinstance(choices, list) or len(choices) != 1:
        return False
    choice = choices[0]
    delta = choice.get("delta")
    if not isinstance(delta, dict) or not isinstance(delta.get("content"), str):
        return False
    beside = [choice[name] for name in choice if name != "delta"]
    beside += [delta[name] for name in delta if name not in ("content", "role")]
    return not any(beside)
