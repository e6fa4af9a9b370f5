"""Read LiteLLM's model data from its JSON file, without importing LiteLLM."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import orjson

from gateway.policy.target import Target
from gateway.wire.json import Json, JsonObject

FILE: Final = "model_prices_and_context_window_backup.json"

VENDORS: Final[Mapping[str, tuple[str, ...]]] = {
    **{kind: (kind,) for kind in ("anthropic", "deepseek", "gemini", "groq", "mistral", "openai", "xai")},
    **dict.fromkeys(("cohere", "cohere_chat"), ("cohere_chat", "cohere")),
}
"""The data's names of a vendor, by kind. Only vendors with complete lists and model names of their own.

Not kinds with the user's own names (Azure's deployments, own servers) or with many vendors' models.
"""

_TOKENS: Final = re.compile(r"[a-z]+|[0-9]+")
_LONGEST_NAME: Final = 128

_Words = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model. A field is None if the data does not have it."""

    chat: bool
    tools: bool | None
    """Whether it can call functions."""
    vision: bool | None
    reasoning: bool
    """Whether it thinks before it answers, or can be asked to."""
    context: int | None
    """Maximum tokens of a prompt."""
    retired: date | None
    successor: str | None


class ModelData:
    """Models by vendor and name."""

    def __init__(self, entries: JsonObject) -> None:
        self._entries: dict[str, dict[str, JsonObject]] = {name: {} for names in VENDORS.values() for name in names}
        for key, entry in entries.items():
            vendor = entry.get("litellm_provider") if isinstance(entry, dict) else None
            if isinstance(vendor, str) and vendor in self._entries:
                self._entries[vendor].setdefault(key.removeprefix(f"{vendor}/"), entry)

    def find(self, target: Target) -> Model | None:
        """Return a target's model, or None if the data does not have it."""
        for vendor in VENDORS[target.endpoint.kind] if is_listed(target) else ():
            if target.model in self._entries[vendor]:
                return _model(self._entries[vendor][target.model])
        return None

    def meant(self, target: Target) -> str | None:
        """Return the model that a misspelt name means; None when it is right, or may be a new model's."""
        if not is_listed(target) or self.find(target) is not None:
            return None
        figures, words = _spelt(target.model)
        for vendor in VENDORS[target.endpoint.kind]:
            for known, name in self._spelt[vendor].get(figures, ()):
                if _are_misspelt(words, known):
                    return name
        return None

    @cached_property
    def _spelt(self) -> dict[str, dict[_Words, list[tuple[_Words, str]]]]:
        """Words and name of each model, by vendor and figures."""
        spelt: dict[str, dict[_Words, list[tuple[_Words, str]]]] = {vendor: {} for vendor in self._entries}
        for vendor, entries in self._entries.items():
            for name in entries:
                figures, words = _spelt(name)
                spelt[vendor].setdefault(figures, []).append((words, name))
        return spelt


NO_MODELS: Final = ModelData({})


def is_listed(target: Target) -> bool:
    """Tell whether a target has a vendor's own model under the vendor's name, at the vendor's address."""
    at_vendor = target.endpoint.kind in VENDORS and not target.endpoint.own_base_url
    return at_vendor and "*" not in target.name and not target.model.startswith("ft:")


@cache
def load() -> ModelData | None:
    """Return the data of the installed LiteLLM; None without LiteLLM, or if its file has another form."""
    entries = read_entries()
    return ModelData(entries) if entries is not None else None


@cache
def read_entries() -> JsonObject | None:
    """Return the entries of the data file by model name; None as for `load`."""
    spec = find_spec("litellm")  # imports nothing, since the name is a top-level one
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        try:
            entries = orjson.loads((Path(folder) / FILE).read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(entries, dict):
            return entries
    return None


def _spelt(name: str) -> tuple[_Words, _Words]:
    """Return the figures and the words of a name, in lower case."""
    tokens = _TOKENS.findall(name[:_LONGEST_NAME].lower())
    return tuple(token for token in tokens if token.isdigit()), tuple(token for token in tokens if not token.isdigit())


def _are_misspelt(words: _Words, known: _Words) -> bool:
    """Tell whether words are a slip of known ones: other separators, order, or one word with one typing error.

    An entirely different word is no slip: it may be the vendor's next model.
    """
    if len(words) != len(known):
        return "".join(words) == "".join(known)
    different = [pair for pair in zip(words, known, strict=True) if pair[0] != pair[1]]
    return sorted(words) == sorted(known) or (len(different) == 1 and _is_slip(*different[0]))


def _is_slip(word: str, known: str) -> bool:
    """Tell whether one letter is missing, extra or wrong, or two adjacent letters are swapped."""
    if len(word) != len(known):
        short, long = sorted((word, known), key=len)
        return len(long) > 3 and any(long[:at] + long[at + 1 :] == short for at in range(len(long)))
    wrong = [at for at in range(len(word)) if word[at] != known[at]]
    if len(wrong) == 1:
        return len(word) > 4
    swapped = len(wrong) == 2 and wrong[1] == wrong[0] + 1
    return swapped and word[wrong[0]] == known[wrong[1]] and word[wrong[1]] == known[wrong[0]]


def _model(entry: JsonObject) -> Model:
    tools, vision = _flag(entry, "supports_function_calling"), _flag(entry, "supports_vision")
    if tools is not None or vision is not None:
        tools, vision = bool(tools), bool(vision)  # the data omits a false flag
    context, successor = entry.get("max_input_tokens"), entry.get("successor_model")
    return Model(
        chat=entry.get("mode") in ("chat", "responses"),
        tools=tools,
        vision=vision,
        reasoning=_flag(entry, "supports_reasoning") is True,
        context=context if isinstance(context, int) and context > 0 else None,
        retired=_date(entry.get("deprecation_date")),
        successor=successor if isinstance(successor, str) else None,
    )


def _flag(entry: JsonObject, key: str) -> bool | None:
    value = entry.get(key)
    return value if isinstance(value, bool) else None


def _date(text: Json) -> date | None:
    try:
        return date.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
