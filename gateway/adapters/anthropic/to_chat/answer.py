"""A plain chat reply as a Messages reply."""

from __future__ import annotations

from typing import Final

import orjson

from gateway.adapters.anthropic.stops import REFUSAL, stop_reason
from gateway.adapters.anthropic.thinking import our_thinking
from gateway.adapters.anthropic.usage import messages_usage
from gateway.adapters.fields import fields_of, items_of, text_of
from gateway.adapters.sent import AS_IS, CallIds, Sent
from gateway.policy.failures import choice_error, error_object, failed_by, no_answer
from gateway.policy.finish import is_finished
from gateway.wire.json import Json, JsonObject

REASONING: Final = ("reasoning_content", "reasoning")
"""Fields of a message or a delta that servers put reasoning into."""


def answer(data: JsonObject, sent: Sent = AS_IS) -> JsonObject:
    """Return a chat reply as a Messages reply. Raises UpstreamError for what is no answer.

    A reply whose choice has no finish reason gets no stop reason.
    """
    if "error" in data and (error := error_object(data)) is not None:
        raise failed_by(error)
    choice = _first(data.get("choices"))
    error = choice_error(choice)
    if error is not None:
        raise failed_by(error)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise no_answer()
    finish = choice.get("finish_reason") if is_finished(choice) else None
    content: list[JsonObject] = []
    reasoning = reasoning_in(message)
    if reasoning:
        content.append(our_thinking(reasoning))
    text = text_in(message.get("content"))
    if text:
        content.append({"type": "text", "text": text})
    refusal = text_of(message.get("refusal"))
    if refusal:
        content.append({"type": "text", "text": refusal})
    calls = _calls(message, sent, is_cut=finish == "length")
    content += calls
    reason, stop = stop_of(choice, finish, sent, has_refused=bool(refusal), calls_tools=bool(calls))
    return {
        "id": message_id(data.get("id")),
        "type": "message",
        "role": "assistant",
        "model": data.get("model"),
        "content": content,
        "stop_reason": reason,
        "stop_sequence": stop,
        "stop_details": refusal_details(refusal or None) if reason == REFUSAL else None,
        "usage": messages_usage(data.get("usage")),
    }


def message_id(given: Json) -> str:
    """Return the id of the reply."""
    return given if isinstance(given, str) and given.startswith("msg_") else f"msg_{given or 'unnamed'}"


def refusal_details(explanation: str | None) -> JsonObject:
    """Return `stop_details` of a refusal."""
    return {"type": "refusal", "category": None, "explanation": explanation}


def reasoning_in(message: JsonObject) -> str:
    """Return the reasoning in a message or a delta; empty if it has none."""
    for field in REASONING:
        if text := text_of(message.get(field)):
            return text
    return ""


def text_in(content: Json) -> str:
    """Return the text of a content: the content itself, or its text parts joined, as some servers send them."""
    if isinstance(content, list):
        parts = (fields_of(part) for part in content)
        return "".join(text_of(part.get("text")) for part in parts if part.get("type") == "text")
    return text_of(content)


def stop_of(
    choice: JsonObject, finish: Json, sent: Sent, *, has_refused: bool, calls_tools: bool
) -> tuple[str | None, str | None]:
    """Return `stop_reason` and `stop_sequence`. vLLM tells in `stop_reason` which sequence it met."""
    if finish is None:
        return None, None
    reason = stop_reason(finish)
    if reason == "end_turn":
        if has_refused:
            return REFUSAL, None
        if calls_tools:  # some servers say `stop`
            return "tool_use", None
        met = choice.get("stop_reason")
        if isinstance(met, str) and met in sent.stops:
            return "stop_sequence", met
    return reason, None


def _first(choices: Json) -> JsonObject:
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        raise no_answer()
    return first


def _calls(message: JsonObject, sent: Sent, *, is_cut: bool) -> list[JsonObject]:
    """Return the tool calls. The last one of an answer that is cut at its limit is left out if it is cut, too."""
    calls = items_of(message.get("tool_calls")).copy()
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        calls.append({"function": legacy})
    ids = CallIds()
    blocks: list[JsonObject] = []
    for call in calls:
        function = fields_of(fields_of(call).get("function"))
        name = function.get("name")
        if not isinstance(name, str):
            raise no_answer()
        try:
            given_input = input_of(function.get("arguments"))
        except ValueError:
            if is_cut and call is calls[-1]:
                break
            raise no_answer() from None
        call_id = ids.called(call.get("id"))
        blocks.append({"type": "tool_use", "id": call_id, "name": sent.tool_name(name), "input": given_input})
    return blocks


def input_of(arguments: Json) -> JsonObject:
    """Return a call's arguments. Raises ValueError for what is no JSON object: a tool must not run with that."""
    value = orjson.loads(arguments) if isinstance(arguments, str) and arguments.strip() else arguments or {}
    if not isinstance(value, dict):
        raise ValueError("the arguments are no object")  # noqa: TRY004 - as for what is no JSON
    return value
