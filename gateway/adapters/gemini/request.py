"""A chat request as the body of Gemini's `generateContent` and `streamGenerateContent`.

Refused, by name: what changes the meaning of the answer and has no counterpart. Left out: sampling that the model does
not know, `logit_bias`, `parallel_tool_calls`, hints (`prediction`, `verbosity`, `prompt_cache_key`, …), and fields that
nobody knows.

Source: https://ai.google.dev/api/generate-content#v1beta.GenerationConfig
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.adapters.base import NotSupported, lacks
from gateway.adapters.fields import items_of
from gateway.adapters.gemini.contents import Contents
from gateway.adapters.gemini.models import GeminiModel, gemini_model
from gateway.adapters.gemini.tools import MAX_NAME_CHARS, held_schema, tool_config_of, tools_of
from gateway.adapters.sent import Sent, ToolNames
from gateway.wire.json import Json, JsonObject

MAX_STOPS: Final = 5
_TIERS: Final = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}
"""OpenAI's tier → Gemini's. `auto` and others are left out."""
_MODALITIES: Final = {"text": "TEXT", "image": "IMAGE"}


def _both_spellings(*names: str) -> Mapping[str, str]:
    """Return each name, and the same in snake case, with the name."""
    snake = {"".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name): name for name in names}
    return MappingProxyType({**snake, **{name: name for name in names}})


_OWN_CONFIG: Final = _both_spellings(
    "audioTimestamp", "enableAffectiveDialog", "enableEnhancedCivicAnswers", "imageConfig", "maxOutputTokens",
    "mediaResolution", "responseJsonSchema", "responseMimeType", "responseModalities", "responseSchema",
    "speechConfig", "thinkingConfig",
)  # fmt: skip
"""Gemini's own fields of `generationConfig` that the file, or a client, may set → their name."""
_OWN: Final = _both_spellings("cachedContent", "safetySettings")
"""The same, beside `generationConfig`."""
_OWN_NAMES: Final = frozenset(_OWN_CONFIG) | frozenset(_OWN)


def request(body: JsonObject) -> Sent:
    """Return a chat request, with `model`, as a Gemini request, which has neither `model` nor `stream`.

    Raises NotSupported, which names what has no counterpart.
    """
    name = body.get("model")
    model = gemini_model(name if isinstance(name, str) else "")
    lacking = _lacking(body)
    names = ToolNames(MAX_NAME_CHARS)
    declared = tools_of(body.get("tools"), names, lacking) if body.get("tools") else []
    tool_config = tool_config_of(body, declared, names, lacking) if declared else None
    config: JsonObject = {}
    _add_sampling(config, body, model)
    _add_format(config, body.get("response_format"), model, lacking)
    _add_modalities(config, body.get("modalities"), lacking)
    if lacking:
        raise lacks(lacking)
    thinking = _thinking(body, model)
    if thinking:
        config["thinkingConfig"] = thinking
    contents = Contents(model, names)
    for message in items_of(body.get("messages")):
        contents.take(message)
    contents.end()
    sent: JsonObject = {"contents": contents.contents}
    if contents.system:
        sent["systemInstruction"] = {"parts": contents.system}
    if declared:
        sent["tools"] = [{"functionDeclarations": declared}]
    if tool_config is not None:
        sent["toolConfig"] = tool_config
    tier = body.get("service_tier")
    if isinstance(tier, str) and tier in _TIERS:
        sent["serviceTier"] = _TIERS[tier]
    if not _OWN_NAMES.isdisjoint(body):
        _add_own(sent, config, body)
    if config:
        sent["generationConfig"] = config
    return Sent(sent, tool_names=names.renamed)


def _lacking(body: JsonObject) -> list[str]:
    """Return the names of what has no counterpart."""
    lacking = []
    if body.get("audio"):
        lacking.append("audio")
    lacking += [field for field in ("functions", "moderation") if body.get(field)]
    if body.get("web_search_options") is not None:
        lacking.append("web_search_options")
    if body.get("store") is True:
        lacking.append("store: true")
    return lacking


def _add_sampling(config: JsonObject, body: JsonObject, model: GeminiModel) -> None:
    """Add how the answer is chosen, where it ends, and how many there are."""
    if model.takes_sampling:
        for field, name in (("temperature", "temperature"), ("top_p", "topP"), ("top_k", "topK")):
            if isinstance(body.get(field), int | float):
                config[name] = body[field]
    if model.takes_penalties:
        for field, name in (("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty")):
            if isinstance(body.get(field), int | float):
                config[name] = body[field]
    for field in ("max_completion_tokens", "max_tokens"):
        limit = body.get(field)
        if type(limit) is int or type(limit) is float:
            config["maxOutputTokens"] = max(1, round(limit))
            break
    if type(body.get("seed")) is int:
        config["seed"] = body["seed"]
    count = body.get("n")
    if count is not None and count != 1:
        config["candidateCount"] = count
    if body.get("logprobs"):
        config["responseLogprobs"] = True
        if type(body.get("top_logprobs")) is int:
            config["logprobs"] = body["top_logprobs"]
    stop = body.get("stop")
    stops = [text for text in ([stop] if isinstance(stop, str) else items_of(stop)) if text]
    if len(stops) > MAX_STOPS:
        raise NotSupported(f"does not support more than {MAX_STOPS} stop sequences")
    if stops:
        config["stopSequences"] = stops


def _add_format(config: JsonObject, wanted: Json, model: GeminiModel, lacking: list[str]) -> None:
    """Add the format of the answer. `response_schema` beside the type is LiteLLM's form."""
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return
    described = wanted.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else wanted.get("response_schema")
    if wanted["type"] not in ("json_object", "json_schema") or (schema is not None and not model.has_schemas):
        lacking.append(f"response_format {str(wanted['type'])[:64]}")
        return
    config["responseMimeType"] = "application/json"
    if isinstance(schema, dict):
        config["responseJsonSchema"] = held_schema(schema)


def _add_modalities(config: JsonObject, wanted: Json, lacking: list[str]) -> None:
    if not isinstance(wanted, list) or wanted == ["text"]:
        return
    if any(not isinstance(one, str) or one not in _MODALITIES for one in wanted):
        lacking.append("modalities")
    else:
        config["responseModalities"] = [_MODALITIES[one] for one in wanted]


def _thinking(body: JsonObject, model: GeminiModel) -> JsonObject:
    """Return `thinkingConfig`; empty for none. Anthropic's `thinking` goes before `reasoning_effort`."""
    own, effort = body.get("thinking"), body.get("reasoning_effort")
    if isinstance(effort, dict):
        effort = effort.get("effort")
    if not model.levels and not model.budgets:
        return {}
    if isinstance(own, dict):
        kind, budget = own.get("type"), own.get("budget_tokens")
        if kind == "disabled":
            effort = "none"
        elif kind == "enabled" and model.budgets and type(budget) is int:
            return {"thinkingBudget": budget, "includeThoughts": budget != 0}
        elif not isinstance(effort, str):
            return {"includeThoughts": True}
    if effort in ("none", "disable"):
        if model.levels:
            return {"thinkingLevel": model.levels[0], "includeThoughts": False}
        return {"thinkingBudget": model.budgets["minimal"] if model.always_thinks else 0, "includeThoughts": False}
    if not isinstance(effort, str):
        return {}
    if model.levels:
        level = model.level(effort)
        return {} if level is None else {"thinkingLevel": level, "includeThoughts": True}
    known = model.budgets.get(effort)
    return {} if known is None else {"thinkingBudget": known, "includeThoughts": True}


def _add_own(sent: JsonObject, config: JsonObject, body: JsonObject) -> None:
    """Add Gemini's own fields, which go before OpenAI's."""
    for field in _OWN_NAMES & body.keys():
        value = body[field]
        if value is None:
            continue
        if field in _OWN:
            sent[_OWN[field]] = value
        else:
            config[_OWN_CONFIG[field]] = value
