"""A chat request as a Messages request.

What `max_tokens` is when the client sets none: the longest answer that the model can give, or
`models.OTHER_MAX_TOKENS` for a model that is no Claude.

Refused, by name: what changes the meaning of the answer and has no counterpart. Left out: sampling that the model does
not know (`frequency_penalty`, `presence_penalty`, `logit_bias`, `seed`, …), hints (`prediction`, `verbosity`,
`prompt_cache_key`, …), and fields that nobody knows.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.adapters.anthropic.models import MIN_BUDGET, ClaudeModel, claude_model
from gateway.adapters.anthropic.to_messages.messages import Conversation
from gateway.adapters.anthropic.to_messages.schema import held_schema
from gateway.adapters.anthropic.to_messages.tools import MAX_NAME_CHARS, tool_choice_of, tools_called, tools_of
from gateway.adapters.base import NotSupported, lacks
from gateway.adapters.sent import Sent, ToolNames
from gateway.wire.json import Json, JsonObject

_BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16_384}
"""Effort → tokens of thinking, for models that want a budget. The numbers are LiteLLM's."""
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_TIERS: Final = {"auto": "auto", "priority": "auto", "default": "standard_only", "standard_only": "standard_only"}
"""OpenAI's tier → Anthropic's. Others only say how a call is paid, and are left out."""
_PASSED: Final = ("cache_control", "inference_geo", "speed")
"""Anthropic's own fields that some chat clients send."""
_PERSONAL: Final = re.compile(r"[^@\s]{1,200}@[^@\s]{1,200}|\+?[\d\s().-]{7,20}")
"""An e-mail address or a telephone number, which Anthropic does not want as a user's id."""
_MAX_TEMPERATURE: Final = 1.0
"""OpenAI's goes to 2."""


def request(body: JsonObject) -> Sent:
    """Return a chat request, with `model` and perhaps `stream`, as a Messages request.

    Raises NotSupported, which names what has no counterpart.
    """
    lacking = _lacking(body)
    name = body.get("model")
    model = claude_model(name if isinstance(name, str) else "")
    names = ToolNames(MAX_NAME_CHARS)
    tools = tools_of(body.get("tools"), names, lacking)
    choice = tool_choice_of(body, tools, names, lacking) if tools else None
    is_forced = choice is not None and choice["type"] in ("any", "tool")
    if is_forced and not model.can_force_tools:
        lacking.append("a tool_choice that forces a call")
    output = _format(body.get("response_format"), model, lacking)
    if lacking:
        raise lacks(lacking)
    max_tokens = _max_tokens(body, model)
    thinking, effort = _thinking(body, model, max_tokens)
    if is_forced:
        thinking = {"type": "disabled"} if model.thinks_unasked and not model.always_thinks else None
    thinks = model.thinks_unasked if thinking is None else thinking["type"] != "disabled"
    conversation = Conversation(model, names, keeps_thinking=thinks)
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        conversation.take(message)
    conversation.end()
    if thinking is not None and thinking["type"] == "enabled" and conversation.refuses_budget:
        thinking, thinks = None, False
        conversation.forget_thinking()
    sent: JsonObject = {"model": name, "max_tokens": max_tokens, "messages": conversation.turns}
    if conversation.system:
        sent["system"] = conversation.system
    if tools:
        sent["tools"] = tools
        if choice is not None:
            sent["tool_choice"] = choice
    elif conversation.called:
        sent["tools"], sent["tool_choice"] = tools_called(conversation.called), {"type": "none"}
    if thinking is not None:
        sent["thinking"] = thinking
    if effort is not None:
        output = {**output, "effort": effort}
    if output:
        sent["output_config"] = output
    _add_sampling(sent, body, model, thinks=thinks)
    _add_rest(sent, body)
    return Sent(sent, tool_names=names.renamed)


def reading(body: JsonObject) -> Sent:
    """Return what reading the answer takes, as `request` does, for a caller that did not keep it. Its body is empty."""
    names = ToolNames(MAX_NAME_CHARS)
    tools_of(body.get("tools"), names, [])
    return Sent({}, tool_names=names.renamed)


def _lacking(body: JsonObject) -> list[str]:
    """Return the names of what has no counterpart in Messages."""
    lacking = []
    count = body.get("n")
    if count is not None and count != 1:
        lacking.append("n")
    if body.get("logprobs"):
        lacking.append("logprobs")
    modalities = body.get("modalities")
    if body.get("audio") or (isinstance(modalities, list) and modalities != ["text"]):
        lacking.append("audio")
    lacking += [field for field in ("functions", "moderation") if body.get(field)]
    if body.get("web_search_options") is not None:
        lacking.append("web_search_options")
    if body.get("store") is True:
        lacking.append("store: true")
    return lacking


def _max_tokens(body: JsonObject, model: ClaudeModel) -> int:
    for field in ("max_completion_tokens", "max_tokens"):
        value = body.get(field)
        if type(value) is int:
            return value
        if type(value) is float:
            return max(1, round(value))
    return model.max_tokens


def _format(wanted: Json, model: ClaudeModel, lacking: list[str]) -> JsonObject:
    """Return `output_config` with the format of the answer."""
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return {}
    described = wanted.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    if wanted["type"] != "json_schema" or not isinstance(schema, dict) or not model.has_schemas:
        lacking.append(f"response_format {str(wanted['type'])[:64]}")
        return {}
    return {"format": {"type": "json_schema", "schema": held_schema(schema)}}


def _thinking(body: JsonObject, model: ClaudeModel, max_tokens: int) -> tuple[JsonObject | None, str | None]:
    """Return `thinking` and `output_config.effort`. Anthropic's own fields go before `reasoning_effort`."""
    own, config, effort = body.get("thinking"), body.get("output_config"), body.get("reasoning_effort")
    if isinstance(effort, dict):
        effort = effort.get("effort")
    if isinstance(config, dict) and config.get("effort") is not None:
        effort = config["effort"]
    if not model.thinks:
        return None, None
    if isinstance(own, dict):
        kind = own.get("type")
        if kind == "disabled" or (kind == "enabled" and model.takes_budget):
            return (None if model.always_thinks else own), _effort(effort, model)
        if kind == "enabled":
            effort = effort or _effort_of_budget(own.get("budget_tokens"))
        elif not model.is_adaptive:
            effort = effort or "medium"
        elif kind != "adaptive":
            return own, _effort(effort, model)
        display = own.get("display")
        if model.is_adaptive:
            shown = {"display": display} if display is not None else {}
            return {"type": "adaptive", **shown}, _effort(effort, model)
    if not isinstance(effort, str):
        return None, None
    if effort == "none":
        return ({"type": "disabled"} if model.thinks_unasked and not model.always_thinks else None), None
    if model.is_adaptive:
        # Without `display` its text is empty.
        return {"type": "adaptive", "display": "summarized"}, _effort(effort, model)
    budget = min(_BUDGETS.get(effort, 0), max_tokens // 2)  # The other half is for the answer.
    return ({"type": "enabled", "budget_tokens": budget} if budget >= MIN_BUDGET else None), None


def _effort(effort: Json, model: ClaudeModel) -> str | None:
    if not model.is_adaptive or not isinstance(effort, str):
        return None
    known = _EFFORTS.get(effort)
    return "high" if known == "xhigh" and not model.has_xhigh else known


def _effort_of_budget(budget: Json) -> str:
    tokens = budget if isinstance(budget, int) else 0
    return "high" if tokens >= _BUDGETS["high"] else "medium" if tokens >= _BUDGETS["medium"] else "low"


def _add_sampling(sent: JsonObject, body: JsonObject, model: ClaudeModel, *, thinks: bool) -> None:
    """Add what the model takes of `temperature`, `top_p` and `top_k`: it takes none while it thinks."""
    if thinks or not model.takes_sampling:
        return
    temperature, top_p, top_k = body.get("temperature"), body.get("top_p"), body.get("top_k")
    if isinstance(temperature, int | float):
        sent["temperature"] = min(temperature, _MAX_TEMPERATURE)
    if isinstance(top_p, int | float) and not (model.takes_one_of_two and "temperature" in sent):
        sent["top_p"] = top_p
    if isinstance(top_k, int):
        sent["top_k"] = top_k


def _add_rest(sent: JsonObject, body: JsonObject) -> None:
    """Add stop sequences, the user's id, the tier, `stream`, and Anthropic's own fields."""
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    stops = [text for text in stops if text]
    if stops:
        if any(isinstance(text, str) and text.isspace() for text in stops):
            raise NotSupported("does not support stop sequences of white space")
        sent["stop_sequences"] = stops
    metadata = body.get("metadata")
    beside = metadata.get("user_id") if isinstance(metadata, dict) else None
    for user in (body.get("safety_identifier"), body.get("user"), beside):
        if isinstance(user, str) and user and _PERSONAL.fullmatch(user) is None:
            sent["metadata"] = {"user_id": user}
            break
    tier = body.get("service_tier")
    if isinstance(tier, str) and tier in _TIERS:
        sent["service_tier"] = _TIERS[tier]
    for field in _PASSED:
        if body.get(field) is not None:
            sent[field] = body[field]
    if body.get("stream"):
        sent["stream"] = True
