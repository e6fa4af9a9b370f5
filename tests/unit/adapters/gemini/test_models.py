"""What Gemini models accept, compared with LiteLLM's table of models."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from gateway.adapters.gemini.models import gemini_model
from tests.litellm_data import model_data_file

_OTHER_SORTS: Final = ("deep-research", "lyria", "learnlm", "omni", "robotics", "computer-use", "gemini-gemma")
"""Models for sound, films, robots and the like."""


def _table() -> dict[str, dict[str, Any]]:
    models = json.loads(model_data_file().read_text("utf-8"))
    return {
        name: facts
        for name, facts in models.items()
        if name.startswith("gemini/") and facts.get("mode") == "chat" and not any(one in name for one in _OTHER_SORTS)
    }


@pytest.mark.parametrize(("name", "facts"), _table().items())
def test_a_model_accepts_what_litellm_s_table_says(name: str, facts: dict[str, Any]) -> None:
    model = gemini_model(name.removeprefix("gemini/"))
    assert model.takes_sampling == facts.get("supports_sampling_params", True)
    assert bool(model.levels or model.budgets) == facts.get("supports_reasoning", False)
    assert model.has_system == facts.get("supports_system_messages", True)
    assert ("xhigh" in model.levels) == facts.get("supports_xhigh_reasoning_effort", False)
    if model.levels:
        has_minimal = facts.get("supports_minimal_reasoning_effort", "flash" in name)
        assert ("minimal" in model.levels) == has_minimal


@pytest.mark.parametrize(
    ("name", "is_signed", "thinks", "takes_urls"),
    [
        ("gemini-1.5-pro", False, False, False),
        ("gemini-2.0-flash-001", False, False, False),
        ("gemini-2.5-flash", False, True, True),
        ("models/gemini-2.5-pro-preview-06-05", False, True, True),
        ("gemini-2.5-flash-image", False, False, True),
        ("Gemini-3-Pro-Preview", True, True, True),
        ("gemini-flash-latest", True, True, True),
        ("gemini-flash-lite-latest", True, True, True),
        ("gemini-pro", False, False, False),
        ("gemini-exp-1206", False, False, False),
        ("gemini-10-pro", True, True, True),
        ("gemma-3-27b-it", False, False, False),
        ("tunedModels/mine", True, True, True),
        ("", True, True, True),
    ],
)
def test_names_are_read_in_every_form(name: str, is_signed: bool, thinks: bool, takes_urls: bool) -> None:
    model = gemini_model(name)
    assert (model.is_signed, bool(model.levels or model.budgets), model.takes_urls) == (is_signed, thinks, takes_urls)


@pytest.mark.parametrize(
    ("name", "effort", "level"),
    [
        ("gemini-3-flash-preview", "minimal", "minimal"),
        ("gemini-3-pro-preview", "minimal", "low"),
        ("gemini-3-pro-preview", "max", "high"),
        ("gemini-4-hydrogen", "max", "xhigh"),
        ("gemini-3-pro-preview", "much", None),
        ("gemini-2.5-pro", "low", None),
    ],
)
def test_the_nearest_level_is_taken(name: str, effort: str, level: str | None) -> None:
    assert gemini_model(name).level(effort) == level
