"""Asking and reading as the clients of each wire do: OpenAI's SDKs, and Anthropic's."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol

from tests.failover.faults import as_written
from tests.wires.messages import ERROR_TYPES

TOOL: Final[Mapping[str, Any]] = {
    "name": "weather",
    "description": "The weather of a city",
    "schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
"""The tool that requests offer."""
_BOUNDARY: Final = "a-boundary-of-4711"
_ENDS: Final = {"response.completed": "completed", "response.incomplete": "incomplete"}


@dataclass(slots=True)
class Told:
    """An answer as far as it has come."""

    text: str = ""
    calls: dict[Any, tuple[str, str]] = field(default_factory=dict)
    """Name and arguments of the tool calls, by whatever the wire tells them apart."""
    finished: set[int] = field(default_factory=set)
    """The choices that are finished; 0 is the only one on wires without choices."""
    is_ended: bool = False
    """What the wire ends a stream with has come."""
    error: Any = None
    fault: str = ""
    """What no client could read."""
    doubt: str = ""
    """What a client would not notice, or would be misled by."""
    usage_last: bool = False

    @property
    def said(self) -> str:
        """The text, then names and arguments of the tool calls."""
        return self.text + "".join(name + as_written(arguments) for name, arguments in self.calls.values())

    def call(self, key: Any, name: str | None, arguments: str | None) -> None:
        """Take a part of a tool call."""
        before = self.calls.get(key, ("", ""))
        self.calls[key] = (before[0] + (name or ""), before[1] + (arguments or ""))


class Reader(Protocol):
    """Reads one wire."""

    @property
    def path(self) -> str:
        """Where requests go, below `/v1`."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Fields that requests have to have."""
        ...

    @property
    def streaming(self) -> Mapping[str, Any]:
        """The fields that ask for a stream."""
        ...

    @property
    def is_bytes(self) -> bool:
        """Whether a plain answer is bytes, which begin before they are whole."""
        ...

    def request(self, prompt: str, *, tools: bool) -> dict[str, Any]:
        """Return a request's fields without model and `stream`."""
        ...

    def body(self, fields: Mapping[str, Any]) -> Mapping[str, Any] | bytes:
        """Return a request's body: the fields, for JSON, or bytes."""
        ...

    def error(self, body: Any) -> Any:
        """Return the error object of an error's body; None if it is none."""
        ...

    def code_fault(self, error: Any, status: int, code: str | None) -> str | None:
        """Return what is wrong with how our own gateway words an error of this status and code."""
        ...

    def plain(self, body: Any) -> Told:
        """Read a plain answer. Nothing is finished if it is none."""
        ...

    def see(self, told: Told, name: str, data: str) -> None:
        """Read the next event of a stream; `name` is its `event` field."""
        ...


class OpenAIReader:
    """What OpenAI's wires have in common."""

    headers: ClassVar[Mapping[str, str]] = {}
    streaming: ClassVar[Mapping[str, Any]] = {"stream": True}
    is_bytes: ClassVar[bool] = False

    def body(self, fields: Mapping[str, Any]) -> Mapping[str, Any] | bytes:
        """Return the fields."""
        return fields

    def error(self, body: Any) -> Any:
        """Return `error`."""
        return body.get("error") or None if isinstance(body, dict) else None

    def code_fault(self, error: Any, status: int, code: str | None) -> str | None:
        """Compare the code."""
        told = error.get("code") if isinstance(error, dict) else None
        return None if code is None or told == code else f"code {told}, not {code}"


class ChatReader(OpenAIReader):
    """Chat completions."""

    path: Final = "/chat/completions"

    def request(self, prompt: str, *, tools: bool) -> dict[str, Any]:
        """Return a request's body."""
        function = {"name": TOOL["name"], "description": TOOL["description"], "parameters": TOOL["schema"]}
        offered = {"tools": [{"type": "function", "function": function}]} if tools else {}
        return {"messages": [{"role": "user", "content": prompt}], **offered}

    def plain(self, body: Any) -> Told:
        """Read a completion."""
        told = Told()
        choices = body.get("choices") if isinstance(body, dict) else None
        if choices and choices[0].get("finish_reason") and "message" in choices[0]:
            told.finished = {place for place, choice in enumerate(choices) if choice.get("finish_reason")}
            self._hear(told, choices[0]["message"])
        return told

    def see(self, told: Told, name: str, data: str) -> None:
        """Read a chunk."""
        if data == "[DONE]":
            told.is_ended = True
            return
        event = parsed(data)
        if not isinstance(event, dict):
            told.fault = "an event that is no JSON"
            return
        if told.error is None:
            told.error = self.error(event)
        for choice in event.get("choices") or ():
            if not choice.get("index"):
                self._hear(told, choice.get("delta") or {})
            if choice.get("finish_reason"):
                told.finished.add(choice.get("index", 0))
        told.usage_last = event.get("choices") == [] and isinstance(event.get("usage"), dict)

    def _hear(self, told: Told, message: Mapping[str, Any]) -> None:
        told.text += message.get("content") or ""
        for place, call in enumerate(message.get("tool_calls") or ()):
            function = call.get("function") or {}
            told.call(call.get("index", place), function.get("name"), function.get("arguments"))


class ResponsesReader(OpenAIReader):
    """OpenAI's Responses."""

    path: Final = "/responses"

    def request(self, prompt: str, *, tools: bool) -> dict[str, Any]:
        """Return a request's body."""
        tool = {"name": TOOL["name"], "description": TOOL["description"], "parameters": TOOL["schema"], "strict": False}
        return {"input": prompt, **({"tools": [{"type": "function", **tool}]} if tools else {})}

    def plain(self, body: Any) -> Told:
        """Read a response."""
        told = Told()
        if not isinstance(body, dict) or body.get("object") != "response" or not isinstance(body.get("output"), list):
            return told
        if body.get("status") in _ENDS.values():
            told.finished = {0}
        told.text = "".join(
            part.get("text", "")
            for item in body["output"]
            for part in item.get("content") or ()
            if part.get("type") == "output_text"
        )
        for place, item in enumerate(body["output"]):
            if item.get("type") == "function_call":
                told.call(place, item.get("name"), item.get("arguments"))
        told.usage_last = bool((body.get("usage") or {}).get("output_tokens"))
        return told

    def see(self, told: Told, name: str, data: str) -> None:
        """Read an event by its type. The SDK raises for an `error` in it only, never for its type."""
        event = parsed(data)
        if not isinstance(event, dict):
            told.fault = "an event that is no JSON"
            return
        kind = event.get("type")
        if kind == "error" or event.get("error"):
            told.error = event.get("error") or event
            if not event.get("error"):
                told.doubt = "OpenAI's SDKs raise nothing for this error event"
        elif kind == "response.failed":
            told.error = (event.get("response") or {}).get("error") or event
        elif kind == "response.output_text.delta":
            told.text += event.get("delta") or ""
        elif kind == "response.output_item.added" and event["item"].get("type") == "function_call":
            told.call(event["output_index"], event["item"].get("name"), None)
        elif kind == "response.function_call_arguments.delta":
            told.call(event["output_index"], None, event.get("delta"))
        elif kind in _ENDS:
            whole = self.plain(event.get("response"))
            told.is_ended = True
            told.finished, told.usage_last = whole.finished, whole.usage_last
            if whole.said != told.said:
                told.doubt = f"the last event says {len(whole.said)} characters, the deltas {len(told.said)}"


class MessagesReader(OpenAIReader):
    """Anthropic's Messages."""

    path: Final = "/messages"
    headers: ClassVar[Mapping[str, str]] = {"anthropic-version": "2023-06-01"}

    def request(self, prompt: str, *, tools: bool) -> dict[str, Any]:
        """Return a request's body."""
        tool = {"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["schema"]}
        offered = {"tools": [tool]} if tools else {}
        return {"max_tokens": 1024, "messages": [{"role": "user", "content": prompt}], **offered}

    def error(self, body: Any) -> Any:
        """Return the error of an envelope that has Anthropic's shape."""
        error = body.get("error") if isinstance(body, dict) and body.get("type") == "error" else None
        return error if isinstance(error, dict) and error.get("type") and error.get("message") else None

    def code_fault(self, error: Any, status: int, code: str | None) -> str | None:
        """Compare the type, which follows from the status, and the code, which only errors from OpenAI's wire have."""
        kind = ERROR_TYPES.get(529 if status == 503 else status, "api_error")
        if error["type"] != kind:
            return f"type {error['type']}, not {kind}"
        told = error.get("code")
        return None if told in (None, code) or code is None else f"code {told}, not {code}"

    def plain(self, body: Any) -> Told:
        """Read a message."""
        told = Told()
        if not isinstance(body, dict) or body.get("type") != "message" or not isinstance(body.get("content"), list):
            return told
        if body.get("stop_reason"):
            told.finished = {0}
        for place, block in enumerate(body["content"]):
            told.text += block.get("text") or ""
            if block.get("type") == "tool_use":
                told.call(place, block.get("name"), json.dumps(block.get("input")))
        return told

    def see(self, told: Told, name: str, data: str) -> None:
        """Read an event by its name; the SDK passes over those without one."""
        if not name:
            return
        event = parsed(data)
        if not isinstance(event, dict):
            told.fault = "an event that is no JSON"
            return
        match name:
            case "error":
                told.error = self.error(event) or event
            case "content_block_start":
                block = event["content_block"]
                told.text += block.get("text") or ""
                if block.get("type") == "tool_use":
                    told.call(event["index"], block.get("name"), None)
            case "content_block_delta":
                delta = event["delta"]
                told.text += delta.get("text") or ""
                if delta.get("type") == "input_json_delta":
                    told.call(event["index"], None, delta.get("partial_json"))
            case "message_delta":
                told.usage_last = bool((event.get("usage") or {}).get("output_tokens"))
                if event["delta"].get("stop_reason"):
                    told.finished = {0}
            case "message_stop":
                told.is_ended = True


class _MediaReader(OpenAIReader):
    """What OpenAI's streams of sound and of its text have in common."""

    def see(self, told: Told, name: str, data: str) -> None:
        """Read an event by its type."""
        event = parsed(data)
        if not isinstance(event, dict):
            told.fault = "an event that is no JSON"
            return
        kind = str(event.get("type"))
        if event.get("error"):
            told.error = event["error"]
        elif kind.endswith(".done"):
            told.finished, told.is_ended, told.usage_last = {0}, True, bool(event.get("usage"))
            if event.get("text", told.text) != told.text:
                told.doubt = "the last event says another text than the deltas"
        elif kind.endswith(".delta"):
            told.text += event.get("delta") or base64.b64decode(event.get("audio") or "").decode()


class SpeechReader(_MediaReader):
    """Speech: bytes, or events."""

    path: Final = "/audio/speech"
    streaming: ClassVar[Mapping[str, Any]] = {"stream_format": "sse"}
    is_bytes: ClassVar[bool] = True

    def request(self, prompt: str, *, tools: bool) -> dict[str, Any]:
        """Return a request's fields."""
        return {"input": prompt, "voice": "alloy"}

    def plain(self, body: Any) -> Told:
        """Return nothing: JSON is no sound."""
        return Told()


class TranscriptionsReader(_MediaReader):
    """Transcriptions, which are asked for with a form."""

    path: Final = "/audio/transcriptions"
    headers: ClassVar[Mapping[str, str]] = {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}
    streaming: ClassVar[Mapping[str, Any]] = {"stream": "true"}

    def request(self, prompt: str, *, tools: bool) -> dict[str, Any]:
        """Return a request's fields."""
        return {"file": prompt}

    def body(self, fields: Mapping[str, Any]) -> Mapping[str, Any] | bytes:
        """Return the form, its file last."""
        parts = ""
        for name, value in sorted(fields.items(), key=lambda field: field[0] == "file"):
            filename = '; filename="hello.wav"\r\ncontent-type: audio/wav' if name == "file" else ""
            head = f'content-disposition: form-data; name="{name}"{filename}'
            parts += f"--{_BOUNDARY}\r\n{head}\r\n\r\n{value}\r\n"
        return f"{parts}--{_BOUNDARY}--\r\n".encode()

    def plain(self, body: Any) -> Told:
        """Read the text."""
        if not isinstance(body, dict) or not isinstance(body.get("text"), str):
            return Told()
        return Told(text=body["text"], finished={0})


READERS: Final[Mapping[str, Reader]] = {
    "chat": ChatReader(),
    "responses": ResponsesReader(),
    "messages": MessagesReader(),
    "speech": SpeechReader(),
    "transcriptions": TranscriptionsReader(),
}
"""By wire."""


def parsed(data: str | bytes) -> Any:
    """Return what the JSON says; None if it is none."""
    try:
        return json.loads(data)
    except ValueError:
        return None


def events_in(body: bytes) -> Iterator[tuple[str, str, int]]:
    """Yield name and data of each whole event, and where in the body it ends."""
    name, data, place = "", list[str](), 0
    for line in body.splitlines(keepends=True):
        place += len(line)
        if not line.endswith((b"\n", b"\r")):
            return
        key, _, value = line.decode(errors="replace").rstrip("\r\n").partition(":")
        if key == "data":
            data.append(value.removeprefix(" "))
        elif key == "event":
            name = value.removeprefix(" ")
        elif not key and not value:
            if data:
                yield name, "\n".join(data), place
            name, data = "", []
