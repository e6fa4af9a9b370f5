"""Measures what a model wrote, by which output is counted where no usage tells it."""

from __future__ import annotations

from typing import Final

from gateway.wire.json import Json, JsonObject, encode_json

_CALL_FIELDS: Final = ("name", "arguments", "input")
"""Fields of a function or custom tool that is called."""


def text_size(value: Json) -> int:
    """Return the bytes of a text, 0 for anything else."""
    if type(value) is not str:
        return 0
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))


def value_size(value: Json) -> int:
    """Return the bytes of a text, or of any other value as JSON; 0 for an empty one."""
    return text_size(value) if type(value) is str else len(encode_json(value)) if value else 0


def choices_bytes(data: JsonObject) -> int:
    """Return the bytes of what a model wrote in the choices of an answer or an event, of chat or of completions."""
    choices = data.get("choices")
    if type(choices) is not list:
        return 0
    total = 0
    for choice in choices:
        if type(choice) is dict:
            said = choice.get("delta") or choice.get("message")
            total += _said_bytes(said) if type(said) is dict else text_size(choice.get("text"))
    return total


def _said_bytes(said: JsonObject) -> int:
    """Return the bytes of what a model wrote in a message or a delta of chat."""
    content = said.get("content")
    total = _parts_bytes(content) if type(content) is list else text_size(content)
    return total if total and len(said) == 1 else total + _more_bytes(said)


def _more_bytes(said: JsonObject) -> int:
    """Return the bytes of what is not content there."""
    total = text_size(said.get("refusal"))
    # Some servers send both, with the same text: https://docs.vllm.ai/en/latest/features/reasoning_outputs/
    total += max(text_size(said.get("reasoning_content")), text_size(said.get("reasoning")))
    if calls := said.get("tool_calls"):
        total += sum(map(_call_bytes, calls)) if type(calls) is list else 0
    if call := said.get("function_call"):
        total += _fields_bytes(call)
    if audio := said.get("audio"):
        total += text_size(audio.get("transcript")) if type(audio) is dict else 0
    return total


def _parts_bytes(parts: list[Json]) -> int:
    """Return the bytes of the parts of a message: texts, and Mistral's thinking, which has parts of its own.

    Source: https://docs.mistral.ai/capabilities/reasoning/
    """
    total = 0
    left = [*parts]
    for one in left:  # grows meanwhile
        if type(one) is list:
            left += one
        elif type(one) is dict:
            total += text_size(one.get("text"))
            left.append(one.get("thinking"))
        else:
            total += text_size(one)
    return total


def _call_bytes(call: Json) -> int:
    return _fields_bytes(call.get("function") or call.get("custom")) if type(call) is dict else 0


def _fields_bytes(called: Json) -> int:
    return sum(value_size(called.get(name)) for name in _CALL_FIELDS) if type(called) is dict else 0
