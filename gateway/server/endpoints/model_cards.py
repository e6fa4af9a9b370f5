"""What the list of models says of an alias: the weakest of its chain, in OpenAI's or Anthropic's shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from gateway.config.model_data import Model
from gateway.policy.table import Route
from gateway.telemetry.logs import timestamp
from gateway.wire.json import JsonObject

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What every target of a chain can do. A field is None if that is unknown of one of them."""

    context: int | None = None
    """Maximum tokens of a prompt."""
    max_output: int | None = None
    """Maximum tokens of an answer."""
    inputs: tuple[str, ...] | None = None
    """What a message may hold, of `text`, `image`, `audio` and `file` (a PDF)."""
    tools: bool | None = None
    reasoning: bool | None = None


NOTHING_KNOWN: Final = Abilities()


class Card(Protocol):
    """Makes the entry of an alias in one shape."""

    def __call__(self, name: str, route: Route, abilities: Abilities, *, loaded_at: float) -> JsonObject:
        """Return the entry. `loaded_at`: when the table was loaded, in seconds since the epoch."""


def weakest(models: Sequence[Model | None]) -> Abilities:
    """Return what all models of a chain can do, given each; None is an unknown one."""
    known = [model for model in models if model is not None]
    if len(known) < len(models):
        return NOTHING_KNOWN
    taken = _told(model.inputs for model in known)
    tools, reasoning = _told(model.tools for model in known), _told(model.reasoning for model in known)
    return Abilities(
        context=_least(model.context for model in known),
        max_output=_least(model.max_output for model in known),
        inputs=None if taken is None else tuple(kind for kind in taken[0] if all(kind in each for each in taken)),
        tools=None if tools is None else all(tools),
        reasoning=None if reasoning is None else all(reasoning),
    )


def openai_card(name: str, route: Route, abilities: Abilities, *, loaded_at: float) -> JsonObject:
    """Return the entry for OpenAI's clients, with the fields of OpenRouter, vLLM and LiteLLM for what is known."""
    owner = route.steps[0].target.name.partition("/")[0]
    card: JsonObject = {"id": name, "object": "model", "created": int(loaded_at), "owned_by": owner}
    provider: JsonObject = {}
    if abilities.context is not None:
        card["context_length"] = card["max_model_len"] = provider["context_length"] = abilities.context
    if abilities.max_output is not None:
        card["max_output_tokens"] = provider["max_completion_tokens"] = abilities.max_output
    if provider:
        card["top_provider"] = provider
    return card | _lists(abilities)


def anthropic_card(name: str, route: Route, abilities: Abilities, *, loaded_at: float) -> JsonObject:
    """Return the entry for Anthropic's clients (`ModelInfo`), with OpenRouter's fields for what has none there."""
    capabilities: JsonObject = {}
    if abilities.inputs is not None:
        capabilities["image_input"] = {"supported": "image" in abilities.inputs}
        capabilities["pdf_input"] = {"supported": "file" in abilities.inputs}
    if abilities.reasoning is not None:
        capabilities["thinking"] = {"supported": abilities.reasoning}
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": timestamp(loaded_at),
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
        "max_input_tokens": abilities.context,
        "max_tokens": abilities.max_output,
        "capabilities": capabilities or None,
        **_lists(abilities),
    }


def _lists(abilities: Abilities) -> JsonObject:
    """Return OpenRouter's lists of inputs and of parameters."""
    lists: JsonObject = {}
    if abilities.inputs is not None:
        lists["architecture"] = {"input_modalities": abilities.inputs}
    if abilities.tools is not None and abilities.reasoning is not None:
        taken = (("tools", abilities.tools), ("reasoning", abilities.reasoning))
        lists["supported_parameters"] = [name for name, is_taken in taken if is_taken]
    return lists


def _told(values: Iterable[T | None]) -> list[T] | None:
    """Return the values; None if one is unknown."""
    told: list[T] = []
    for value in values:
        if value is None:
            return None
        told.append(value)
    return told


def _least(values: Iterable[int | None]) -> int | None:
    told = _told(values)
    return None if told is None else min(told)
