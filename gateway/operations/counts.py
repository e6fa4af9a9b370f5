"""Token counts that upstreams report."""

from __future__ import annotations

from typing import Final

from gateway.wire.json import Json

MAX_TOKENS: Final = 2**53
"""Larger token counts are ignored as invalid."""


def counts(**told: Json) -> dict[str, int]:
    """Return the valid counts by name; others, None among them, are left out."""
    return {name: value for name, value in told.items() if type(value) is int and 0 <= value < MAX_TOKENS}
