"""Hooks for the pairs of policies in this folder."""

from __future__ import annotations

from typing import Any


def one(request: dict[str, Any]) -> dict[str, Any]:
    return request


two = three = one


async def waits(request: dict[str, Any]) -> dict[str, Any]:
    return request
