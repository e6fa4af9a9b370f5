"""Finds LiteLLM's own file of model data, to compare with."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from gateway.config.model_data import FILE


def model_data_file() -> Path:
    """Return the installed LiteLLM's file."""
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / FILE
