"""What a Claude model accepts, told by its name. Others on Anthropic's wire are taken for models of an early Claude 4.

Sources: https://platform.claude.com/docs/en/about-claude/models/overview and the migration guides beside it,
https://platform.claude.com/docs/en/build-with-claude/extended-thinking and /adaptive-thinking. The tests compare it
with LiteLLM's table of models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

OTHER_MAX_TOKENS: Final = 8192
"""`max_tokens` for a model whose limit is not known. Messages needs the field; the file's `params` can set it."""
MIN_BUDGET: Final = 1024
"""Smallest `budget_tokens` of thinking."""

_NEW_NAME: Final = re.compile(r"claude-([a-z]{1,20})(?:-(\d{1,2})(?:[-.](\d{1,2}))?)?(?!\d)", re.IGNORECASE)
"""claude-opus-4-5-20251101, claude-sonnet-5, claude-mythos-preview."""
_OLD_NAME: Final = re.compile(r"claude-(?:v|instant-)?(\d)(?:[-.](\d))?(?!\d)", re.IGNORECASE)
"""claude-3-5-sonnet-20241022, claude-3-opus-latest, claude-2.1."""
_ALWAYS_THINK: Final = frozenset({"fable", "mythos"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeModel:
    """What a model accepts in a Messages request."""

    max_tokens: int = OTHER_MAX_TOKENS
    """Its longest answer, in tokens."""
    thinks: bool = True
    """It knows `thinking`."""
    is_adaptive: bool = False
    """It knows `thinking: {type: adaptive}` and `output_config.effort`."""
    takes_budget: bool = True
    """It knows `thinking: {type: enabled, budget_tokens: N}`."""
    thinks_unasked: bool = False
    """It thinks unless `thinking: {type: disabled}` is sent."""
    always_thinks: bool = False
    """It refuses `thinking: {type: disabled}`."""
    has_xhigh: bool = False
    """It knows the effort `xhigh`."""
    takes_sampling: bool = True
    """It knows `temperature`, `top_p` and `top_k`."""
    takes_one_of_two: bool = False
    """It refuses `temperature` together with `top_p`."""
    can_force_tools: bool = True
    """It knows the tool choices `any` and `tool`."""
    has_schemas: bool = False
    """It knows `output_config.format`."""
    takes_prefill: bool = True
    """The conversation may end with the assistant's turn."""
    takes_system_turns: bool = False
    """It knows messages with the role `system`."""


@lru_cache(maxsize=1024)
def claude_model(name: str) -> ClaudeModel:
    """Return what the model of this name accepts. The name may have a vendor's prefix and suffix."""
    family, version = _parsed(name)
    if version is None:
        return ClaudeModel()
    always = family in _ALWAYS_THINK or (version >= (5, 5) and family != "haiku")
    return ClaudeModel(
        max_tokens=_max_tokens(family, version),
        thinks=version >= (3, 7),
        is_adaptive=version >= (4, 6),
        takes_budget=(3, 7) <= version <= (4, 6),
        thinks_unasked=version >= (5, 0),
        always_thinks=always,
        has_xhigh=version >= (4, 7),
        takes_sampling=version < (4, 7),
        takes_one_of_two=version >= (4, 1),
        can_force_tools=not always or version < (5, 1),
        has_schemas=version >= (4, 1),
        takes_prefill=version < (4, 6),
        takes_system_turns=version >= (4, 8) and "preview" not in name,
    )


def _parsed(name: str) -> tuple[str, tuple[int, int] | None]:
    """Return family and version; no version for what is no Claude."""
    if old := _OLD_NAME.search(name):
        return "", (int(old[1]), int(old[2] or 0))
    if new := _NEW_NAME.search(name):
        family = new[1].lower()
        if new[2]:
            return family, (int(new[2]), int(new[3] or 0))
        if family in _ALWAYS_THINK:
            return family, (5, 0)
    return "", None


def _max_tokens(family: str, version: tuple[int, int]) -> int:
    if version < (3, 5):
        return 4096
    if version < (3, 7):
        return 8192
    if family == "opus" and (4, 0) <= version <= (4, 1):
        return 32_000
    return 64_000 if version < (4, 6) else 128_000
