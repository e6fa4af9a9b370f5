"""Secrets in damaged config files: no command prints one. `tests/audit` searches for longer."""

from __future__ import annotations

import random

import pytest

from tests.audit.probes.planted_secrets import damaged, probe


@pytest.mark.parametrize("seed", range(1, 9))
def test_no_command_prints_a_secret_of_a_damaged_file(seed: int) -> None:
    assert probe(0.0, seed=seed) == []


@pytest.mark.parametrize("text", ["", "a"])
def test_a_text_that_an_earlier_slip_left_short_is_damaged_too(text: str) -> None:
    assert len({damaged(text, random.Random(seed)) for seed in range(100)}) > 10
