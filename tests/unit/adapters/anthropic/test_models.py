"""What Claude models accept, compared with LiteLLM's table of models."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.anthropic.models import OTHER_MAX_TOKENS, claude_model


def _table() -> dict[str, dict[str, Any]]:
    found = importlib.util.find_spec("litellm")
    assert found is not None
    assert found.origin is not None
    models = json.loads((Path(found.origin).parent / "model_prices_and_context_window_backup.json").read_text("utf-8"))
    return {name: facts for name, facts in models.items() if facts.get("litellm_provider") == "anthropic"}


@pytest.mark.parametrize(("name", "facts"), _table().items())
def test_a_model_accepts_what_litellm_s_table_says(name: str, facts: dict[str, Any]) -> None:
    model = claude_model(name)
    always = facts.get("thinking_always_on", False)
    told = {
        "max_tokens": facts["max_output_tokens"],
        "is_adaptive": facts.get("supports_adaptive_thinking", False),
        "thinks_unasked": always or facts.get("thinking_on_by_default", False),
        "always_thinks": always,
        "has_xhigh": facts.get("supports_xhigh_reasoning_effort", False),
        "takes_sampling": facts.get("supports_sampling_params", True),
        "can_force_tools": facts.get("supports_forced_tool_use", True),
        "has_schemas": facts.get("supports_native_structured_output", False),
        "takes_prefill": facts.get("supports_assistant_prefill", False),
        "takes_system_turns": facts.get("supports_mid_conversation_system", False),
    }
    ours = {field: getattr(model, field) for field in told}
    assert ours == told


@pytest.mark.parametrize(
    ("name", "max_tokens", "is_adaptive"),
    [
        ("claude-3-opus-20240229", 4096, False),
        ("claude-3-5-sonnet-latest", 8192, False),
        ("claude-3-7-sonnet-20250219", 64_000, False),
        ("claude-opus-4-1-20250805", 32_000, False),
        ("claude-sonnet-4-20250514", 64_000, False),
        ("claude-sonnet-4@20250514", 64_000, False),
        ("anthropic.claude-sonnet-4-6-v1:0", 128_000, True),
        ("claude-opus-4.7", 128_000, True),
        ("claude-opus-6", 128_000, True),
        ("claude-2.1", 4096, False),
        ("kimi-k2", OTHER_MAX_TOKENS, False),
        ("claude-next", OTHER_MAX_TOKENS, False),
        ("", OTHER_MAX_TOKENS, False),
    ],
)
def test_names_are_read_in_every_form(name: str, max_tokens: int, is_adaptive: bool) -> None:
    model = claude_model(name)
    assert (model.max_tokens, model.is_adaptive) == (max_tokens, is_adaptive)
