"""Translates a plain answer: a chat completion → a Response object. Also the parts that streams share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.adapters.counts import token_counts
from gateway.adapters.responses import compaction
from gateway.adapters.responses.asked import INPUT, Asked, Called, response
from gateway.policy.failures import WHOLE, choice_error, error_object, failed_by, no_answer
from gateway.policy.finish import is_finished
from gateway.wire.json import Json, JsonObject

_INCOMPLETE: Final[Mapping[str, str]] = MappingProxyType(
    {"length": "max_output_tokens", "content_filter": "content_filter"}
)
"""Finish reason → why a Response is incomplete. With any other it is completed."""

_ITEM_ID_PREFIX: Final[Mapping[str, str]] = MappingProxyType(
    {
        "message": "msg",
        "reasoning": "rs",
        "function_call": "fc",
        "custom_tool_call": "ctc",
        "tool_search_call": "tsc",
        compaction.ITEM: "cmp",
    }
)
_ITEM_OF_CALL: Final[Mapping[str, str]] = MappingProxyType(
    {"function": "function_call", "custom": "custom_tool_call", "search": "tool_search_call"}
)
NO_ARGUMENTS: Final = "{}"
"""The arguments of a call without any; clients parse them as JSON."""


def answer(reply: JsonObject, asked: Asked, *, serial: str, now: int) -> JsonObject:
    """Return the Response for a chat completion. Raises UpstreamError for an error and for what is no answer."""
    if "error" in reply and (error := error_object(reply)) is not None:
        raise failed_by(error)
    choice = _first(reply.get("choices"))
    message = choice.get("message")
    reason = finish_reason(choice)
    if reason is None or not isinstance(message, dict):
        raise no_answer()
    output = _output(message, choice.get("logprobs"), asked, serial)
    created = reply.get("created")
    made = response(
        asked,
        id_=f"resp_{serial}",
        created_at=created if type(created) is int else now,
        model=reply.get("model"),
        status="in_progress",
        output=output,
    )
    end(made, reason, reply, now=now)
    return made


def _output(message: JsonObject, logprobs: Json, asked: Asked, serial: str) -> list[JsonObject]:
    output: list[JsonObject] = []

    def add(kind: str, **fields: Json) -> None:
        output.append(new_item(kind, serial, len(output), **fields))

    thought, text = split_content(message.get("content"))
    if asked.compacts:
        return [summary_item(text, serial)]
    if reasoning := reasoning_in(message) or thought:
        add("reasoning", **reasoning_fields(asked, reasoning), status="completed")
    if parts := _parts(message, text, logprobs):
        add("message", role="assistant", content=parts, status="completed")
    calls = message.get("tool_calls") or []
    for number, call in enumerate(calls if isinstance(calls, list) else [calls]):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(name := function.get("name"), str) or not name:
            raise no_answer()
        called = asked.called(name)
        given = _as_text(call.get("id")) or f"call_{serial}_{number}"
        fields = call_fields(called, given, input_of(called, _as_text(function.get("arguments"))))
        add(_ITEM_OF_CALL[called.kind], **fields)
    if not output:
        add("message", role="assistant", content=[text_part("")], status="completed")
    return output


def summary_item(text: str, serial: str) -> JsonObject:
    """Return the item of a compaction. Raises UpstreamError without a text, since it would replace all that was."""
    if not text.strip():
        raise no_answer()
    return new_item(compaction.ITEM, serial, 0, encrypted_content=compaction.encoded(text))


def end(made: JsonObject, reason: str, told: Mapping[str, Json], *, now: int) -> None:
    """Write into a Response how it ended; `told` has the upstream's `usage` and `service_tier`."""
    if (why := _INCOMPLETE.get(reason)) is None:
        made["status"] = "completed"
        made["completed_at"] = now
    else:
        made["status"] = "incomplete"
        made["incomplete_details"] = {"reason": why}
        if made["output"] and "status" in (last := made["output"][-1]):
            last["status"] = "incomplete"
    made["usage"] = usage(told.get("usage"))
    if isinstance(tier := told.get("service_tier"), str):
        made["service_tier"] = tier


def is_incomplete(reason: str) -> bool:
    """Tell whether an answer with this finish reason is incomplete."""
    return reason in _INCOMPLETE


def finish_reason(choice: JsonObject) -> str | None:
    """Return a choice's finish reason; None if it has none. Raises UpstreamError if the choice failed."""
    reason = choice.get("finish_reason")
    if type(reason) is str and reason in WHOLE and "error" not in choice and "provider_specific_fields" not in choice:
        return reason
    if (error := choice_error(choice)) is not None:
        raise failed_by(error)
    return str(reason) if is_finished(choice) else None


def new_item(kind: str, serial: str, position: int, **fields: Json) -> JsonObject:
    """Return an output item."""
    return {"id": item_id(kind, serial, position), "type": kind, **fields}


def item_id(kind: str, serial: str, position: int) -> str:
    """Return the id of an output item: the same whenever it is made of the same answer."""
    return f"{_ITEM_ID_PREFIX[kind]}_{serial}_{position}"


def item_of_call(called: Called) -> str:
    """Return the type of the output item for a call of this tool."""
    return _ITEM_OF_CALL[called.kind]


def call_fields(called: Called, call_id: Json, value: Json, *, status: str = "completed") -> JsonObject:
    """Return the fields of an item for a call; `value` is its arguments or its input."""
    if called.kind == "search":
        return {"call_id": call_id, "execution": "client", "arguments": value, "status": status}
    fields: JsonObject = {"call_id": call_id, "name": called.name, "status": status}
    if called.namespace is not None:
        fields["namespace"] = called.namespace
    fields["input" if called.kind == "custom" else "arguments"] = value
    return fields


def input_of(called: Called, arguments: str) -> Json:
    """Return what a client's tool gets of a chat function's arguments: they themselves, an object, or free text."""
    if called.kind == "function":
        return arguments or NO_ARGUMENTS
    try:
        value: Json = json.loads(arguments, strict=False)  # some models write line breaks as they are
    except (ValueError, RecursionError):
        value = None
    if called.kind == "search":
        return value if isinstance(value, dict) else {}
    text = value.get(INPUT) if isinstance(value, dict) else None
    # A model that knows the tool may write its input without the JSON around it.
    return text if isinstance(text, str) else arguments


def reasoning_in(said: JsonObject) -> str:
    """Return the reasoning of a message or a delta: DeepSeek's field, or vLLM's and OpenRouter's."""
    text = said.get("reasoning_content") or said.get("reasoning")
    return text if isinstance(text, str) else ""


def reasoning_fields(asked: Asked, text: str) -> JsonObject:
    """Return the parts of a reasoning item."""
    if asked.summarizes:
        return {"summary": [{"type": "summary_text", "text": text}]}
    return {"summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def split_content(content: Json) -> tuple[str, str]:
    """Return the reasoning and the text of a message's or a delta's `content`, which Mistral sends in parts.

    Source: https://docs.mistral.ai/capabilities/reasoning/
    """
    if isinstance(content, str):
        return "", content
    thought, text = "", ""
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict):
            if part.get("type") == "thinking":
                thought += split_content(part.get("thinking"))[1]
            else:
                text += _as_text(part.get("text"))
    return thought, text


def text_part(text: str, annotations: list[JsonObject] | None = None) -> JsonObject:
    """Return a message's text part."""
    return {"type": "output_text", "text": text, "annotations": annotations or [], "logprobs": []}


def annotations_in(said: JsonObject) -> list[JsonObject]:
    """Return the citations of a message or a delta in the Responses' shape."""
    found = said.get("annotations")
    cited = [annotation.get("url_citation") for annotation in _objects(found)]
    return [
        {
            "type": "url_citation",
            "url": _as_text(citation.get("url")),
            "title": _as_text(citation.get("title")),
            "start_index": _count(citation, "start_index"),
            "end_index": _count(citation, "end_index"),
        }
        for citation in _objects(cited)
    ]


def logprobs_in(logprobs: Json, *, whole: bool) -> list[JsonObject]:
    """Return the log probabilities of a text: `whole` ones, or those of an event, which have no `bytes`."""
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    return [_logprob(token, whole=whole) for token in _objects(tokens)]


def _logprob(token: JsonObject, *, whole: bool) -> JsonObject:
    tops = [_token(top, whole=whole) for top in _objects(token.get("top_logprobs"))]
    return {**_token(token, whole=whole), "top_logprobs": tops}


def _objects(values: Json) -> list[JsonObject]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _token(token: JsonObject, *, whole: bool) -> JsonObject:
    logprob, data = token.get("logprob"), token.get("bytes")
    said: JsonObject = {
        "token": _as_text(token.get("token")),
        "logprob": logprob if isinstance(logprob, int | float) else 0.0,
    }
    if whole:
        said["bytes"] = [byte for byte in data if type(byte) is int] if isinstance(data, list) else []
    return said


def usage(told: Json) -> JsonObject | None:
    """Return the token counts of a Response; None if the upstream told none."""
    if not isinstance(told, dict):
        return None
    counted = token_counts(told)
    given, made = counted.get("prompt", 0), counted.get("completion", 0)
    inputs, outputs = told.get("prompt_tokens_details"), told.get("completion_tokens_details")
    return {
        "input_tokens": given,
        "input_tokens_details": {
            "cached_tokens": _count(inputs, "cached_tokens"),
            "cache_write_tokens": _count(inputs, "cache_write_tokens"),
        },
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": _count(outputs, "reasoning_tokens")},
        "total_tokens": _count(told, "total_tokens") or given + made,
    }


def _count(counts: Json, name: str) -> int:
    count = counts.get(name) if isinstance(counts, dict) else None
    return count if type(count) is int and count >= 0 else 0


def _parts(message: JsonObject, text: str, logprobs: Json) -> list[JsonObject]:
    parts: list[JsonObject] = []
    if text:
        part = text_part(text, annotations_in(message))
        if logprobs:
            part["logprobs"] = logprobs_in(logprobs, whole=True)
        parts.append(part)
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    return parts


def _first(choices: Json) -> JsonObject:
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise no_answer()
    return choice


def _as_text(value: Json) -> str:
    return value if isinstance(value, str) else ""
