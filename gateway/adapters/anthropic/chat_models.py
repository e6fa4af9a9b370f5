"""What a model behind chat completions accepts, told by its name. Other models are taken to know nothing special.

Sources: https://platform.openai.com/docs/guides/reasoning and https://github.com/openai/openai-openapi/issues/541;
https://api-docs.deepseek.com/guides/thinking_mode#tool-calls; https://ai.google.dev/gemini-api/docs/openai#thinking;
https://docs.x.ai/docs/guides/reasoning; https://github.com/ml-explore/mlx-lm/issues/1375 (Mistral's templates).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_ORDER: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_USUAL: Final = ("low", "medium", "high")

_GPT: Final = re.compile(r"(?:^|/)gpt-(\d{1,2})(?:\.(\d{1,2}))?(?!\d)")
_O_SERIES: Final = re.compile(r"(?:^|/)o[1-9](?:-|$)")
_O_WITHOUT_EFFORT: Final = re.compile(r"(?:^|/)o1-(?:mini|preview)")
_GEMINI: Final = re.compile(r"(?:^|/)gemini-(?:2\.5|[3-9])")
_MISTRALS: Final = re.compile(r"mistral|ministral|mixtral|codestral|devstral|magistral|pixtral")
_WANTS_REASONING: Final = re.compile(r"deepseek|kimi")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatModel:
    """What a model accepts in a chat request."""

    efforts: tuple[str, ...] = ()
    """Values of `reasoning_effort`, the least first; empty if it does not know the parameter."""
    reasons: bool = False
    """It is one of OpenAI's reasoning models: no stop sequences, and no sampling unless its effort is `none`."""
    refuses_tools_with_effort: bool = False
    """OpenAI's own API refuses tools unless the effort is `none`, even when none is set."""
    wants_short_ids: bool = False
    """It wants ids of tool calls with nine letters and digits."""
    wants_reasoning: bool = False
    """It wants its `reasoning_content` back in messages that call tools."""

    def effort(self, wanted: str) -> str | None:
        """Return the accepted effort that is nearest to what is wanted: the next lower one, else the next higher."""
        if wanted in self.efforts:
            return wanted
        if not self.efforts or wanted not in _ORDER:
            return None
        level = _ORDER.index(wanted)
        lower = [effort for effort in self.efforts if _ORDER.index(effort) < level and effort != "none"]
        higher = [effort for effort in self.efforts if _ORDER.index(effort) > level]
        return lower[-1] if lower else higher[0] if higher else None


@lru_cache(maxsize=1024)
def chat_model(name: str) -> ChatModel:
    """Return what the model of this name accepts. The name may have vendors' prefixes."""
    plain = name.lower()
    if gpt := _GPT.search(plain):
        version = (int(gpt[1]), int(gpt[2] or 0))
        return _gpt(version, plain) if version >= (5, 0) else ChatModel()
    if _O_SERIES.search(plain):
        return ChatModel(efforts=() if _O_WITHOUT_EFFORT.search(plain) else _USUAL, reasons=True)
    if "gpt-oss" in plain or _GEMINI.search(plain):
        return ChatModel(efforts=_USUAL)
    if "grok-3-mini" in plain:
        return ChatModel(efforts=("low", "high"))
    return ChatModel(
        wants_reasoning=_WANTS_REASONING.search(plain) is not None, wants_short_ids=_MISTRALS.search(plain) is not None
    )


def _gpt(version: tuple[int, int], name: str) -> ChatModel:
    if "-chat" in name:
        return ChatModel(reasons=True)
    if version == (5, 0):
        return ChatModel(efforts=_USUAL if "codex" in name else ("minimal", *_USUAL), reasons=True)
    least = ("none",) if "codex" not in name or version > (5, 1) else ()
    most = ("xhigh",) if version > (5, 1) or "codex-max" in name else ()
    return ChatModel(efforts=(*least, *_USUAL, *most), reasons=True, refuses_tools_with_effort=version >= (5, 4))
