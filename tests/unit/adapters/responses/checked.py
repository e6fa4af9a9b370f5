"""What OpenAI's own client says of Responses and their events, and chat chunks to make them of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.adapters.responses import Asked, Events, request
from gateway.wire.json import JsonObject

_EVENT: Final[TypeAdapter[Any]] = TypeAdapter(ResponseStreamEvent)
CODEX: Final = Path(__file__).with_name("codex")
"""Bodies that Codex CLI 0.171 sent, the third of a session each; long texts are cut."""


def codex(name: str) -> JsonObject:
    """Return a body of Codex."""
    body: JsonObject = json.loads((CODEX / f"{name}.json").read_text(encoding="utf-8"))
    return body


def checked_response(data: JsonObject) -> Response:
    """Return the client's own object. Raises ValidationError for a field of another type than it expects."""
    return Response.model_validate(data)


def checked_events(events: Iterable[JsonObject]) -> list[Any]:
    """Return the client's own objects. Raises ValidationError."""
    return [_EVENT.validate_python(event) for event in events]


def asked(**params: object) -> Asked:
    """Return what an answer needs to know of a request with these fields."""
    return request({"input": "hi", **params}, stream=True)[1]


def chunk(
    content: object = None, *, finish: str | None = None, usage: JsonObject | None = None, **delta: object
) -> JsonObject:
    """Return a chunk of a chat stream."""
    said = {**delta} if content is None else {"content": content, **delta}
    data: JsonObject = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m-1"}
    data["choices"] = [{"index": 0, "delta": said, "finish_reason": finish}]
    return data if usage is None else {**data, "usage": usage}


def call(index: int, arguments: str = "", **more: object) -> JsonObject:
    """Return a delta of a tool call; with `name` and `id` it is the first."""
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return {"index": index, "function": function, **more}


def usage_chunk(prompt: int = 7, completion: int = 5, **more: object) -> JsonObject:
    """Return the chunk with the token counts."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}
    return {**chunk(), "choices": [], "usage": usage}


def played(chunks: Iterable[JsonObject], asked_: Asked | None = None) -> list[JsonObject]:
    """Return all events of a stream, each checked."""
    events = Events(asked_ or asked(), serial="s", now=1700000001)
    told = [event for data in chunks for event in events.feed(data)]
    told += events.end(now=1700000002)
    checked_events(told)
    return told


def types(events: Iterable[JsonObject]) -> list[str]:
    """Return the events' types without the `response.` before them."""
    return [event["type"].removeprefix("response.") for event in events]
