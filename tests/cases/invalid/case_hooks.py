"""Hooks for the config files beside this one: good ones, and one of each fault."""

from __future__ import annotations

from typing import Any


def plain(params: dict[str, Any]) -> dict[str, Any]:
    """A good hook."""
    return params


async def waits(params: dict[str, Any]) -> dict[str, Any]:
    """A good hook that can have a timeout."""
    return params


def two(params: dict[str, Any], more: int) -> dict[str, Any]:
    """Takes one argument too many."""
    return params


NUMBER = 3


class Cache:
    """A capability, and no hook."""


class Broken:
    """A capability that cannot be made."""

    def __init__(self) -> None:
        raise ValueError("no cache here")
