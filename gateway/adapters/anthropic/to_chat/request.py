"""A Messages request as a chat request.

Refused, by name: hosted tools, containers, file ids, documents by URL, and where the data must stay (`inference_geo`).
Left out: `cache_control`, betas, thinking in the history, `top_k`, `speed`, `fallbacks`, and fields that nobody knows.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from gateway.adapters.anthropic.chat_models import ChatModel, chat_model
from gateway.adapters.anthropic.to_chat.messages import Conversation
from gateway.adapters.anthropic.to_chat.tools import MAX_NAME_CHARS, add_tool_choice, response_format_of, tools_of
from gateway.adapters.base import lacks
from gateway.adapters.fields import fields_of, items_of, text_of
from gateway.adapters.sent import Sent, ToolNames
from gateway.wire.json import Json, JsonObject

_MAX_USER_CHARS: Final = 64
_MAX_STOPS: Final = 4
_LEAST_TOKENS: Final = 1024
"""OpenAI's reasoning models answer 400 if their thinking alone reaches the limit. Claude Code asks with a limit of 1
whether a model is there: https://github.com/BerriAI/litellm/issues/35061.
"""
_LOWEST_OF: Final = ((4096, "high"), (2048, "medium"), (1024, "low"))
"""Tokens of thinking → effort. The numbers are LiteLLM's."""
_TIERS: Final = {"auto": "auto", "standard_only": "default"}
_REFUSED: Final = {
    "container": "containers",
    "mcp_servers": "mcp_servers",
    "thread": "threads",
    "inference_geo": "inference_geo",
}
"""Fields that have no counterpart → what they are called."""


def request(
    body: JsonObject, *, is_openai: bool = False, is_mistral: bool = False, max_output_tokens: int | None = None
) -> Sent:
    """Return a Messages request, with `model` and perhaps `stream`, as a chat request.

    `is_openai`: the target is OpenAI's own API or Azure's, which have newer names for some fields and refuse others.
    `is_mistral`: it is Mistral's, which refuses fields that it does not know.
    `max_output_tokens`: the longest answer of the target's model, if known; a higher `max_tokens` is cut to it.
    Raises NotSupported, which names what has no counterpart.
    """
    lacking = [name for field, name in _REFUSED.items() if body.get(field)]
    model = chat_model(text_of(body.get("model")))
    names = ToolNames(MAX_NAME_CHARS)
    sent: JsonObject = {"model": body.get("model"), "messages": []}
    tools = tools_of(body.get("tools"), names, lacking)
    if tools:
        sent["tools"] = tools
        add_tool_choice(sent, body.get("tool_choice"), names, lacking)
    wanted = body.get("output_format") or fields_of(body.get("output_config")).get("format")
    response_format = response_format_of(wanted, lacking)
    if response_format is not None:
        sent["response_format"] = response_format
    stops = _stops(body.get("stop_sequences"), model, is_openai, lacking)
    if lacking:
        raise lacks(lacking)
    conversation = Conversation(
        names, mixes_roles=is_openai, keeps_thinking=model.wants_reasoning, has_short_ids=model.wants_short_ids
    )
    conversation.system(body.get("system"))
    for turn in items_of(body.get("messages")):
        conversation.take(turn)
    sent["messages"] = conversation.messages
    effort = _effort(body, model)
    if is_openai and tools and model.refuses_tools_with_effort:
        effort = "none"
    max_tokens = body.get("max_tokens")
    if type(max_tokens) is int:
        if is_openai and model.reasons and effort != "none":
            max_tokens = max(max_tokens, _LEAST_TOKENS)
        limit = max_tokens if max_output_tokens is None else min(max_tokens, max_output_tokens)
        sent["max_completion_tokens" if is_openai or model.reasons else "max_tokens"] = limit
    if stops:
        sent["stop"] = list(stops)
    if effort is not None:
        sent["reasoning_effort"] = effort
    _add_sampling(sent, body, model, effort)
    if not is_mistral:
        _add_user(sent, body.get("metadata"), is_openai)
    tier = body.get("service_tier")
    if is_openai and isinstance(tier, str) and tier in _TIERS:
        sent["service_tier"] = _TIERS[tier]
    if body.get("stream"):
        sent["stream"] = True
        if not is_mistral:  # which tells the usage unasked
            sent["stream_options"] = {"include_usage": True}
    return Sent(sent, tool_names=names.renamed, stops=stops)


def reading(body: JsonObject) -> Sent:
    """Return what reading the answer takes, as `request` does, for a caller that did not keep it. Its body is empty."""
    names = ToolNames(MAX_NAME_CHARS)
    tools_of(body.get("tools"), names, [])
    return Sent({}, tool_names=names.renamed, stops=_texts(body.get("stop_sequences")))


def _stops(given: Json, model: ChatModel, is_openai: bool, lacking: list[str]) -> tuple[str, ...]:
    stops = _texts(given)
    if stops and is_openai:
        if model.reasons:
            lacking.append("stop_sequences")
        elif len(stops) > _MAX_STOPS:
            lacking.append(f"more than {_MAX_STOPS} stop_sequences")
    return stops


def _texts(given: Json) -> tuple[str, ...]:
    return tuple(filter(None, map(text_of, items_of(given))))


def _effort(body: JsonObject, model: ChatModel) -> str | None:
    """Return `reasoning_effort` as the model knows it: from `output_config.effort`, or the budget of thinking."""
    thinking = fields_of(body.get("thinking"))
    effort = text_of(fields_of(body.get("output_config")).get("effort"))
    kind = thinking.get("type")
    if kind == "disabled":
        return model.effort("none")
    if not effort and kind == "enabled":
        budget = thinking.get("budget_tokens")
        tokens = budget if isinstance(budget, int) else 0
        effort = next((effort for least, effort in _LOWEST_OF if tokens >= least), "minimal")
    return model.effort(effort)


def _add_sampling(sent: JsonObject, body: JsonObject, model: ChatModel, effort: str | None) -> None:
    if model.reasons and effort != "none":
        return
    for field in ("temperature", "top_p"):
        value = body.get(field)
        if isinstance(value, int | float) and value != 1:  # 1 is the default, and some models refuse even that.
            sent[field] = value


def _add_user(sent: JsonObject, metadata: Json, is_openai: bool) -> None:
    """Add the user's id. OpenAI's may have 64 characters, and Claude Code's is longer."""
    user = text_of(fields_of(metadata).get("user_id"))
    if not user:
        return
    if len(user) > _MAX_USER_CHARS:
        user = sha256(user.encode("utf-8", "replace")).hexdigest()
    sent["safety_identifier" if is_openai else "user"] = user
