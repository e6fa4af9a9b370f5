"""Which efforts models behind chat take."""

from __future__ import annotations

import pytest

from gateway.adapters.anthropic.chat_models import chat_model


@pytest.mark.parametrize(
    ("name", "wanted", "sent"),
    [
        ("gpt-4o", "high", None),
        ("gpt-4.1-mini", "none", None),
        ("gpt-5", "none", "minimal"),
        ("gpt-5-mini", "max", "high"),
        ("gpt-5-codex", "minimal", "low"),
        ("gpt-5-chat-latest", "high", None),
        ("gpt-5.1", "none", "none"),
        ("gpt-5.1", "xhigh", "high"),
        ("gpt-5.1", "minimal", "low"),
        ("gpt-5.1-codex-max", "max", "xhigh"),
        ("openai/gpt-5.4", "xhigh", "xhigh"),
        ("o3", "none", "low"),
        ("o4-mini", "max", "high"),
        ("o1-mini", "high", None),
        ("gpt-oss-120b", "none", "low"),
        ("gemini-3-pro", "max", "high"),
        ("grok-3-mini", "medium", "low"),
        ("llama-3.1-8b", "high", None),
        ("gpt-5.1", "so-so", None),
    ],
)
def test_the_effort_is_the_nearest_that_the_model_takes(name: str, wanted: str, sent: str | None) -> None:
    assert chat_model(name).effort(wanted) == sent


@pytest.mark.parametrize(
    ("name", "refuses"),
    [("gpt-5.2", False), ("gpt-5.4", True), ("gpt-5.6-terra", True), ("gpt-6", True), ("o3", False)],
)
def test_newer_models_refuse_tools_together_with_an_effort(name: str, refuses: bool) -> None:
    """Source: https://github.com/openai/openai-openapi/issues/541."""
    assert chat_model(name).refuses_tools_with_effort is refuses
