"""Chat completions: `POST /v1/chat/completions`, plain and as a stream.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from types import MappingProxyType
from typing import Final

from gateway.adapters.base import Bonds
from gateway.adapters.events import Event
from gateway.errors import BadRequest
from gateway.operations.base import (
    HELLO,
    OpenAIOperation,
    check_choices,
    check_stream_fields,
    choices_of,
    first_choice,
    is_long_list,
    last_said,
    messages_of,
    text_of,
    usage_of,
    words_in,
)
from gateway.operations.content import opening
from gateway.operations.google_files import google_bonds
from gateway.wire.json import Json, JsonObject
from gateway.wire.multipart import Form

_CONTENT_KEYS: Final = ("content", "reasoning_content", "reasoning", "tool_calls", "function_call", "refusal", "audio")
"""Fields of a delta that carry content: text, reasoning, a tool call, a refusal, audio."""


class Chat(OpenAIOperation):
    """Chat completions."""

    name: Final = "chat"
    wire: Final = "chat"
    path: Final = "/chat/completions"
    generates_text = True
    usage_on_demand = True
    field: Final = "messages"
    params: Final = frozenset(
        {
            "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
            "max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "moderation", "n",
            "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options",
            "prompt_cache_retention", "reasoning_effort", "response_format", "safety_identifier", "seed",
            "service_tier", "stop", "store", "stream_options", "temperature", "tool_choice", "tools", "top_k",
            "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
        }
    )  # fmt: skip
    example = MappingProxyType({"messages": [*HELLO]})
    id_prefix = "chatcmpl-"
    streams = True
    read_fields = ("messages", "tools", "functions")
    limit_fields = ("max_completion_tokens", "max_tokens")
    part_kinds = MappingProxyType({"image_url": "images", "input_audio": "audio", "file": "files"})

    def check(self, body: JsonObject) -> None:
        """Raise BadRequest for a request that no upstream could accept. Upstreams check the details."""
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            if is_long_list(messages):  # its items are left to the upstream
                check_stream_fields(body)
                return
            raise BadRequest("messages must be a non-empty list", param="messages")
        for position, message in enumerate(messages):
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                raise BadRequest(f"messages[{position}] must be an object with a role", param="messages")
        check_stream_fields(body)

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless a choice has a message and a finish reason, even with empty text."""
        check_choices(data, "message", dict)

    def has_content(self, choice: JsonObject) -> bool:
        """Tell whether a choice of an event carries content."""
        delta = choice.get("delta")
        return isinstance(delta, dict) and (bool(delta.get("content")) or any(map(delta.get, _CONTENT_KEYS)))

    def is_own(self, choice: JsonObject) -> bool:
        """Tell whether a choice of an event has this operation's shape."""
        return isinstance(choice.get("delta"), dict)

    def lone_text(self, choice: JsonObject) -> tuple[str, Json]:
        """Return the name of the text field in an event's choice, and the text."""
        delta = choice.get("delta")
        return "content", delta.get("content") if isinstance(delta, dict) else None

    def as_events(self, data: JsonObject) -> list[Event]:
        """Return a plain reply as the one event of a stream."""
        choices = [
            {**_without(choice, "message"), "delta": _delta(choice.get("message"))} for choice in choices_of(data)
        ]
        return [Event({**data, "object": "chat.completion.chunk", "choices": choices})]

    def media(self, params: Mapping[str, Json], form: Form | None) -> Generator[None, None, frozenset[str]]:
        """Return which of the three the messages have; `audio` also where the answer is to be spoken."""
        found = yield from super().media(params, form)
        modalities = params.get("modalities")
        is_spoken = bool(params.get("audio")) or (isinstance(modalities, list) and "audio" in modalities)
        return found | {"audio"} if is_spoken else found

    def bound_to(self, params: Mapping[str, Json]) -> Bonds:
        """Return what binds the request: files that an account of Gemini's keeps, or a cache of it."""
        return google_bonds(params, "messages")

    def opening(self, params: Mapping[str, Json]) -> bytes:
        """Return a checksum of the beginnings of system prompt, tools and first user message."""
        return opening(tools=params.get("tools") or params.get("functions"), messages=params.get("messages"))

    # For the mock and the simulation

    def prompt(self, params: Mapping[str, Json]) -> str:
        """Return the text of the last user message."""
        return last_said(params)

    def reply(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return a reply with `text`."""
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return {"object": "chat.completion", "choices": [choice], "usage": self.usage(text, params)}

    def event(self, text: str, finish_reason: str | None = None, *, first: bool = False) -> JsonObject:
        """Return an event with `text`, with the finish reason, or with the role if it is the `first`."""
        delta = {"role": "assistant", "content": ""} if first else {"content": text} if text else {}
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return {"object": "chat.completion.chunk", "choices": [choice]}

    def usage(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return rough token counts."""
        return usage_of(
            sum(words_in(text_of(message.get("content"))) for message in messages_of(params)), words_in(text)
        )

    def text(self, data: JsonObject) -> str | None:
        """Return the text of a reply's or an event's first choice; None if it has none."""
        choice = first_choice(data)
        said = choice.get("message") or choice.get("delta")
        content = said.get("content") if isinstance(said, dict) else None
        return content if isinstance(content, str) else None


def _delta(message: Json) -> Json:
    """Return a message as a delta: there tool calls have an index."""
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    if not isinstance(calls, list):
        return message
    numbered = [{"index": index, **call} if isinstance(call, dict) else call for index, call in enumerate(calls)]
    return {**message, "tool_calls": numbered}


def _without(data: JsonObject, name: str) -> JsonObject:
    return {key: value for key, value in data.items() if key != name}
