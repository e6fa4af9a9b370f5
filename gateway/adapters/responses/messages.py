"""The input of a Responses request as chat messages.

Chat wants each assistant message with all its calls, then the outputs of all these calls, before anything else.
Responses has one item for a text, a call and an output, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from gateway.adapters.responses.asked import INPUT
from gateway.adapters.responses.compaction import ITEM, PROMPT, TRIGGER, message_of
from gateway.adapters.responses.tools import Tools, kind_of, unsupported
from gateway.wire.json import Json, JsonObject, encode_json

Recall: TypeAlias = Callable[[str], JsonObject | None]
"""Returns the output item of an earlier answer that has this id; None if it is not known."""

_SYSTEM: Final = ("system", "developer")
_LEFT_OUT: Final = frozenset({"web_search_call", "file_search_call", "mcp_list_tools"})
"""Items without a text of their own: what they found is in the answer."""
_REASONING_ID: Final = "rs_"
_ENCRYPTED: Final = "gAAAA"
"""How OpenAI's encrypted texts begin: Fernet tokens (https://github.com/fernet/spec/blob/master/Spec.md)."""
_READ_BEFORE: Final = frozenset({"additional_tools", "configuration_update"})
_TEXTS: Final = frozenset({"input_text", "output_text", "text", "summary_text"})
_BLANK_LINE: Final = "\n\n"
_IMAGE_DETAILS: Final = frozenset({"low", "high", "auto"})


def messages(
    instructions: Json, items: Json, tools: Tools, *, keep_reasoning: bool = False, recall: Recall | None = None
) -> list[JsonObject]:
    """Return the chat messages. Raises NotSupported for an item that has no counterpart.

    `keep_reasoning` sends the reasoning of earlier turns as `reasoning_content`, where it is there as text.
    """
    given = input_items(items)
    made = _Messages(tools, recall, _answered(given), keep_reasoning=keep_reasoning)
    if instructions:
        if not isinstance(instructions, str):
            raise unsupported("instructions that are not text")
        made.add({"role": "system", "content": instructions})
    if isinstance(items, str):
        made.add({"role": "user", "content": items})
    for item in given:
        made.add_item(item)
    return made.finished()


def input_items(items: Json) -> list[JsonObject]:
    """Return a request's `input` as a list of items. Raises NotSupported for what is none."""
    if items is None or isinstance(items, str):
        return []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise unsupported("an input that is neither a text nor a list of objects")
    return items


def _answered(items: Iterable[JsonObject]) -> set[str]:
    """Return the ids of the calls that have an output."""
    ids = (item.get("call_id") for item in items if kind_of(item).endswith("_output"))
    return {id_ for id_ in ids if isinstance(id_, str)}


class _Assistant:
    """A message of the assistant that is not complete yet."""

    __slots__ = ("calls", "message", "texts", "thoughts")

    def __init__(self) -> None:
        self.message: JsonObject = {"role": "assistant", "content": None}
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[JsonObject] = []

    def complete(self) -> None:
        """Write all into the message."""
        if self.texts:
            self.message["content"] = _BLANK_LINE.join(text for text in self.texts if text)
        if self.thoughts:
            self.message["reasoning_content"] = _BLANK_LINE.join(self.thoughts)
        if self.calls:
            self.message["tool_calls"] = self.calls


class _Messages:
    """Chat messages, item by item."""

    __slots__ = (
        "_all", "_answered", "_assistant", "_keep_reasoning", "_later", "_made", "_recall", "_system", "_thoughts",
        "_tools", "_waiting",
    )  # fmt: skip

    def __init__(self, tools: Tools, recall: Recall | None, answered: set[str], *, keep_reasoning: bool) -> None:
        self._tools = tools
        self._recall = recall
        self._answered = answered
        self._keep_reasoning = keep_reasoning
        self._thoughts: list[str] = []
        """Reasoning before the assistant's next text or call."""
        self._system: list[str] = []
        """What leads, of system and developer: the chat templates of many models take one such message, the first."""
        self._made: list[JsonObject] = []
        self._all: list[_Assistant] = []
        self._assistant: _Assistant | None = None
        """The assistant's message that further calls belong to."""
        self._waiting: set[str] = set()
        """Ids of its calls whose output is still to come."""
        self._later: list[JsonObject] = []
        """Messages that go behind these outputs."""

    def add(self, message: JsonObject) -> None:
        """Add a message of the system or the user."""
        if self._waiting:
            self._later.append(message)
            return
        self._assistant = None
        self._thoughts = []
        if not self._made and message["role"] == "system" and isinstance(message["content"], str):
            self._system.append(message["content"])
        else:
            self._made.append(message)

    def add_item(self, item: JsonObject) -> None:
        """Add an item of the input."""
        kind = kind_of(item, "message" if "role" in item else "item_reference")
        if kind == "message":
            self._add_message(item)
        elif kind in ("function_call", "custom_tool_call", "tool_search_call"):
            self._add_call(kind, item)
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._add_output(item, item.get("output"))
        elif kind == "tool_search_output":
            self._add_output(item, _found(item, self._tools))
        elif kind == "reasoning":
            self._add_reasoning(item)
        elif kind == "item_reference":
            self._add_reference(item.get("id"))
        elif kind == ITEM:
            self.add(message_of(item))
        elif kind == TRIGGER:
            self.add({"role": "user", "content": PROMPT})
        elif kind == "agent_message":
            self.add({"role": "user", "content": "".join(_told_by_agent(item.get("content")))})
        elif kind not in _LEFT_OUT and kind not in _READ_BEFORE:
            raise unsupported(f"input items of type {kind}")

    def finished(self) -> list[JsonObject]:
        """Return all messages."""
        for assistant in self._all:
            assistant.complete()
        leading = _BLANK_LINE.join(text for text in self._system if text)
        system: list[JsonObject] = [{"role": "system", "content": leading}] if leading else []
        return [*system, *(message for message in self._made if not _says_nothing(message)), *self._later]

    def _add_message(self, item: JsonObject) -> None:
        role, content = item.get("role"), item.get("content")
        if role == "assistant":
            self._add_said(content if isinstance(content, str) else "".join(_texts(_parts(content))))
        elif role in _SYSTEM:
            self.add({"role": "system", "content": _plain(content, _BLANK_LINE)})
        elif role == "user":
            self.add({"role": "user", "content": _plain(content, None)})
        else:
            raise unsupported("a message whose role is none of user, assistant, system and developer")

    def _add_reference(self, id_: Json) -> None:
        item = self._recall(id_) if self._recall is not None and isinstance(id_, str) else None
        if item is not None:
            self.add_item(item)
        elif not isinstance(id_, str) or not id_.startswith(_REASONING_ID):  # reasoning can be done without
            raise unsupported("item references (with `store: false`, clients send the items themselves)")

    def _add_reasoning(self, item: JsonObject) -> None:
        """Keep what an item says in text. Encrypted reasoning means nothing to another model."""
        if self._keep_reasoning:
            parts = item.get("content") or item.get("summary")
            given = parts if isinstance(parts, list) else []
            texts = (part.get("text") for part in given if isinstance(part, dict))
            self._thoughts += [text for text in texts if isinstance(text, str) and text]

    def _said(self, *, new: bool) -> _Assistant:
        """Return the assistant's message to go on with, or a new one."""
        assistant = self._assistant
        if assistant is None or new:
            assistant = self._assistant = _Assistant()
            self._all.append(assistant)
            self._made.append(assistant.message)
        assistant.thoughts += self._thoughts
        self._thoughts = []
        return assistant

    def _add_said(self, text: str) -> None:
        self._said(new=self._assistant is not None and not self._assistant.calls).texts.append(text)

    def _add_call(self, kind: str, item: JsonObject) -> None:
        call_id, name = item.get("call_id"), item.get("name")
        if kind == "tool_search_call":
            name = "tool_search"
            arguments = item.get("arguments")
            arguments = arguments if isinstance(arguments, str) else _encoded(arguments)
        elif kind == "custom_tool_call":
            arguments = _encoded({INPUT: item.get("input")})
        else:
            arguments = item.get("arguments")
        if not isinstance(call_id, str) or not isinstance(name, str) or not isinstance(arguments, str):
            raise unsupported(f"a {kind} without call_id, name or arguments")
        function = {"name": self._tools.name(name, item.get("namespace")), "arguments": arguments}
        self._said(new=False).calls.append({"id": call_id, "type": "function", "function": function})
        if call_id in self._answered:
            self._waiting.add(call_id)

    def _add_output(self, item: JsonObject, output: Json) -> None:
        call_id = item.get("call_id")
        if not isinstance(call_id, str):
            raise unsupported("the output of a call without call_id")
        text, shown = _output(output)
        if shown:
            # Outputs are text on the chat wire, so a picture follows as the user's.
            text = text or "The output is in the next message."
            said = {"type": "text", "text": f"Output of the tool call {call_id}:"}
            self._later.append({"role": "user", "content": [said, *shown]})
        self._made.append({"role": "tool", "tool_call_id": call_id, "content": text})
        self._waiting.discard(call_id)
        if not self._waiting:
            self._assistant = None
            self._made += self._later
            self._later = []


def _says_nothing(message: JsonObject) -> bool:
    """Tell whether a message is the assistant's and empty, which Mistral refuses."""
    return message["role"] == "assistant" and not message["content"] and "tool_calls" not in message


def _told_by_agent(content: Json) -> list[str]:
    """Return what an agent of Codex tells another: arguments, which OpenAI encrypts and a chat model writes plainly."""
    told: list[str] = []
    for part in content if isinstance(content, list) else ():
        words = part.get("encrypted_content") if isinstance(part, dict) else None
        if words is None:
            told += _texts([_part(part)])
        elif isinstance(words, str) and not words.startswith(_ENCRYPTED):
            told.append(words)
        else:
            raise unsupported("encrypted messages of agents")
    return told


def _plain(content: Json, joint: str | None) -> Json:
    """Return content as one text if it is, or if there is a `joint` for its texts; else its parts."""
    if isinstance(content, str):
        return content
    parts = _parts(content)
    if all(part["type"] == "text" for part in parts) and (joint is not None or len(parts) == 1):
        return (joint or "").join(_texts(parts))
    return parts


def _parts(content: Json) -> list[JsonObject]:
    if not isinstance(content, list):
        raise unsupported("content that is neither a text nor a list")
    return [_part(part) for part in content]


def _texts(parts: Iterable[JsonObject]) -> list[str]:
    return [part["text"] for part in parts if part["type"] == "text"]


def _part(part: Json) -> JsonObject:
    """Return a content part of the chat wire."""
    kind = kind_of(part) if isinstance(part, dict) else ""
    if kind in _TEXTS:
        return {"type": "text", "text": _text(part, "text")}
    if kind == "refusal":
        return {"type": "text", "text": _text(part, "refusal")}
    if kind == "input_image":
        return {"type": "image_url", "image_url": _image(part)}
    if kind == "input_file":
        return {"type": "file", "file": _file(part)}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    raise unsupported(f"content of type {kind or 'unknown'}")


def _text(part: JsonObject, field: str) -> str:
    text = part.get(field)
    if not isinstance(text, str):
        raise unsupported(f"content of type {part['type']} without {field}")
    return text


def _image(part: JsonObject) -> JsonObject:
    if part.get("file_id"):
        raise unsupported("file ids")
    url, detail = part.get("image_url"), part.get("detail")
    if not isinstance(url, str) or not url:
        raise unsupported("an image without image_url")
    if detail is None:
        return {"url": url}
    return {"url": url, "detail": detail if isinstance(detail, str) and detail in _IMAGE_DETAILS else "high"}


def _file(part: JsonObject) -> JsonObject:
    if part.get("file_id"):
        raise unsupported("file ids")
    data, name = part.get("file_data"), part.get("filename")
    if not isinstance(data, str) or not data:
        raise unsupported("files by URL")
    return {"filename": name, "file_data": data} if name else {"file_data": data}


def _output(output: Json) -> tuple[str, list[JsonObject]]:
    """Return the text of a tool's output, and its parts that are not text."""
    if isinstance(output, str):
        return output, []
    if not isinstance(output, list):
        return _encoded(output), []
    parts = _parts(output)
    return "\n".join(_texts(parts)), [part for part in parts if part["type"] != "text"]


def _found(item: Mapping[str, Json], tools: Tools) -> str:
    """Return what a search for tools found: the functions that may be called from now on."""
    found = Tools()
    found.add(item.get("tools") or [])
    return _encoded([tools.name(called.name, called.namespace) for called in found.called.values()])


def _encoded(value: Json) -> str:
    try:
        return encode_json(value).decode()
    except RecursionError:
        raise unsupported("values nested that deep") from None
