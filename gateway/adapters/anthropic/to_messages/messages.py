"""The messages of a chat request as system prompt and turns of a Messages request.

Rules of Messages, from https://platform.claude.com/docs/en/api/messages and .../tool-use/handle-tool-calls:

1. The system prompt stands apart. A later system message is a turn of its own where the model knows such turns: after
   a user's turn and before an assistant's, or last. Elsewhere it becomes a noted part of the user's turn.
2. Users and assistants take turns, so messages of one side in a row are one turn. The first turn is a user's.
3. Results of tools come first in the user's turn after the calls.
4. No block of text is empty, and the last turn, if it is the assistant's, does not end with white space.
"""

from __future__ import annotations

from typing import Final

from gateway.adapters.anthropic.models import ClaudeModel
from gateway.adapters.anthropic.thinking import THINKING, is_ours
from gateway.adapters.anthropic.to_messages.parts import Breakpoints, blocks_of, text_blocks_of
from gateway.adapters.base import NotSupported
from gateway.adapters.fields import arguments_of, is_text
from gateway.adapters.sent import CallIds, ToolNames
from gateway.wire.json import Json, JsonObject

SYSTEM_ROLES: Final = ("system", "developer")
_NOTE: Final = "Note from the operator of this conversation, not from the user:"
_NO_START: Final = "."
"""The user's turn before an assistant who speaks first."""


class Conversation:
    """Takes a request's messages one after the other, and has them as Messages wants them.

    With `keeps_thinking`, thinking blocks that Claude signed stay in the history.
    """

    __slots__ = (
        "_breakpoints",
        "_floating",
        "_ids",
        "_keeps_thinking",
        "_model",
        "_names",
        "_noted",
        "_rest",
        "_results",
        "_said",
        "called",
        "refuses_budget",
        "system",
        "turns",
    )  # fmt: skip

    def __init__(self, model: ClaudeModel, names: ToolNames, *, keeps_thinking: bool) -> None:
        self._model = model
        self._names = names
        self._keeps_thinking = keeps_thinking
        self._ids = CallIds()
        self._breakpoints = Breakpoints()
        self.system: list[JsonObject] = []
        """Blocks of the system prompt."""
        self.turns: list[JsonObject] = []
        self.called: dict[str, None] = {}
        """Names of the tools that the history calls, as sent."""
        self.refuses_budget = False
        """It cannot go on with `thinking: {type: enabled}`, which wants thinking before the last calls of tools.

        It cannot either when it ends with the assistant's turn.
        """
        self._results: list[JsonObject] = []
        self._rest: list[JsonObject] = []
        """The user's turn that is being made: results of tools, and the rest."""
        self._said: list[JsonObject] = []
        """The assistant's turn that is being made."""
        self._noted: list[JsonObject] = []
        """Blocks of system messages that follow the user's turn that is being made."""
        self._floating: list[JsonObject] = []
        """Blocks of system messages after the assistant's turn; they wait for what comes next."""

    def take(self, message: Json) -> None:
        """Take the next message."""
        if not isinstance(message, dict):
            raise NotSupported("does not support messages that are no objects")
        role = message.get("role")
        if role == "user":
            self._begin_user()
            self._rest += blocks_of(message, self._breakpoints)
        elif role == "assistant":
            self._assistant(message)
        elif role == "tool":
            self._begin_user()
            self._results.append(self._result(message, message.get("tool_call_id")))
        elif role in SYSTEM_ROLES:
            self._system(message)
        elif role == "function":
            self._begin_user()
            self._results.append(self._result(message, _function_id(message.get("name"))))
        else:
            raise NotSupported(f"does not support messages with the role {str(role)[:64]}")

    def end(self) -> None:
        """Finish the last turn."""
        if self._floating:
            self._begin_user()
        self._end_user()
        self._end_assistant()
        if self.turns and self.turns[-1]["role"] == "assistant":
            if not self._model.takes_prefill:
                raise NotSupported("does not support a conversation that ends with the assistant's message")
            last = self.turns[-1]["content"][-1]
            if last.get("type") == "text":
                last["text"] = last["text"].rstrip() or "."
            self.refuses_budget = True
        if not self.turns:
            raise NotSupported("does not support a conversation without a message that says something")

    def forget_thinking(self) -> None:
        """Take the thinking out of the history."""
        for turn in self.turns:
            if turn["role"] == "assistant":
                turn["content"] = [block for block in turn["content"] if block.get("type") not in THINKING]
        self.turns = [turn for turn in self.turns if turn["content"]]

    def _system(self, message: JsonObject) -> None:
        blocks = text_blocks_of(message, self._breakpoints)
        if not self.turns and not self._said and not self._rest and not self._results:
            self.system += blocks
        elif self._said or not (self._rest or self._results):
            self._floating += blocks
        elif self._model.takes_system_turns:
            self._noted += blocks
        else:
            self._note(blocks)

    def _note(self, blocks: list[JsonObject]) -> None:
        if blocks:
            self._rest.append({"type": "text", "text": _NOTE})
            self._rest += blocks

    def _begin_user(self) -> None:
        self._end_assistant()
        if self._floating:
            floating, self._floating = self._floating, []
            if self._model.takes_system_turns and not (self._rest or self._results or self._noted):
                self._noted += floating
            else:
                self._note(floating)

    def _end_user(self) -> None:
        content = self._results + self._rest
        noted = self._noted
        self._results, self._rest, self._noted = [], [], []
        if content:
            self._add("user", content)
            if noted:
                self.turns.append({"role": "system", "content": noted})
        elif noted:  # A system message between two turns of the assistant.
            self._note(noted)
            content, self._rest = self._rest, []
            self._add("user", content)

    def _end_assistant(self) -> None:
        if self._said:
            said, self._said = self._said, []
            if not self.turns:
                self._add("user", [{"type": "text", "text": _NO_START}])
            calls = any(block.get("type") == "tool_use" for block in said)
            self.refuses_budget = calls and said[0].get("type") not in THINKING
            self._add("assistant", said)

    def _add(self, role: str, content: list[JsonObject]) -> None:
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += content
        else:
            self.turns.append({"role": role, "content": content})

    def _assistant(self, message: JsonObject) -> None:
        said = _thinking(message) if self._keeps_thinking else []
        content = message.get("content")
        if isinstance(content, list):
            content = [part for part in content if not isinstance(part, dict) or part.get("type") not in THINKING]
            said += text_blocks_of({**message, "content": content}, self._breakpoints)
        else:
            said += text_blocks_of(message, self._breakpoints)
        refusal = message.get("refusal")
        if is_text(refusal):
            said.append({"type": "text", "text": refusal})
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            said.append(self._call(call))
        legacy = message.get("function_call")
        if isinstance(legacy, dict):
            said.append(self._use(_function_id(legacy.get("name")), legacy.get("name"), legacy.get("arguments")))
        if said:
            if self._floating and self._said:
                self._begin_user()
            self._end_user()
            self._said += said

    def _call(self, call: Json) -> JsonObject:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            block = self._use(call.get("id"), function.get("name"), function.get("arguments"))
            return self._breakpoints.mark(block, call)
        custom = call.get("custom") if isinstance(call, dict) else None
        if isinstance(custom, dict):
            return self._use(call.get("id"), custom.get("name"), {"input": custom.get("input")})
        raise NotSupported("does not support tool calls without a function")

    def _use(self, call_id: Json, name: Json, arguments: Json) -> JsonObject:
        sent = self._names.sent(name if isinstance(name, str) else "")
        self.called[sent] = None
        return {"type": "tool_use", "id": self._ids.called(call_id), "name": sent, "input": arguments_of(arguments)}

    def _result(self, message: JsonObject, call_id: Json) -> JsonObject:
        block: JsonObject = {"type": "tool_result", "tool_use_id": self._ids.answered(call_id)}
        content = message.get("content")
        if isinstance(content, str):
            if content:
                block["content"] = content
            return self._breakpoints.mark(block, message)
        blocks = blocks_of(message, self._breakpoints)
        if blocks:
            block["content"] = blocks
        control = next((one.pop("cache_control") for one in reversed(blocks) if "cache_control" in one), None)
        if control is not None:
            block["cache_control"] = control
        return block


def _thinking(message: JsonObject) -> list[JsonObject]:
    """Return the thinking that Claude signed: it is refused without its signature."""
    found: list[JsonObject] = []
    for beside in (message.get("thinking_blocks"), message.get("content")):
        for block in beside if isinstance(beside, list) else ():
            if not isinstance(block, dict) or is_ours(block):
                continue
            if block.get("type") == "thinking" and is_text(block.get("signature")):
                thought = block.get("thinking")
                text = thought if isinstance(thought, str) else ""
                found.append({"type": "thinking", "thinking": text, "signature": block["signature"]})
            elif block.get("type") == "redacted_thinking" and is_text(block.get("data")):
                found.append({"type": "redacted_thinking", "data": block["data"]})
    return found


def _function_id(name: Json) -> str:
    """Return an id for a call of the older form, which has none."""
    return f"function_{name}"
