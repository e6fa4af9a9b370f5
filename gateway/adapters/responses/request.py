"""Translates a request: the body of `POST /v1/responses` → the body of `POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.adapters.responses.asked import Asked
from gateway.adapters.responses.compaction import TRIGGER
from gateway.adapters.responses.messages import Recall, input_items, messages
from gateway.adapters.responses.tools import Tools, add_choice, kind_of, unsupported
from gateway.wire.json import Json, JsonObject

_REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "store": "store: true",
        "previous_response_id": "previous_response_id",
        "conversation": "conversation",
        "prompt": "prompt templates",
        "background": "background: true",
        "moderation": "moderation",
    }
)
"""Field → what a request that has it needs: state that a chat upstream does not keep, or a check it does not make."""

_SAME: Final = (
    "temperature", "top_p", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier",
)  # fmt: skip
"""Fields that mean the same on both wires.

`metadata` is not sent: OpenAI's chat takes it only with `store: true`
(https://platform.openai.com/docs/api-reference/chat/create#chat-create-store). The answer repeats it.
"""
_WITH_LOGPROBS: Final = "message.output_text.logprobs"
"""The only value of `include` that can be had; the others only ask for more detail."""

_DEFAULTS: Final[Mapping[str, Json]] = MappingProxyType(
    {
        "background": False,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "auto",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
    }
)
"""Fields of a Response that repeat the request, with what they are when it has none."""
_OWN: Final = frozenset({"background", "previous_response_id", "store", "tools", "truncation"})
"""Those that say what was done, whatever the request says."""


def request(
    params: Mapping[str, Json], *, stream: bool = False, keep_reasoning: bool = False, recall: Recall | None = None
) -> tuple[JsonObject, Asked]:
    """Return the chat body, without `model` and `stream`, and what the answer needs to know of the request.

    Values of `params` may be part of both. Raises NotSupported.

    `keep_reasoning` sends the reasoning of earlier turns as `reasoning_content`, where the history has it as text.
    DeepSeek and Kimi refuse the history of a model that thinks without it, once it has called tools
    (https://api-docs.deepseek.com/guides/thinking_mode); Groq and Mistral refuse the field. `recall` returns the item
    that an item reference means; without it such a reference is refused, but for reasoning, which is left out.
    """
    for field, what in _REFUSED.items():
        if params.get(field):
            raise unsupported(what)
    tools, updated = Tools(), _updated(params)
    if params.get("tools") is not None:
        tools.add(params["tools"], shown=True)
    _add_later_tools(tools, params.get("input"))
    tools.check()

    said = messages(
        params.get("instructions"), params.get("input"), tools, keep_reasoning=keep_reasoning, recall=recall
    )
    body: JsonObject = {"messages": said}
    for field in _SAME:
        if (value := params.get(field)) is not None:
            body[field] = value
    if (limit := params.get("max_output_tokens")) is not None:
        body["max_completion_tokens"] = limit
    compacts = _compacts(params.get("input"))
    add_choice(body, tools, "none" if compacts else params.get("tool_choice"))
    if "tools" in body and (parallel := params.get("parallel_tool_calls")) is not None:
        body["parallel_tool_calls"] = parallel
    _add_logprobs(body, params)
    if not compacts:
        _add_text(body, updated.get("text"))
    reasoning = updated.get("reasoning")
    if isinstance(reasoning, dict) and (effort := reasoning.get("effort")) is not None:
        body["reasoning_effort"] = effort
    if stream:
        body["stream_options"] = {"include_usage": True}
    summarizes = isinstance(reasoning, dict) and bool(reasoning.get("summary") or reasoning.get("generate_summary"))
    return body, Asked(_repeated(params, updated, tools), tools.called, summarizes, compacts)


def _compacts(items: Json) -> bool:
    """Tell whether the request asks for a compaction. Raises NotSupported where the trigger is not the last item."""
    places = [place for place, item in enumerate(input_items(items)) if item.get("type") == TRIGGER]
    if places and places != [len(items) - 1]:
        raise unsupported(f"a {TRIGGER} that is not the last item")
    return bool(places)


def _updated(params: Mapping[str, Json]) -> JsonObject:
    """Return `reasoning` and `text` as the last items of type `configuration_update` leave them."""
    found: JsonObject = {"reasoning": params.get("reasoning"), "text": params.get("text")}
    updates = [item for item in input_items(params.get("input")) if item.get("type") == "configuration_update"]
    for name in found if updates else ():
        value = dict(found[name]) if isinstance(found[name], dict) else {}
        for item in updates:
            if isinstance(item.get(name), dict):
                value.update(item[name])
        found[name] = value or found[name]
    return found


def _add_later_tools(tools: Tools, items: Json) -> None:
    """Add the tools that the input brings: those of its own items, and those that the client's search found."""
    for item in input_items(items):
        if item.get("type") in ("additional_tools", "tool_search_output"):
            tools.add(item.get("tools") or [])


def _add_logprobs(body: JsonObject, params: Mapping[str, Json]) -> None:
    count, include = params.get("top_logprobs"), params.get("include")
    if count or (isinstance(include, list) and _WITH_LOGPROBS in include):
        body["logprobs"] = True
        if count:
            body["top_logprobs"] = count


def _add_text(body: JsonObject, text: Json) -> None:
    if not isinstance(text, dict):
        return
    if (verbosity := text.get("verbosity")) is not None:
        body["verbosity"] = verbosity
    format_ = text.get("format")
    if not isinstance(format_, dict):
        return
    kind = kind_of(format_, "text")
    if kind == "json_schema":
        schema = {name: value for name, value in format_.items() if name != "type" and value is not None}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind == "json_object":
        body["response_format"] = {"type": "json_object"}
    elif kind != "text":
        raise unsupported(f"text.format of type {kind}")


def _repeated(params: Mapping[str, Json], updated: JsonObject, tools: Tools) -> JsonObject:
    """Return the fields of a Response that repeat the request."""
    fields = {
        name: default if name in _OWN or (value := params.get(name)) is None else value
        for name, default in _DEFAULTS.items()
    }
    fields["tools"] = tools.shown
    if isinstance(text := updated["text"], dict):
        fields["text"] = {**_DEFAULTS["text"], **text}
    if isinstance(reasoning := updated["reasoning"], dict):
        fields["reasoning"] = {**_DEFAULTS["reasoning"], **reasoning}
    return fields
