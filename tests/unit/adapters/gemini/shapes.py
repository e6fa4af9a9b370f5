"""Parts of Gemini's answers."""

from __future__ import annotations

from itertools import count
from typing import Any, Final

from gateway.adapters import gemini
from gateway.wire.json import Json, JsonObject

SIGNATURE: Final = "c2ln+bmVk/w="
IN_ID: Final = "c2ln-bmVk_w"
"""The signature as a part of an id."""
USAGE: Final = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}


def text(value: str, **more: Json) -> JsonObject:
    return {"text": value, **more}


def called(
    name: str = "weather", call_id: str | None = None, signature: str | None = None, **given: Json
) -> JsonObject:
    function: JsonObject = {"name": name, "args": given}
    if call_id is not None:
        function["id"] = call_id
    return {"functionCall": function, **({} if signature is None else {"thoughtSignature": signature})}


def candidate(*parts: JsonObject, finish: Json = None, **more: Json) -> JsonObject:
    found: JsonObject = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **more}
    return found if finish is None else {**found, "finishReason": finish}


def answered(*candidates: JsonObject, usage: Json = None, **more: Json) -> JsonObject:
    """Return an answer, or an event, which has the same shape."""
    return {
        "candidates": list(candidates),
        "usageMetadata": dict(USAGE) if usage is None else usage,
        "modelVersion": "gemini-3-pro",
        "responseId": "resp_1",
        **more,
    }


def said(*parts: JsonObject, finish: Json = "STOP", **more: Json) -> JsonObject:
    """Return an answer with one candidate."""
    return answered(candidate(*parts, finish=finish, **more))


def piece(*parts: JsonObject, **more: Json) -> JsonObject:
    """Return an event that does not end its candidate."""
    return answered(candidate(*parts, **more))


def read(data: JsonObject) -> JsonObject:
    """Return an answer as a chat reply."""
    return gemini.answer(data, model="gemini-x", created=1, new_id=lambda: "0" * 32)


def machine() -> gemini.Events:
    """Return a machine whose ids are told apart."""
    serial = count(1)
    return gemini.Events(model="gemini-x", created=1, new_id=lambda: f"{next(serial):032x}")


def chunks_of(events: list[JsonObject]) -> list[JsonObject]:
    """Return the chunks of a whole stream."""
    made = machine()
    return [chunk for event in events for chunk in made.feed(event)] + made.end()


def message_of(data: JsonObject) -> JsonObject:
    """Return the message of an answer's first choice."""
    found: JsonObject = read(data)["choices"][0]["message"]
    return found


def body(*messages: Any, **params: Json) -> JsonObject:
    """Return a chat request."""
    return {"model": "gemini-2.5-flash", "messages": list(messages), **params}
