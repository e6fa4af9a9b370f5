"""Thinking blocks that this gateway makes of another vendor's reasoning, and how to tell them from Claude's own.

Claude signs its thinking, and refuses a request whose history has a block with another signature. Clients send thinking
back with the history, so blocks of ours carry a mark as their signature: they can be found, and taken out, before a
request goes to a target that checks signatures.
"""

from __future__ import annotations

from typing import Final

from gateway.wire.json import Json, JsonObject, Spliced

OUR_SIGNATURE: Final = "gateway:unsigned"
"""Signature of our thinking blocks. A body without this text has none of them."""

_MARK: Final = OUR_SIGNATURE.encode()

THINKING: Final = ("thinking", "redacted_thinking")
"""Types of thinking blocks."""


def our_thinking(text: str) -> JsonObject:
    """Return reasoning as a thinking block."""
    return {"type": "thinking", "thinking": text, "signature": OUR_SIGNATURE}


def may_have_ours(body: bytes | Spliced) -> bool:
    """Tell whether an encoded body may have thinking blocks of ours."""
    return body.has(_MARK) if isinstance(body, Spliced) else body.find(_MARK) >= 0


def is_ours(block: Json) -> bool:
    """Tell whether a block is a thinking block of ours."""
    return isinstance(block, dict) and block.get("type") == "thinking" and block.get("signature") == OUR_SIGNATURE


def without_our_thinking(body: JsonObject) -> JsonObject:
    """Return a Messages body without our thinking blocks, for a target that checks signatures.

    The same object if there are none. A message with nothing else is left out.
    """
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    kept: list[Json] = []
    changed = False
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and any(map(is_ours, content)):
            changed = True
            content = [block for block in content if not is_ours(block)]
            if not content:
                continue
            message = {**message, "content": content}
        kept.append(message)
    return {**body, "messages": kept} if changed else body
