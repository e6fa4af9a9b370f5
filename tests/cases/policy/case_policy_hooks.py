"""Hooks of the cases beside: quick ones, slow ones and bad ones."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any


def greet(request: dict[str, Any]) -> dict[str, Any]:
    """Say something before the user does, and something on standard output."""
    print("greeting")
    request["messages"] = [{"role": "system", "content": "Be kind."}, *request["messages"]]
    return request


def stamp(response: dict[str, Any]) -> dict[str, Any]:
    """Leave a mark."""
    response["mark"] = {"by": "stamp", "times": 1}
    return response


async def slow(request: dict[str, Any]) -> dict[str, Any]:
    """Take four seconds of whatever clock there is."""
    await asyncio.sleep(4)
    return request


async def threaded(request: dict[str, Any]) -> dict[str, Any]:
    """Do a thread's work."""
    return await asyncio.to_thread(dict, request, seed=7)


def fail(request: dict[str, Any]) -> dict[str, Any]:
    """Fail."""
    raise ValueError("no tenant")


def fail_on_chunks(response: dict[str, Any]) -> dict[str, Any]:
    """Fail at a stream's second word."""
    delta = response["choices"][0].get("delta", {})
    if delta.get("content") == "two ":
        raise KeyError("two")
    return response


async def wait_for_ever(request: dict[str, Any]) -> dict[str, Any]:
    """Never return, whoever wants it to."""
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()
    return request
