"""Hooks of `hooks.yaml`."""

from typing import Any


async def slow(request: dict[str, Any]) -> dict[str, Any]:
    return request


def quick(request: dict[str, Any]) -> dict[str, Any]:
    return request


async def stamp(response: dict[str, Any]) -> dict[str, Any]:
    return response
