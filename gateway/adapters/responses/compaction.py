"""Compaction on a chat upstream: the model writes a summary, which stands for the conversation from then on.

A client asks for it with a `compaction_trigger` as the last item of its input, and gets one item of type `compaction`
that only its maker can read, which it sends instead of what came before. Codex CLI does so, with OpenAI's own provider
entry, when a conversation comes near the model's limit. Here the item holds the summary's text.

Source: https://platform.openai.com/docs/guides/conversation-state#compaction
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from gateway.adapters.responses.tools import unsupported
from gateway.wire.json import Json, JsonObject

TRIGGER: Final = "compaction_trigger"
ITEM: Final = "compaction"

PROMPT: Final = (
    "The conversation is too long to go on as it is. Write a summary of it, from which another assistant that sees "
    "nothing else can go on at once. Say what the user wants and has decided, what was done and found out, with names "
    "of files, commands and values as they are, what is not done yet, and what comes next. Write the summary only, "
    "and call no tools."
)
_INTRODUCED: Final = "The conversation before this was replaced by this summary:\n\n"
_MARK: Final = "chat-summary."


def encoded(summary: str) -> str:
    """Return the `encrypted_content` that holds a summary."""
    return _MARK + base64.urlsafe_b64encode(summary.encode("utf-8", "replace")).decode()


def holds_summary(content: str) -> bool:
    """Tell whether an `encrypted_content` is a summary, which any chat target can go on from."""
    return content.startswith(_MARK)


def message_of(item: JsonObject) -> JsonObject:
    """Return the message that stands for a compaction item. Raises NotSupported for one that another server made."""
    content: Json = item.get("encrypted_content")
    if isinstance(content, str) and holds_summary(content):
        try:
            summary = base64.urlsafe_b64decode(content[len(_MARK) :]).decode()
        except (binascii.Error, ValueError):
            pass
        else:
            return {"role": "user", "content": _INTRODUCED + summary}
    raise unsupported(f"input items of type {ITEM} that another server made")
