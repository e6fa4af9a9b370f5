"""Secrets in damaged config files: no command prints one. `tests/audit` searches for longer."""

from __future__ import annotations

import pytest

from tests.audit.probes.planted_secrets import probe


@pytest.mark.parametrize("seed", range(1, 9))
def test_no_command_prints_a_secret_of_a_damaged_file(seed: int) -> None:
    assert probe(0.0, seed=seed) == []
