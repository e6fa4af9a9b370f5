"""The turns of a Messages request as messages of a chat request.

1. The system prompt is one system message. Claude Code's first block of it, which differs from call to call and only
   tells Anthropic what to bill, is left out: it would spoil the target's prompt cache.
2. Results of tools are messages of their own, before the rest of the user's turn. They can have text only in chat, so
   images and documents in them follow in the user's message. A result that is an error says so in its text.
3. Thinking is left out, and so is what Anthropic's hosted tools did; what the assistant said about it stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from gateway.adapters.anthropic.to_chat.blocks import is_text, parts_of
from gateway.adapters.base import NotSupported
from gateway.adapters.fields import fields_of, items_of, text_of
from gateway.adapters.sent import ToolNames
from gateway.wire.json import Json, JsonObject, encode_json

_BILLING: Final = "x-anthropic-billing-header"
_NOTE: Final = "Note from the operator of this conversation, not from the user:\n"
_SHORT_ID_CHARS: Final = 9
_SHORT_ID: Final = re.compile(r"[a-zA-Z0-9]{9}")
"""An id of a call as Mistral's models want it: https://github.com/langchain-ai/langchain/pull/24668."""
_ERROR: Final = "Error: "
_ATTACHED: Final = "(attached to the next message)"


class Conversation:
    """Turns turns into messages.

    `mixes_roles`: system messages may stand anywhere. `keeps_thinking`: assistants' messages keep their thinking as
    `reasoning_content`, which some models want back in messages that call tools. `has_short_ids`: ids of calls have
    nine letters and digits, as Mistral's models want them.
    """

    __slots__ = ("_has_short_ids", "_keeps_thinking", "_mixes_roles", "_names", "_systems", "messages")

    def __init__(
        self, names: ToolNames, *, mixes_roles: bool, keeps_thinking: bool, has_short_ids: bool = False
    ) -> None:
        self._names = names
        self._mixes_roles = mixes_roles
        self._keeps_thinking = keeps_thinking
        self._has_short_ids = has_short_ids
        self.messages: list[JsonObject] = []
        self._systems = 0
        """Number of system messages; all are the first ones, unless they may stand anywhere."""

    def system(self, prompt: Json) -> None:
        """Add the system prompt."""
        text = "\n\n".join(text for text in _texts(prompt) if not text.startswith(_BILLING))
        if text:
            self._add_system(text)

    def take(self, turn: Json) -> None:
        """Add the next turn."""
        role, content = fields_of(turn).get("role"), fields_of(turn).get("content")
        if role == "user":
            self._user(content)
        elif role == "assistant":
            self._assistant(content)
        elif role == "system":
            text = "\n\n".join(_texts(content))
            if text and (self._mixes_roles or self._systems == len(self.messages)):
                self._add_system(text)
            elif text:
                self.messages.append({"role": "user", "content": _NOTE + text})
        else:
            raise NotSupported(f"does not support messages with the role {str(role)[:64]}")

    def _add_system(self, text: str) -> None:
        self._systems += 1
        self.messages.append({"role": "system", "content": text})

    def _user(self, content: Json) -> None:
        if isinstance(content, str):
            if content:
                self.messages.append({"role": "user", "content": content})
            return
        attached: list[JsonObject] = []
        others: list[JsonObject] = []
        for block in items_of(content):
            if fields_of(block).get("type") == "tool_result":
                attached += self._result(block)
            else:
                others.append(block)
        parts = attached + parts_of(others)
        if len(parts) == 1 and is_text(parts[0]):
            self.messages.append({"role": "user", "content": parts[0]["text"]})
        elif parts:
            self.messages.append({"role": "user", "content": parts})

    def _result(self, block: JsonObject) -> list[JsonObject]:
        """Add a result of a tool; return what of it a tool's message cannot have."""
        parts = parts_of(block.get("content"))
        text = "\n".join(part["text"] for part in parts if is_text(part))
        attached = [part for part in parts if not is_text(part)]
        if attached and not text:
            text = _ATTACHED
        if block.get("is_error") is True and not text.lower().startswith("error"):
            text = _ERROR + text
        call_id = self._id(block.get("tool_use_id"))
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": text})
        if not attached:
            return []
        return [{"type": "text", "text": f"Attached to the result of tool call {call_id}:"}, *attached]

    def _assistant(self, content: Json) -> None:
        texts: list[str] = []
        thoughts: list[str] = []
        calls: list[JsonObject] = []
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else items_of(content):
            kind = fields_of(block).get("type")
            if kind == "text":
                texts.append(text_of(block.get("text")))
            elif kind == "tool_use":
                calls.append(self._call(block))
            elif kind == "thinking":
                thoughts.append(text_of(block.get("thinking")))
            elif kind == "compaction":  # the summary that replaces the turns before
                texts += _texts(block.get("content"))
        said = "".join(texts)
        if not said and not calls:
            return
        message: JsonObject = {"role": "assistant", "content": said or None}
        if calls:
            message["tool_calls"] = calls
            if self._keeps_thinking:
                message["reasoning_content"] = "".join(thoughts)
        self.messages.append(message)

    def _call(self, block: JsonObject) -> JsonObject:
        function = {
            "name": self._names.sent(text_of(block.get("name"))),
            "arguments": encode_json(block.get("input") or {}).decode(),
        }
        return {"id": self._id(block.get("id")), "type": "function", "function": function}

    def _id(self, given: Json) -> Json:
        """Return the id of a call, which depends on the client's id alone."""
        if not self._has_short_ids or not isinstance(given, str) or _SHORT_ID.fullmatch(given):
            return given
        return sha256(given.encode("utf-8", "replace")).hexdigest()[:_SHORT_ID_CHARS]


def _texts(content: Json) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for block in items_of(content):
        if text := text_of(fields_of(block).get("text")):
            yield text
