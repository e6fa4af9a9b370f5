"""Where the tests find the repository and their case files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "gateway"
CASES: Final = ROOT / "tests" / "cases"
