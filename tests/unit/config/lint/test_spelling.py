"""Recognizing misspelt model names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.config.lint.spelling import Spelling
from gateway.config.model_data import ModelData
from tests.compiling import step


def is_misspelt(name: str, known: str) -> bool:
    target = replace(step("models: {fast: groq/x}").target, model=name, name=f"groq/{name}")
    return Spelling(ModelData([(known, {"litellm_provider": "groq"})])).meant(target) == known


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gpt-4o-mni", "gpt-4o-mini"),
        ("gpt-4o-minii", "gpt-4o-mini"),
        ("gpt-3.5-trubo", "gpt-3.5-turbo"),
        ("gpt-3.5-turbp", "gpt-3.5-turbo"),
        ("gtp-4o", "gpt-4o"),
        ("gpt4o", "gpt-4o"),
        ("GPT-4o", "gpt-4o"),
        ("gpt_4o", "gpt-4o"),
        ("gpt-4omini", "gpt-4o-mini"),
        ("claude-4-5-sonnet", "claude-sonnet-4-5"),
        ("claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("openai/gtp-oss-20b", "openai/gpt-oss-20b"),
    ],
)
def test_a_slip_is_one(name: str, known: str) -> None:
    assert is_misspelt(name, known)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gpt-5.7", "gpt-5.6"),
        ("gpt-4.5", "gpt-5.4"),
        ("gpt-4o-2024-11-21", "gpt-4o-2024-11-20"),
        ("gpt-5.5-nano", "gpt-5.5-mini"),
        ("gpt-5.5-pro", "gpt-5.5"),
        ("gpt-5.5", "gpt-5.5-pro"),
        ("gpt-6-lyra", "gpt-6-luna"),
        ("gpt-6-lina", "gpt-6-luna"),
        ("gpt-4t", "gpt-4o"),
        ("o5-mini", "o4-mini"),
        ("claude-3-opus", "claude-opus-5"),
        ("mistral-smaller-latest", "mistral-small-latest"),
        ("gpt-4o-" + "a" * 100_000, "gpt-4o-mini"),
        ("", "gpt"),
        ("gtp-trubo-4", "gpt-turbo-4"),
    ],
)
def test_what_may_be_a_new_model_is_no_slip(name: str, known: str) -> None:
    assert not is_misspelt(name, known)
