"""What a Gemini model accepts, told by its name. A name without a version is taken for a model of the newest ones.

Sources: https://ai.google.dev/gemini-api/docs/models, https://ai.google.dev/gemini-api/docs/thinking,
https://ai.google.dev/gemini-api/docs/gemini-3 and https://ai.google.dev/gemini-api/docs/file-input-methods. The tests
compare it with LiteLLM's table of models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from gateway.wire.json import EMPTY

_VERSION: Final = re.compile(r"^gemini-(\d{1,2})(?:\.(\d{1,2}))?(?![\d.])")
"""gemini-2.5-flash, gemini-3-pro-preview, gemini-4-argon."""
_EARLY: Final = re.compile(r"^gemini-(?:exp|pro|flash)(?!-(?:lite-)?latest$)(?:-|$)|^(?:learnlm|gemini-gemma)-")
"""Names of models before Gemini 2. gemini-flash-latest is none of them."""
_NEWEST: Final = (99, 0)

_EFFORTS: Final = ("minimal", "low", "medium", "high", "xhigh", "max")
"""In order."""
_BUDGETS: Final[Mapping[str, int]] = MappingProxyType(
    {"minimal": 128, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16_384}
)
"""Effort → tokens of thinking, for models that want a budget. The numbers are LiteLLM's."""
_LEAST_BUDGETS: Final = (("gemini-2.5-flash-lite", 512), ("gemini-2.5-pro", 128), ("gemini-2.5-flash", 1))
"""Beginning of a name → the least budget above zero, the longest name first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiModel:
    """What a model accepts in `generateContent`."""

    levels: tuple[str, ...] = ()
    """Values of `thinkingLevel`, the least first; empty if it knows none."""
    budgets: Mapping[str, int] = field(default_factory=lambda: EMPTY)
    """Effort → `thinkingBudget`, for a model without levels; empty if it does not think."""
    always_thinks: bool = False
    """It refuses a budget of zero."""
    is_signed: bool = False
    """It refuses calls of tools in the history without a thought signature. It knows ids of calls, and media in
    results of tools."""
    takes_sampling: bool = True
    """It heeds `temperature`, `topP` and `topK`."""
    takes_penalties: bool = True
    """It knows `presencePenalty` and `frequencyPenalty`."""
    has_schemas: bool = True
    """It knows `responseJsonSchema`."""
    takes_urls: bool = True
    """It takes `fileData` with any https URL, which Google's servers fetch."""
    has_system: bool = True
    """It knows `systemInstruction`."""

    def level(self, effort: str) -> str | None:
        """Return the level that is nearest to an effort, from below if possible; None for no known effort."""
        if effort not in _EFFORTS or not self.levels:
            return None
        wanted = _EFFORTS.index(effort)
        lower = [level for level in self.levels if _EFFORTS.index(level) <= wanted]
        return lower[-1] if lower else self.levels[0]


@lru_cache(maxsize=1024)
def gemini_model(name: str) -> GeminiModel:
    """Return what the model of this name accepts. The name may be a path such as `models/gemini-2.5-pro`."""
    plain = name.rpartition("/")[2].lower()
    if plain.startswith("gemma-"):
        return _gemma(plain)
    version = _version(plain)
    if version < (3, 0):
        thinks = version >= (2, 5) and "-image" not in plain and "-tts" not in plain and "computer-use" not in plain
        return GeminiModel(
            budgets=_budgets(plain) if thinks else EMPTY,
            always_thinks="-pro" in plain,
            has_schemas=version >= (2, 0),
            takes_urls=version >= (2, 5),
        )
    least = ("minimal",) if "flash" in plain and (version < (3, 7) or version == _NEWEST) else ()
    most = ("xhigh",) if "hydrogen" in plain else ()
    return GeminiModel(
        levels=(*least, "low", "medium", "high", *most),
        is_signed=True,
        takes_sampling=version < (3, 5) or version >= (4, 0) or (version == (3, 5) and "lite" not in plain),
        takes_penalties=False,
    )


def path_of(name: str) -> str:
    """Return a model's name as requests that name their model have it: `models/gemini-2.5-pro`."""
    return name if "/" in name else f"models/{name}"


def _gemma(name: str) -> GeminiModel:
    thinks = not name.startswith(("gemma-2", "gemma-3"))
    return GeminiModel(budgets=_BUDGETS if thinks else EMPTY, has_schemas=False, takes_urls=False, has_system=thinks)


def _version(name: str) -> tuple[int, int]:
    if found := _VERSION.search(name):
        return int(found[1]), int(found[2] or 0)
    return (1, 0) if _EARLY.search(name) else _NEWEST


def _budgets(name: str) -> Mapping[str, int]:
    least = next((tokens for begin, tokens in _LEAST_BUDGETS if name.startswith(begin)), _BUDGETS["minimal"])
    return MappingProxyType({**_BUDGETS, "minimal": least})
