"""Both distributions, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.supply import installs


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Paths of the wheels, by the name of the distribution."""
    return installs.wheels(tmp_path_factory.mktemp("wheels"))
