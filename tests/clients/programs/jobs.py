"""Jobs in, a line of JSON out for each: what all programs in Python share. Standard library only."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

TOOL_RESULT = "sunny-4711"
"""What the tool of every client says; the upstream looks for it."""


def work(do: Callable[[str, str], Awaitable[str]]) -> None:
    """Do the jobs of standard input: `do` gets a kind and a model and returns the client's final text."""
    asyncio.run(_work(do))


async def _work(do: Callable[[str, str], Awaitable[str]]) -> None:
    for job in json.load(sys.stdin):
        said: dict[str, str | None] = {"text": "", "error": None}
        try:
            async with asyncio.timeout(20):
                said["text"] = await do(job["kind"], job["model"])
        except Exception as error:  # noqa: BLE001 - whatever the client raises is what we look at
            said["error"] = f"{type(error).__module__}.{type(error).__qualname__}: {str(error)[:200]}"
        print(json.dumps(said), flush=True)
