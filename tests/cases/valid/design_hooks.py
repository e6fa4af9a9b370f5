"""The hooks and the capability that `design-example.yaml` names."""

from __future__ import annotations

from typing import Any


def redact(params: dict[str, Any]) -> dict[str, Any]:
    """Do nothing."""
    return params


def add_system_message(params: dict[str, Any]) -> dict[str, Any]:
    """Do nothing."""
    return params


async def add_metadata(params: dict[str, Any]) -> dict[str, Any]:
    """Do nothing, but async, as a hook with a timeout must be."""
    return params


class CachedEmbedding:
    """A capability."""
