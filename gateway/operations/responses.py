"""OpenAI's Responses: `POST /v1/responses`, plain and as a stream, and what counts and compacts its input.

Source: https://platform.openai.com/docs/api-reference/responses and its `responses-streaming`
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from gateway.adapters.base import Bonds
from gateway.adapters.counts import counts, with_total
from gateway.adapters.events import Event, StreamJudge
from gateway.errors import BadRequest
from gateway.operations.base import (
    OpenAIOperation,
    check_stream_fields,
    is_text_to_judge,
    last_said,
    objects,
    raise_error,
    word,
    words_in,
)
from gateway.operations.bonds import made_by_item, made_by_response, response_bonds
from gateway.operations.content import opening
from gateway.operations.google_files import google_bonds
from gateway.operations.written import text_size, value_size
from gateway.policy.failures import UpstreamError, failed_by, no_answer
from gateway.wire import sse
from gateway.wire.json import Json, JsonObject, RawJson, encode_json

_ENDS: Final[Mapping[str, str]] = {"response.completed": "completed", "response.incomplete": "incomplete"}
"""Events that end a whole stream → the status of their response."""
_NOT_WHOLE: Final = frozenset({"in_progress", "queued", "cancelled"})
_ANSWERS: Final = _NOT_WHOLE | {"completed", "incomplete"}
"""Statuses of a plain answer; a background response is not completed yet."""
_NUMBER: Final = re.compile(rb'"sequence_number": ?([0-9]{1,16})')
_DELTA: Final = ".delta"
"""End of the types of events that are content unless their delta is empty."""
_CONTENT: Final = (".partial_image", "_command.added", ".compacting")
"""Ends of the types of other events that are content; `compacting` tells that a part of a summary was written."""
_HAS_ITEM: Final = "response.output_item.done"
_BEGINS_ITEM: Final = "response.output_item.added"
_WRITTEN_FIELDS: Final = ("name", "arguments", "input", "code", "action", "actions", "operation", "queries")
"""Fields of items that the model wrote, beside their texts: those of calls of tools, its own and hosted ones."""
_KEPT: Final = ("store", "background")
"""Fields that have the upstream keep or go on with a response, if they are true."""
_HOSTED_CALL: Final = "_call."
"""In the types of events of a tool that runs upstream: it may have effects, so nothing is asked twice."""

_PARAMS: Final = frozenset(
    {
        "access_programs", "background", "background_options", "context_management", "conversation", "image", "include",
        "input", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "moderation", "parallel_tool_calls",
        "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
        "reasoning", "safety_identifier", "service_tier", "store", "stream_options", "temperature", "text",
        "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
    }
)  # fmt: skip


class _ResponsesOperation(OpenAIOperation):
    """What the operations of the Responses wire have in common."""

    wire: Final = "responses"
    field: Final = None
    params = _PARAMS
    can_bind = True
    example = MappingProxyType({"input": "hello"})
    read_fields = ("instructions", "input", "tools")
    limit_fields = ("max_output_tokens",)
    part_kinds = MappingProxyType(
        {
            "input_image": "images", "computer_screenshot": "images", "input_audio": "audio", "input_file": "files",
        }
    )  # fmt: skip

    def check(self, body: JsonObject) -> None:
        """Raise BadRequest for a request that no upstream could accept. Upstreams check the details."""
        given = body.get("input")
        if given is not None and not isinstance(given, str | list | RawJson):
            raise BadRequest("input must be a string or a list", param="input")
        check_stream_fields(body)

    def bound_to(self, params: Mapping[str, Json]) -> Bonds:
        """Return what binds the request: ids of responses, conversations, items, files, containers; encrypted content.

        An item's own `id` does not: clients make such ids themselves.
        """
        found = yield from response_bonds(params)
        return [*found, *(yield from google_bonds(params, "input"))]

    def made(self, data: JsonObject) -> Iterable[str]:
        """Return the ids of a response, or of what an event tells of."""
        kind = data.get("type")
        if kind is None:
            return made_by_response(data)
        if kind == _HAS_ITEM:
            # Whether the response, and so its items, are kept comes with the last event.
            return made_by_item(data.get("item"), is_kept=False)
        response = data.get("response")
        return made_by_response(response) if isinstance(response, dict) else ()

    def opening(self, params: Mapping[str, Json]) -> bytes:
        """Return a checksum of the beginnings of instructions, tools and first user message."""
        return opening(system=params.get("instructions"), tools=params.get("tools"), messages=params.get("input"))

    def tokens(self, data: JsonObject) -> dict[str, int] | None:
        """Return the token counts of a response; None if it has none."""
        usage = data.get("usage")
        return response_tokens(usage) if isinstance(usage, dict) and usage else None


class Responses(_ResponsesOperation):
    """Responses."""

    name: Final = "responses"
    path: str = "/responses"
    generates_text = True
    streams = True
    stream_end = b""

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless this is a response that did not fail."""
        if data.get("error") or data.get("status") == "failed":
            raise _failure(data)
        status = word(data, "status") if "status" in data else "completed"
        if not isinstance(data.get("output"), list) or status not in _ANSWERS:
            raise no_answer()

    def asked_once(self, judge: StreamJudge, params: Mapping[str, Json], overrides: Mapping[str, Json]) -> str:
        """Return why not again: a hosted tool ran, or the request writes that the response is kept or goes on.

        An upstream that told the failure itself has ended the response.
        """
        if not isinstance(judge, ResponsesJudge) or judge.has_failed:
            return ""
        if judge.ran_tool:
            return "a hosted tool ran upstream"
        written = next((name for name in _KEPT if overrides.get(name, params.get(name)) is True), None)
        return "" if written is None else f"the request says {written}: true"

    def judge(self, *, one_choice: bool = False) -> ResponsesJudge:
        """Return a judge of the events of a response."""
        return ResponsesJudge()

    def varying(self, data: JsonObject) -> Mapping[str, Json] | None:
        """Return the number, the text and the padding of a delta."""
        if not word(data).endswith(_DELTA) or not data.get("delta"):
            return None
        return {name: data[name] for name in ("sequence_number", "delta", "obfuscation") if name in data}

    def is_last(self, event: Event) -> bool:
        """Tell whether this ends the response."""
        return event.data is not None and word(event.data) in _ENDS

    def is_text_event(self, data: JsonObject) -> bool:
        """Tell whether an event carries content."""
        if word(data).endswith(_DELTA) and data.get("delta"):
            return True
        return not self.is_final_event(data) and is_text_to_judge(self, data)

    def is_final_event(self, data: JsonObject) -> bool:
        """Tell whether this ends the response, token counts included."""
        return word(data) in _ENDS

    def is_answer(self, data: JsonObject) -> bool:
        """Tell whether a body is a response that has ended."""
        return data.get("object") == "response" and word(data, "status") not in _NOT_WHOLE

    def as_events(self, data: JsonObject) -> list[Event]:
        """Return a response as the events of a whole stream."""
        status = data.get("status", "completed")
        events: list[JsonObject] = [
            {"type": "response.created", "response": {**data, "status": "in_progress", "output": [], "usage": None}}
        ]
        for index, item in enumerate(objects(data["output"])):
            events += _item_events(index, item)
        end = "response.incomplete" if status == "incomplete" else "response.completed"
        events.append({"type": end, "response": data})
        return [
            Event({**event, "sequence_number": number}, name=event["type"].encode())
            for number, event in enumerate(events)
        ]

    def break_event(self, envelope: JsonObject, number: int) -> bytes:
        """Return an `error` event. OpenAI's SDKs raise for the `error` in it, others read the fields beside."""
        error = envelope["error"]
        event = {
            "type": "error", "code": error.get("code"), "message": error.get("message"), "param": error.get("param"),
            "sequence_number": number, "error": error,
        }  # fmt: skip
        return sse.encode(encode_json(event), name=b"error")

    def prompt(self, params: Mapping[str, Json]) -> str:
        """Return the input, or the text of its last user message."""
        given = params.get("input")
        return given if isinstance(given, str) else last_said({"messages": given})

    def text(self, data: JsonObject) -> str | None:
        """Return the text of a response or a delta; None if it has none."""
        if isinstance(delta := data.get("delta"), str):
            return delta
        texts = [
            word(part, "text")
            for item in objects(data.get("output"))
            for part in objects(item.get("content"))
            if part.get("type") == "output_text"
        ]
        return "".join(texts) if texts else None

    def written_bytes(self, data: JsonObject) -> int:
        """Return the bytes of what the model wrote in a response, a delta, or the first event of an item."""
        kind = word(data)
        if kind.endswith(_DELTA):
            return text_size(data.get("delta"))
        items = [data.get("item")] if kind == _BEGINS_ITEM else data.get("output")
        return sum(map(_item_bytes, objects(items)))


class InputTokens(_ResponsesOperation):
    """Counting the tokens of an input, which is free upstream."""

    name: Final = "input_tokens"
    path: Final = "/responses/input_tokens"
    only_counts = True

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless there is a count."""
        if data.get("error"):
            raise_error(data)
        if type(data.get("input_tokens")) is not int:
            raise no_answer()

    def reply(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return a rough count."""
        words = words_in(params.get("input")) + words_in(params.get("instructions"))
        return {"object": "response.input_tokens", "input_tokens": words}


class Compact(_ResponsesOperation):
    """Compacting a conversation."""

    name: Final = "compact"
    path: Final = "/responses/compact"
    generates_text = True

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless there is an output."""
        if data.get("error"):
            raise_error(data)
        if not isinstance(data.get("output"), list):
            raise no_answer()

    def reply(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return the input as it is."""
        given = params.get("input")
        return {"object": "response.compaction", "output": given if isinstance(given, list) else []}


class ResponsesJudge:
    """Checks the events of one response."""

    __slots__ = ("_is_whole", "_number", "_run", "_usage", "has_content", "has_failed", "ran_tool")

    hears_runs: Final = True

    def __init__(self) -> None:
        self._is_whole = False
        self.has_failed = False
        """An event told that the response has failed."""
        self.ran_tool = False
        """A tool has run upstream, or begun to."""
        self._usage: JsonObject | None = None
        self.has_content = False
        self._number = -1
        """Of the last event that was seen."""
        self._run = b""
        """The last run that came after it."""

    def see(self, data: JsonObject) -> None:
        """Check the next event. Raises UpstreamError if it is an error or the response has failed."""
        number = data.get("sequence_number")
        if type(number) is int:
            self._number = number
            self._run = b""
        kind = word(data)
        if kind in _ENDS:
            response = data.get("response")
            if not isinstance(response, dict):
                raise no_answer()
            if response.get("status", _ENDS[kind]) != _ENDS[kind]:
                self.has_failed = True
                raise _failure(response)
            self._is_whole = True
            usage = response.get("usage")
            self._usage = usage if isinstance(usage, dict) else None
        elif kind == "response.failed":
            self.has_failed = True
            response = data.get("response")
            raise _failure(response if isinstance(response, dict) else data)
        elif kind == "error" or data.get("error"):
            self.has_failed = True
            raise _failure(data if data.get("error") else {"error": data})
        elif not self.ran_tool:
            self.ran_tool = _HOSTED_CALL in kind
            is_content = bool(data.get("delta")) if kind.endswith(_DELTA) else kind.endswith(_CONTENT)
            self.has_content = self.has_content or self.ran_tool or is_content

    def skip(self, run: bytes) -> None:
        """Keep a run: its last event has the last number."""
        self._run = run

    @property
    def next_number(self) -> int:
        """One more than the last event's number."""
        found = _NUMBER.findall(self._run)
        return int(found[-1] if found else self._number) + 1

    @property
    def tokens(self) -> dict[str, int] | None:
        """The token counts of the last event."""
        return response_tokens(self._usage) if self._usage else None

    @property
    def is_whole(self) -> bool:
        """The response has completed, or is incomplete for a reason that it tells."""
        return self._is_whole


def response_tokens(usage: JsonObject) -> dict[str, int]:
    """Return the token counts of a response's usage."""
    details = usage.get("input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    found = counts(prompt=usage.get("input_tokens"), completion=usage.get("output_tokens"), cached=cached or None)
    return with_total(found, usage.get("total_tokens"))


def _failure(data: JsonObject) -> UpstreamError:
    """Return the failure that a response or an event tells."""
    error = data.get("error")
    return failed_by(error) if isinstance(error, dict) and error else no_answer()


def _item_bytes(item: JsonObject) -> int:
    """Return the bytes of what the model wrote in an output item. Results of tools are none of it."""
    if word(item).endswith("_output"):
        return 0
    parts = [*objects(item.get("content")), *objects(item.get("summary"))]
    texts = sum(text_size(part.get("refusal" if "refusal" in part else "text")) for part in parts)
    return texts + sum(value_size(item.get(name)) for name in _WRITTEN_FIELDS)


def _item_events(index: int, item: JsonObject) -> list[JsonObject]:
    """Return an output item as events; its texts come each in one delta."""
    parts = objects(item.get("content")) if item.get("type") == "message" else []
    begun = {**item, "content": [], "status": "in_progress"} if parts else item
    events: list[JsonObject] = [{"type": "response.output_item.added", "output_index": index, "item": begun}]
    for place, part in enumerate(parts):
        at = {"item_id": item.get("id"), "output_index": index, "content_index": place}
        kind = "output_text" if part.get("type") == "output_text" else "refusal"
        field = "text" if kind == "output_text" else "refusal"
        text = part.get(field) or ""
        begun = {**part, field: ""}
        more: JsonObject = {"logprobs": []} if kind == "output_text" else {}
        events += [
            {"type": "response.content_part.added", **at, "part": begun},
            {"type": f"response.{kind}.delta", **at, "delta": text, **more},
            {"type": f"response.{kind}.done", **at, field: text, **more},
            {"type": "response.content_part.done", **at, "part": part},
        ]
    return [*events, {"type": "response.output_item.done", "output_index": index, "item": item}]
