"""Words that look random are hidden; names, addresses and plain words are not."""

from __future__ import annotations

import pytest

from gateway.policy.secrets import mask_key, mask_text


@pytest.mark.parametrize(
    "word",
    ["k3v8q0zw5mx1", "Zq8planted7folded", "9f86d081884c7d659a2feaa0c55ad015", "7ubihfddltkgnictq7ss",
     "wnsw7yt257slazelvwkr", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AKIAIOSFODNN7EXAMPLE", "JBSWY3DPEHPK3PXP",
     "Orek1b2PjZTeOxRAl3uqOWYvlhBHW10Byxz63ruFjp8=", "550e8400-e29b-41d4-a716-446655440000", "qzkvbnwtrxplmdgf",
     "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"],
)  # fmt: skip
def test_a_word_that_looks_random_is_hidden_wherever_it_stands(word: str) -> None:
    assert mask_text(word) == "***"
    assert mask_text(f"found '{word}' here") == "found '***' here"
    assert mask_key(f"x {word}") == "x ***"


@pytest.mark.parametrize(
    "text",
    ["no target named 'gpt-4o-mni'; did you mean 'gpt-4o-mini-2024-07-18'?", "claude-3-5-sonnet-20241022",
     "huggingface/HuggingFaceH4/zephyr-7b-beta", "together_ai/meta-llama/Meta-Llama-3.1-405B-Instruct-Turbo",
     "'gpt4omini2024' is no target", "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "accounts/my/a1b2c3d4e5f6",
     "http://gateway.example.com/v1/0123456789abcdef0123456789abcdef/openai", "examples.hooks.MyFilterVersion2",
     "'" + "x" * 70 + "'", "Rechtsschutzversicherung", "2026-06-01T12:00:00Z", "max_completion_tokens",
     "/run/secrets/v2"],
)  # fmt: skip
def test_names_addresses_and_plain_words_are_shown(text: str) -> None:
    assert mask_text(text) == text


def test_an_address_or_a_target_with_a_key_in_it_hides_the_key() -> None:
    key = "wJalrXUtnFEMIq7"
    assert mask_text(f"openai/{key}") == "openai/***"
    assert mask_text(f"https://h/{key}/x?a=k3v8q0zw5mx1") == "https://h/***/x?a=***"
    assert mask_text(f"{key}/openai") == "***"


def test_a_name_that_the_file_chose_may_look_odd() -> None:
    assert mask_text("no alias 'Llama3Instruct2'") == "no alias '***'"
    assert mask_text("no alias 'Llama3Instruct2'", {"Llama3Instruct2"}) == "no alias 'Llama3Instruct2'"
    assert mask_key("Llama3Instruct2", {"Llama3Instruct2"}) == "Llama3Instruct2"


@pytest.mark.parametrize(
    "letters", ["a1b2c3d4e5f6-", "a1B2c3D4e5F6/x:", "=x1y2z3a4b5c6", "?a=", "bcdfgh", "A", "a.b", "a: "]
)
def test_masking_takes_linear_time(letters: str) -> None:
    """Quadratic time would take longer than a test may."""
    assert mask_text(letters * 20_000 + " k3v8q0zw5mx1").endswith("***")
