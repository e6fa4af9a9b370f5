"""OpenAI's Responses: plain, as a stream, its sub-resources, counting and compacting.

https://platform.openai.com/docs/api-reference/responses and .../responses-streaming
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Final

from tests.wires.play import EVENT_STREAM, TEXT, Answer, Play, WireRequest, in_json, named_event, openai_error

USAGE: Final = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 12,
}
_SERIAL: Final = count(1)


class Store:
    """The responses that an account has made, by id."""

    def __init__(self) -> None:
        self._made: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, Any] = {}

    def create(self, request: WireRequest, play: Play) -> Answer:
        """Answer `POST /responses`."""
        previous = request.field("previous_response_id")
        if previous is not None and previous not in self._made:
            return _missing(previous)
        made = response(request, play)
        if request.field("store") is not False:
            self._made[made["id"]] = made
            self._asked[made["id"]] = request.field("input")
        if not request.stream:
            return in_json(made)
        parts = list(map(named_event, events(made)))
        error = named_event(error_event(play, sequence_number=play.error_after or 0))
        return Answer(parts=parts, content_type=EVENT_STREAM, error_part=error)

    def read(self, request: WireRequest, play: Play) -> Answer:
        """Answer `GET /responses/{id}`, also as a stream."""
        if (made := self._made.get(_id(request, 1))) is None:
            return _missing(_id(request, 1))
        if request.query.get("stream") != "true":
            return in_json(made)
        after = int(request.query.get("starting_after", "-1"))
        left = [event for event in events(made) if event["sequence_number"] > after]
        return Answer(parts=list(map(named_event, left)), content_type=EVENT_STREAM)

    def delete(self, request: WireRequest, play: Play) -> Answer:
        """Answer `DELETE /responses/{id}`."""
        name = _id(request, 1)
        if self._made.pop(name, None) is None:
            return _missing(name)
        return in_json({"id": name, "object": "response", "deleted": True})

    def cancel(self, request: WireRequest, play: Play) -> Answer:
        """Answer `POST /responses/{id}/cancel`."""
        if (made := self._made.get(_id(request, 2))) is None:
            return _missing(_id(request, 2))
        made["status"] = "cancelled"
        return in_json(made)

    def input_items(self, request: WireRequest, play: Play) -> Answer:
        """Answer `GET /responses/{id}/input_items`."""
        if _id(request, 2) not in self._made:
            return _missing(_id(request, 2))
        asked = self._asked[_id(request, 2)]
        text = asked if isinstance(asked, str) else "hello"
        item = {
            "id": "msg_in", "type": "message", "role": "user", "status": "completed",
            "content": [{"type": "input_text", "text": text}],
        }  # fmt: skip
        return in_json({"object": "list", "data": [item], "first_id": "msg_in", "last_id": "msg_in", "has_more": False})


def count_tokens(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /responses/input_tokens`."""
    return in_json({"object": "response.input_tokens", "input_tokens": len(request.raw) // 4})


def compact(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /responses/compact`."""
    output = [{"id": "cmp_1", "type": "compaction", "encrypted_content": "sealed"}]
    return in_json(
        {"id": "resp_c1", "object": "response.compaction", "created_at": 1_700_000_000, "output": output,
         "usage": play.usage or USAGE}
    )  # fmt: skip


def response(request: WireRequest, play: Play) -> dict[str, Any]:
    """Return a whole response, as its `status` says it ended."""
    serial, status = next(_SERIAL), play.stop or "completed"
    made = {
        "id": f"resp_{serial:032x}",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "background": request.field("background") is True,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": request.field("instructions"),
        "max_output_tokens": request.field("max_output_tokens"),
        "model": request.model,
        "output": [] if status in ("queued", "in_progress") else output(play, serial, sealed=_is_sealed(request)),
        "parallel_tool_calls": True,
        "previous_response_id": request.field("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": request.field("store") is not False,
        "temperature": 1.0,
        "text": request.field("text") or {"format": {"type": "text"}},
        "tool_choice": request.field("tool_choice") or "auto",
        "tools": request.field("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": dict(play.usage or USAGE),
        "metadata": request.field("metadata") or {},
    }
    if status == "failed":
        made["error"] = {"code": "server_error", "message": "scripted error", **play.error}
    return made


def _is_sealed(request: WireRequest) -> bool:
    """Tell whether the client keeps the reasoning itself, as Codex CLI does."""
    return "reasoning.encrypted_content" in (request.field("include") or ())


def output(play: Play, serial: int = 1, *, sealed: bool = False) -> list[dict[str, Any]]:
    """Return the items of an answer."""
    items: list[dict[str, Any]] = []
    if play.thinking is not None:
        summary = [{"type": "summary_text", "text": play.thinking}]
        encrypted = {"encrypted_content": f"sealed-{serial}"} if sealed else {}
        items.append({"id": f"rs_{serial}", "type": "reasoning", "summary": summary, **encrypted})
    if play.refusal is not None:
        items.append(_message(serial, {"type": "refusal", "refusal": play.refusal}))
    elif not play.tools or play.text != TEXT:
        items.append(_message(serial, {"type": "output_text", "text": play.text, "annotations": [], "logprobs": []}))
    items += [
        {
            "id": f"fc_{serial}_{tool.id}", "type": "function_call", "status": "completed", "call_id": tool.id,
            "name": tool.name, "arguments": tool.text,
        }
        for tool in play.tools
    ]  # fmt: skip
    return items


def _message(serial: int, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_{serial}", "type": "message", "status": "completed", "role": "assistant", "content": [content]
    }  # fmt: skip


def events(made: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events in which a response is told, numbered."""
    begun = {**made, "status": "in_progress", "output": [], "usage": None, "error": None, "incomplete_details": None}
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(made["output"]):
        told += _item_events(item, index)
    told.append({"type": f"response.{made['status']}", "response": made})
    return [{**event, "sequence_number": number} for number, event in enumerate(told)]


def _item_events(item: dict[str, Any], index: int) -> Sequence[dict[str, Any]]:
    place = {"output_index": index, "item_id": item["id"]}
    empty: dict[str, dict[str, Any]] = {
        "message": {"content": []},
        "reasoning": {"summary": []},
        "function_call": {"arguments": ""},
    }
    begun = {**item, **empty[item["type"]]} | ({"status": "in_progress"} if "status" in item else {})
    inner: list[dict[str, Any]] = []
    if item["type"] == "message":
        inner = _content_events(item["content"][0], {**place, "content_index": 0})
    elif item["type"] == "reasoning":
        at, text = {**place, "summary_index": 0}, item["summary"][0]["text"]
        kind = "response.reasoning_summary"
        part = {"type": "summary_text", "text": text}
        inner = [
            {"type": f"{kind}_part.added", **at, "part": {**part, "text": ""}},
            *({"type": f"{kind}_text.delta", **at, "delta": word} for word in Play(text=text).words),
            {"type": f"{kind}_text.done", **at, "text": text},
            {"type": f"{kind}_part.done", **at, "part": part},
        ]
    else:
        kind, text = "response.function_call_arguments", item["arguments"]
        pieces = [text[start : start + 8] for start in range(0, len(text), 8)]
        inner = [
            *({"type": f"{kind}.delta", **place, "delta": piece} for piece in pieces),
            {"type": f"{kind}.done", **place, "name": item["name"], "arguments": text},
        ]
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        *inner,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _content_events(part: dict[str, Any], at: dict[str, Any]) -> list[dict[str, Any]]:
    key = "text" if part["type"] == "output_text" else "refusal"
    beside: dict[str, Any] = {"logprobs": []} if key == "text" else {}
    kind = f"response.{part['type']}"
    words = Play(text=part[key]).words
    return [
        {"type": "response.content_part.added", **at, "part": {**part, key: ""}},
        *({"type": f"{kind}.delta", **at, "delta": word, **beside} for word in words),
        {"type": f"{kind}.done", **at, key: part[key], **beside},
        {"type": "response.content_part.done", **at, "part": part},
    ]


def error_event(play: Play, *, sequence_number: int) -> dict[str, Any]:
    """Return the event that tells an error in band: its fields stand at the top."""
    return {
        "type": "error", "code": "server_error", "message": "scripted error", "param": None, **play.error,
        "sequence_number": sequence_number,
    }  # fmt: skip


def _id(request: WireRequest, from_end: int) -> str:
    return request.path.split("/")[-from_end]


def _missing(name: str) -> Answer:
    error = {"message": f"Response with id '{name}' not found.", "type": "invalid_request_error"}
    return in_json(openai_error(Play(error=error)), status=404)
