"""Hooks of `hooks.yaml` and `caches.yaml`."""

import time
import uuid
from typing import Any


async def slow(request: dict[str, Any]) -> dict[str, Any]:
    return request


def quick(request: dict[str, Any]) -> dict[str, Any]:
    return request


async def stamp(response: dict[str, Any]) -> dict[str, Any]:
    return response


def adds_id(request: dict[str, Any]) -> dict[str, Any]:
    return {**request, "seed_of": str(uuid.uuid4())}


def adds_time(request: dict[str, Any]) -> dict[str, Any]:
    return {**request, "words": [f"{time.time()} {word}" for word in request.get("words", ())]}
