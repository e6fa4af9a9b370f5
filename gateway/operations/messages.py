"""Anthropic's Messages: `POST /v1/messages`, plain and as a stream, and `POST /v1/messages/count_tokens`.

Source: https://platform.claude.com/docs/en/api/messages and https://platform.claude.com/docs/en/api/messages-streaming
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from gateway.adapters.base import Bonds
from gateway.adapters.counts import counts
from gateway.adapters.events import Event, StreamJudge
from gateway.errors import BadRequest
from gateway.operations.base import (
    HELLO,
    OpenAIOperation,
    check_stream_fields,
    is_long_list,
    is_text_to_judge,
    last_said,
    objects,
    raise_error,
    word,
    words_in,
)
from gateway.operations.bonds import made_by_message, message_bonds
from gateway.operations.content import opening
from gateway.operations.errors import ANTHROPIC_ERRORS
from gateway.operations.google_files import google_bonds
from gateway.operations.written import text_size, value_size
from gateway.policy.failures import no_answer
from gateway.wire import sse
from gateway.wire.json import Json, JsonObject, encode_json

_TEXT_FIELDS: Final[Mapping[str, str]] = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
}
"""Type of a delta → its field with text."""
_CONTENT_FIELDS: Final[Mapping[str, str]] = {**_TEXT_FIELDS, "citations_delta": "citation"}
"""Type of a delta that is content unless it is empty → its field. A `signature_delta` alone is none."""
_WRITTEN_FIELDS: Final[Mapping[str, str]] = {**_TEXT_FIELDS, "compaction_delta": "content"}
"""Type of a delta → its field with what the model wrote."""
_DELTA: Final = "content_block_delta"
_HOSTED_BLOCKS: Final = frozenset({"server_tool_use", "mcp_tool_use"})
"""Blocks whose start names a tool that runs upstream: it may have effects, so nothing is asked twice."""
_TOOL_BLOCKS: Final = frozenset({"tool_use", *_HOSTED_BLOCKS})
"""Blocks whose start names a tool, which is content."""

_TELL_CONTAINER: Final = frozenset({"message", "message_start", "message_delta"})
"""The answer, and the events, that may tell of a container."""
_LAST: Final = frozenset({"message_delta", "message_stop"})
"""Events after the last content."""

_PARAMS: Final = frozenset(
    {
        "billing_policy", "cache_control", "compaction", "container", "context_management", "diagnostics",
        "fallback_credit_token", "inference_geo", "max_tokens", "mcp_servers", "messages", "metadata", "output_config",
        "output_format", "service_tier", "speed", "stop_sequences", "system", "temperature", "thinking", "thread",
        "tool_choice", "tools", "top_k", "top_p", "user_profile_id", "workspace_id",
    }
)  # fmt: skip


class _AnthropicOperation(OpenAIOperation):
    """What Anthropic's operations have in common."""

    wire: Final = "messages"
    field: Final = None
    errors = ANTHROPIC_ERRORS
    example = MappingProxyType({"max_tokens": 1024, "messages": [*HELLO]})
    can_bind = True
    read_fields = ("system", "messages", "tools")
    limit_fields = ("max_tokens",)
    part_kinds = MappingProxyType({"image": "images", "document": "files", "container_upload": "files"})
    request_headers = ("anthropic-version", "anthropic-beta")
    queries = frozenset({"beta=true"})

    def check(self, body: JsonObject) -> None:
        """Raise BadRequest for a request that no upstream could accept. Upstreams check the details."""
        messages = body.get("messages")
        if not (isinstance(messages, list) and messages) and not is_long_list(messages):
            raise BadRequest("messages must be a non-empty list", param="messages")
        check_stream_fields(body)

    def bound_to(self, params: Mapping[str, Json]) -> Bonds:
        """Return what binds the request: its container, and the files that it names, Gemini's too."""
        found = yield from message_bonds(params)
        return [*found, *(yield from google_bonds(params, "messages"))]

    def opening(self, params: Mapping[str, Json]) -> bytes:
        """Return a checksum of the beginnings of system prompt, tools and first user message."""
        return opening(system=params.get("system"), tools=params.get("tools"), messages=params.get("messages"))

    def made(self, data: JsonObject) -> Iterable[str]:
        """Return the container's id, if there is one."""
        return made_by_message(data) if data.get("type") in _TELL_CONTAINER else ()


class Messages(_AnthropicOperation):
    """Messages."""

    name: Final = "messages"
    path: Final = "/messages"
    generates_text = True
    params = _PARAMS
    streams = True
    stream_end = b""
    keepalive = b'event: ping\ndata: {"type":"ping"}\n\n'

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless there are content blocks, be it none, and a stop reason."""
        _raise_error(data)
        if not isinstance(data.get("content"), list) or not isinstance(data.get("stop_reason"), str):
            raise no_answer()

    def asked_once(self, judge: StreamJudge, params: Mapping[str, Json], overrides: Mapping[str, Json]) -> str:
        """Return why not again: a tool of the upstream ran."""
        return "a tool ran upstream" if isinstance(judge, MessagesJudge) and judge.ran_tool else ""

    def judge(self, *, one_choice: bool = False) -> MessagesJudge:
        """Return a judge of the events of a message."""
        return MessagesJudge()

    def varying(self, data: JsonObject) -> Mapping[str, Json] | None:
        """Return the text, or the piece of JSON, of a delta."""
        delta = data.get("delta")
        if data.get("type") != _DELTA or not isinstance(delta, dict):
            return None
        text = delta.get(field := _TEXT_FIELDS.get(word(delta), ""))
        return {field: text} if text else None

    def is_last(self, event: Event) -> bool:
        """Tell whether this is `message_stop`."""
        return event.data is not None and event.data.get("type") == "message_stop"

    def is_text_event(self, data: JsonObject) -> bool:
        """Tell whether an event carries content."""
        if word(data) == _DELTA:
            return _has_text(data)
        return not self.is_final_event(data) and is_text_to_judge(self, data)

    def is_final_event(self, data: JsonObject) -> bool:
        """Tell whether this is the stop reason with the token counts, or `message_stop`."""
        return word(data) in _LAST

    def is_answer(self, data: JsonObject) -> bool:
        """Tell whether a body is a message."""
        return data.get("type") == "message"

    def as_events(self, data: JsonObject) -> list[Event]:
        """Return a message as the events of a whole stream."""
        usage = data.get("usage") or {}
        begun = {**data, "content": [], "stop_reason": None, "stop_sequence": None}
        events: list[JsonObject] = [{"type": "message_start", "message": begun}]
        for index, block in enumerate(objects(data["content"])):
            events += _block_events(index, block)
        delta = {"stop_reason": data["stop_reason"], "stop_sequence": data.get("stop_sequence")}
        events += [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]
        return [Event(event, name=event["type"].encode()) for event in events]

    def tokens(self, data: JsonObject) -> dict[str, int] | None:
        """Return the token counts of a message; None if it has none."""
        usage = data.get("usage")
        return message_tokens(usage) if isinstance(usage, dict) and usage else None

    def break_event(self, envelope: JsonObject, number: int) -> bytes:
        """Return the error envelope as an `error` event: Anthropic's SDKs notice nothing else."""
        return sse.encode(encode_json(envelope), name=b"error")

    def prompt(self, params: Mapping[str, Json]) -> str:
        """Return the text of the last user message."""
        return last_said(params)

    def text(self, data: JsonObject) -> str | None:
        """Return the text of a message or a delta; None if it has none."""
        delta, blocks = data.get("delta"), data.get("content")
        if isinstance(delta, dict):
            return delta.get("text")
        texts = [block.get("text") for block in blocks or () if isinstance(block, dict) and block.get("type") == "text"]
        return "".join(text for text in texts if isinstance(text, str)) if texts else None

    def written_bytes(self, data: JsonObject) -> int:
        """Return the bytes of what the model wrote in a message, a delta, or the first event of a block."""
        kind = data.get("type")
        if kind == _DELTA:
            delta = data.get("delta")
            return text_size(delta.get(_WRITTEN_FIELDS.get(word(delta)))) if isinstance(delta, dict) else 0
        if kind == "content_block_start":
            return _block_bytes(data.get("content_block"))
        return sum(map(_block_bytes, objects(data.get("content"))))


class CountTokens(_AnthropicOperation):
    """Token counting, which is free upstream."""

    name: Final = "count_tokens"
    path: Final = "/messages/count_tokens"
    only_counts = True
    params = _PARAMS

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless there is a count."""
        _raise_error(data)
        if type(data.get("input_tokens")) is not int:
            raise no_answer()

    def tokens(self, data: JsonObject) -> dict[str, int] | None:
        """Return None: counting uses no tokens."""
        return None

    def reply(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return a rough count."""
        return {"input_tokens": _words(params.get("system")) + _words(params.get("messages"))}


class MessagesJudge:
    """Checks the events of one message."""

    __slots__ = ("_is_finished", "_is_whole", "_usage", "has_content", "ran_tool")

    next_number: Final = 0
    hears_runs: Final = False

    def __init__(self) -> None:
        self._is_finished = False
        """A stop reason has come."""
        self._is_whole = False
        self._usage: JsonObject = {}
        self.ran_tool = False
        """A tool has run upstream, or begun to."""
        self.has_content = False

    def see(self, data: JsonObject) -> None:
        """Check the next event. Raises UpstreamError if it is an error or comes too early."""
        kind = word(data)
        if kind == _DELTA:
            if not self.has_content:
                self.has_content = _has_text(data)
        elif kind == "content_block_start":
            block = data.get("content_block")
            if isinstance(block, dict):
                type_ = word(block)
                self.ran_tool = self.ran_tool or type_ in _HOSTED_BLOCKS
                self.has_content = self.has_content or type_ in _TOOL_BLOCKS or bool(block.get("text"))
        elif kind == "message_delta":
            delta = data.get("delta")
            if isinstance(delta, dict) and isinstance(delta.get("stop_reason"), str):
                self._is_finished = True
            self._note(data.get("usage"))
        elif kind == "message_stop":
            if not self._is_finished:
                raise no_answer()
            self._is_whole = True
        elif kind == "message_start":
            message = data.get("message")
            if isinstance(message, dict):
                self._note(message.get("usage"))
        if "error" in data or kind == "error":
            _raise_error(data)

    def skip(self, run: bytes) -> None:
        """Do nothing: a run has no stop reason."""

    def _note(self, usage: Json) -> None:
        if isinstance(usage, dict):
            self._usage |= {name: count for name, count in usage.items() if count is not None}

    @property
    def tokens(self) -> dict[str, int] | None:
        """The newest token counts; those of `message_delta` are of the whole message."""
        return message_tokens(self._usage) if self._usage else None

    @property
    def is_whole(self) -> bool:
        """`message_stop` has come, after a stop reason."""
        return self._is_whole


def _has_text(data: JsonObject) -> bool:
    """Tell whether a delta of a block has content."""
    delta = data.get("delta")
    return isinstance(delta, dict) and bool(delta.get(_CONTENT_FIELDS.get(word(delta), "")))


def message_tokens(usage: JsonObject) -> dict[str, int]:
    """Return the token counts of Anthropic's usage, whose input leaves out what was read from or put into a cache."""
    cached, written = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    found = counts(prompt=usage.get("input_tokens"), completion=usage.get("output_tokens"), cached=cached or None)
    if "prompt" in found:
        found["prompt"] += sum(counts(cached=cached, written=written).values())
    return found


def _raise_error(data: JsonObject) -> None:
    """Raise UpstreamError if a body or an event is an error."""
    if data.get("type") == "error" and not data.get("error"):
        raise no_answer()
    if "error" in data:
        raise_error(data)


def _block_events(index: int, block: Json) -> list[JsonObject]:
    """Return a content block as events. One of an unknown type is whole in its first event. Raises UpstreamError."""
    if not isinstance(block, dict):
        raise no_answer()
    begun, deltas = block, list[JsonObject]()
    match block.get("type"):
        case "text":
            begun = {**block, "text": ""}
            deltas = [{"type": "text_delta", "text": block.get("text", "")}]
        case "thinking":
            begun = {**block, "thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block.get("thinking", "")},
                {"type": "signature_delta", "signature": block.get("signature", "")},
            ]
        case "tool_use" | "server_tool_use":
            begun = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": encode_json(block.get("input", {})).decode()}]
    return [
        {"type": "content_block_start", "index": index, "content_block": begun},
        *({"type": _DELTA, "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _block_bytes(block: Json) -> int:
    """Return the bytes of what the model wrote in a content block. Results of tools are none of it."""
    if not isinstance(block, dict):
        return 0
    kind = word(block)
    if kind in _TOOL_BLOCKS:
        return text_size(block.get("name")) + value_size(block.get("input"))
    return text_size(block.get("content" if kind == "compaction" else "thinking" if kind == "thinking" else "text"))


def _words(value: Json) -> int:
    """Count tokens roughly, in all texts of messages or of a system prompt."""
    if isinstance(value, list):
        return sum(map(_words, value))
    if isinstance(value, dict):
        return sum(_words(value.get(name)) for name in ("content", "text", "input"))
    return words_in(value)
