"""`python -m tests.bench.library ROUTES URL CALLS`: our own cost over the LiteLLM library, in one process.

`litellm.acompletion` alone and `complete_chat` of a provider that reaches the same upstream through it take turns;
the CPU time of each is printed as JSON, in microseconds a call, the median of its turns.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Final

os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_MODE="PRODUCTION")

import litellm
import uvloop

from gateway.library.provider import Provider
from tests.bench.messages import EVENTS, question
from tests.bench.own import ALONE, OURS

BLOCK: Final = 2
"""Calls before the other one has its turn: the machine's own pace drifts by more than what is looked for."""
_MESSAGES: Final = json.loads(question("plain"))["messages"]


class _WrongAnswerError(Exception):
    """What came back is not what the upstream sends."""


async def _measure(routes: str, url: str, calls: int) -> dict[str, dict[str, float]]:
    provider = Provider.from_file(routes)
    settings = {"api_key": "none", "max_retries": 0, "num_retries": 0, "timeout": 30.0}

    async def alone() -> None:
        answer = await litellm.acompletion(
            model="openai/bench-model", api_base=f"{url}/sized/v1", messages=_MESSAGES, **settings
        )
        _check(bool(answer.choices[0].message.content))

    async def ours() -> None:
        answer = await provider.complete_chat(model="sized", messages=_MESSAGES)
        _check(bool(answer["choices"][0]["message"]["content"]))

    async def alone_streamed() -> None:
        stream = await litellm.acompletion(
            model="openai/bench-model", api_base=f"{url}/stream/v1", messages=_MESSAGES, stream=True, **settings
        )
        _check(len([chunk async for chunk in stream]) >= EVENTS)

    async def ours_streamed() -> None:
        stream = provider.stream_chat(model="stream", messages=_MESSAGES)
        _check(len([chunk async for chunk in stream]) >= EVENTS)

    litellm.suppress_debug_info = True
    try:
        return {
            "answer": await _take_turns({ALONE: alone, OURS: ours}, calls),
            "stream": await _take_turns({ALONE: alone_streamed, OURS: ours_streamed}, max(1, calls // 5)),
        }
    finally:
        await provider.close()
        await litellm.close_litellm_async_clients()  # type: ignore[attr-defined,no-untyped-call] # found when asked for


async def _take_turns(contenders: dict[str, Callable[[], Awaitable[None]]], calls: int) -> dict[str, float]:
    spent_s: dict[str, list[float]] = {name: [] for name in contenders}
    block = min(BLOCK, calls)
    for call in contenders.values():
        for _ in range(block):
            await call()
    # What the library has loaded is as large as what many calls make. A collection of all of it hits whoever is at it,
    # and in a fixed order it is the same one each time.
    gc.collect()
    gc.freeze()
    order = list(contenders.items())
    chance = random.Random(0)
    done = 0
    while done < calls:
        chance.shuffle(order)
        for name, call in order:
            began_s = time.process_time()
            for _ in range(block):
                await call()
            spent_s[name].append(time.process_time() - began_s)
        done += block
    return {name: 1e6 * median(blocks) / block for name, blocks in spent_s.items()}


def _check(good: bool) -> None:
    if not good:
        raise _WrongAnswerError


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_measure(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
