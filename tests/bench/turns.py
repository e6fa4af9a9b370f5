"""CPU time of what takes microseconds: each is called many times, and in turn with the others."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Final

ROUNDS: Final = 50
"""For each round of the whole benchmark."""
USUAL: Final = 4 * ROUNDS
"""When it is measured alone."""


def measured(cases: Mapping[str, Callable[[], object]], *, calls: int, rounds: int) -> dict[str, list[float]]:
    """Return case → microseconds of CPU time a call, by round. Cases take turns: what disturbs one disturbs all."""
    found: dict[str, list[float]] = {case: [] for case in cases}
    gc.disable()
    try:
        for number in range(rounds + 1):
            for case, call in cases.items():
                began_ns = time.thread_time_ns()
                for _ in range(calls):
                    call()
                used_us = (time.thread_time_ns() - began_ns) / 1000 / calls
                if number:  # the first round warms up
                    found[case].append(used_us)
            gc.collect()
    finally:
        gc.enable()
    return found


def show(found: Mapping[str, list[float]]) -> None:
    """Print a line a case: the median, and the quickest round."""
    width = max(map(len, found))
    for case, rounds in found.items():
        print(f"{case:<{width}} {statistics.median(rounds):5.1f} µs   at best {min(rounds):5.1f} µs")
