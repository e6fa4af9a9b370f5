"""Finds the parts of the loaded LiteLLM that its classes are called by. `loading.py` alone loads it."""

from __future__ import annotations

import importlib
from typing import Any


def part(name: str = "") -> Any:
    """Return a module below `litellm`; without a name LiteLLM itself. Raises ImportError if the release has none."""
    return importlib.import_module(f"litellm.{name}" if name else "litellm")
