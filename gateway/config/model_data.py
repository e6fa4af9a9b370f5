"""Reads LiteLLM's model data from its JSON file, without importing LiteLLM."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.util import find_spec
from json import JSONDecoder
from pathlib import Path
from types import MappingProxyType
from typing import Final

from gateway.concurrency.pacing import paced
from gateway.config.compiler.known_providers import WELL_KNOWN
from gateway.policy.target import Endpoint, Target
from gateway.wire.json import Json, JsonObject

FILE: Final = "model_prices_and_context_window_backup.json"

LISTED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **{kind: (kind,) for kind in ("anthropic", "deepseek", "gemini", "groq", "mistral", "openai", "xai")},
        **dict.fromkeys(("cohere", "cohere_chat"), ("cohere_chat", "cohere")),
    }
)
"""The data's names of a vendor, by kind. Only vendors with complete lists and model names of their own."""

HOSTED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **LISTED,
        **{
            kind: (kind,)
            for kind in (
                "ai21", "cerebras", "codestral", "dashscope", "deepinfra", "fireworks_ai", "hyperbolic", "moonshot",
                "perplexity", "sambanova", "together_ai", "vertex_ai", "voyage",
            )
        },
        "bedrock": ("bedrock_converse", "bedrock"),
    }
)  # fmt: skip
"""The same with vendors whose lists have gaps: their models are found by the exact name only.

Neither has kinds with the user's own names (Azure's deployments, own servers) or own limits (Ollama's `num_ctx`).
"""

_FLAGS: Final = ("function_calling", "vision", "audio_input", "pdf_input", "reasoning")
_CHUNK: Final = 8 * 1024
"""Characters that are read at a time."""
_BLANK: Final = re.compile(r"[ \t\n\r]*+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model. A field is None if the data does not have it."""

    chat: bool
    tools: bool | None
    """Whether it can call functions."""
    inputs: tuple[str, ...] | None
    """What a message may hold, in this order: `text`, `image`, `audio`, `file` (a PDF)."""
    reasoning: bool | None
    """Whether it thinks before it answers, or can be asked to."""
    context: int | None
    """Maximum tokens of a prompt."""
    max_output: int | None
    """Maximum tokens of an answer."""
    retired: date | None
    successor: str | None


class ModelData:
    """Models by vendor and name."""

    def __init__(self, entries: Iterable[tuple[str, Json]]) -> None:
        """`entries` are names and values as the file has them; of a vendor's equal names the first one counts."""
        self._models: dict[str, dict[str, Model]] = {name: {} for names in HOSTED.values() for name in names}
        for key, entry in entries:
            provider = entry.get("litellm_provider") if isinstance(entry, dict) else None
            # Such as `vertex_ai-language-models`.
            vendor = provider.partition("-")[0] if isinstance(provider, str) else None
            if vendor in self._models:
                prefix = "bedrock/" if vendor == "bedrock_converse" else f"{vendor}/"
                self._models[vendor].setdefault(key.removeprefix(prefix), _model(entry))

    def find(self, target: Target) -> Model | None:
        """Return a target's model, or None if the data does not have it."""
        for vendor in HOSTED[target.endpoint.kind] if is_hosted(target) else ():
            model = self._models[vendor].get(target.model)
            if model is not None:
                return model
        return None

    def names(self, vendor: str) -> Collection[str]:
        """Return the names of a vendor's models."""
        return self._models[vendor].keys()


NO_MODELS: Final = ModelData(())


def is_listed(target: Target) -> bool:
    """Tell whether a target has a vendor's own model, at the vendor's address, and all of the vendor's are known."""
    return is_hosted(target) and target.endpoint.kind in LISTED


def is_hosted(target: Target) -> bool:
    """Tell whether a target has a vendor's own model under the vendor's name, at the vendor's address."""
    if target.endpoint.kind not in HOSTED or not is_at_vendor(target.endpoint):
        return False
    return "*" not in target.name and not target.model.startswith("ft:")


def is_at_vendor(endpoint: Endpoint) -> bool:
    """Tell whether an endpoint is at its vendor's address, which a second entry for a vendor may write itself."""
    if not endpoint.own_base_url:
        return True
    known = WELL_KNOWN.get(endpoint.kind)
    if known is None or known.base_url is None or endpoint.base_url is None or not known.key_required:
        return False
    return endpoint.base_url.removesuffix("/v1") == known.base_url.removesuffix("/v1")


@cache
def load() -> ModelData | None:
    """Return the data of the installed LiteLLM; None without LiteLLM, or if its file has another form.

    It pauses within `resting`, as it takes some hundredths of a second of processor time.
    """
    try:
        return ModelData(paced(entries()))
    except (OSError, ValueError):
        return None


@cache
def read_entries() -> JsonObject | None:
    """Return the entries of the data file by model name; None as for `load`."""
    try:
        return dict(entries())
    except (OSError, ValueError):
        return None


def entries() -> Iterator[tuple[str, Json]]:
    """Yield name and value of each entry: decoding all at once would not let another thread run meanwhile.

    Raises OSError without the file, ValueError if it is no JSON object.
    """
    spec = find_spec("litellm")  # imports nothing, since the name is a top-level one
    folders = (spec.submodule_search_locations if spec is not None else None) or ()
    path = next((path for folder in folders if (path := Path(folder) / FILE).is_file()), None)
    if path is None:
        raise FileNotFoundError(FILE)
    with path.open(encoding="utf-8") as file:
        text = "".join(paced(iter(lambda: file.read(_CHUNK), "")))
    return members(text)


def members(text: str) -> Iterator[tuple[str, Json]]:
    """Yield name and value of each member of a JSON object. Raises ValueError."""
    decode = JSONDecoder().raw_decode
    at = _after("{", text, 0)
    more = not text.startswith("}", at)
    while more:
        name, at = decode(text, at)
        if not isinstance(name, str):
            raise ValueError("no JSON object")  # noqa: TRY004 - the text is at fault
        value, at = decode(text, _after(":", text, at))
        yield name, value
        at = _skip_blanks(text, at)
        more = text.startswith(",", at)
        if more:
            at = _after(",", text, at)
    if _after("}", text, at) != len(text):
        raise ValueError("more than a JSON object")


def _after(mark: str, text: str, at: int) -> int:
    """Return the place behind a mark and the blanks around it. Raises ValueError if it is not there."""
    at = _skip_blanks(text, at)
    if not text.startswith(mark, at):
        raise ValueError("no JSON object")
    return _skip_blanks(text, at + 1)


def _skip_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None, "it matches nothing too"
    return found.end()


def _model(entry: JsonObject) -> Model:
    chat = entry.get("mode") in ("chat", "responses")
    tools, image, audio, file, reasoning = (_flag(entry, f"supports_{key}") for key in _FLAGS)
    inputs = None
    if tools is not None or image is not None:  # the data omits a false flag
        tools, reasoning = bool(tools), bool(reasoning)
        kinds = (("text", True), ("image", image), ("audio", audio), ("file", file))
        inputs = tuple(kind for kind, taken in kinds if taken) if chat else None
    successor = entry.get("successor_model")
    return Model(
        chat=chat,
        tools=tools,
        inputs=inputs,
        reasoning=reasoning,
        context=_tokens(entry, "max_input_tokens"),
        max_output=_tokens(entry, "max_output_tokens"),
        retired=_date(entry.get("deprecation_date")),
        successor=successor if isinstance(successor, str) else None,
    )


def _flag(entry: JsonObject, key: str) -> bool | None:
    value = entry.get(key)
    return value if isinstance(value, bool) else None


def _tokens(entry: JsonObject, key: str) -> int | None:
    value = entry.get(key)
    return value if type(value) is int and value > 0 else None


def _date(text: Json) -> date | None:
    try:
        return date.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
