"""Sequences that hypothesis draws, played one after the other."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.model import steps
from tests.model.play import Differs, Played, play

SEQUENCE_S: Final = 120.0
"""One that takes longer hangs."""
MOST_FAULTS: Final = 3
"""After so many a process plays no more."""
TELL_EVERY: Final = 25


@dataclass(slots=True)
class Result:
    """What one process found."""

    seed: int
    played: list[Played] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def play_some(
    number: int,
    count: int,
    *,
    most: int = 14,
    end_s: float = float("inf"),
    say: Callable[[str], None] = lambda text: None,
) -> Result:
    """Play `count` sequences, the same for each seed `number`. At `end_s`, seconds since the epoch, play no more.

    `say` is told of faults at once, and how far it is.
    """
    result, tried = Result(number), 0

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(steps.sequences(most=most))
    def run(sequence: steps.Sequence) -> None:
        nonlocal tried
        if time.time() >= end_s or len(result.faults) >= MOST_FAULTS or tried >= count:
            return
        tried += 1
        try:
            with tempfile.TemporaryDirectory() as folder:
                result.played.append(asyncio.run(asyncio.wait_for(play(sequence, Path(folder)), SEQUENCE_S)))
        except Exception as exc:  # noqa: BLE001 - told with the sequence
            result.faults.append(f"{sequence}\n{_said(exc)}")
            say(f"seed {number}: {result.faults[-1]}")
        if tried % TELL_EVERY == 0:
            say(f"seed {number}: {tried} of {count} sequences, {len(result.faults)} failed")

    run()
    return result


def complain(text: str) -> None:
    """Print to stderr; here, since the processes that play cannot import `__main__`."""
    print(text, file=sys.stderr, flush=True)


def _said(exc: BaseException) -> str:
    """Return the text of an exception, or of those in a group."""
    if isinstance(exc, BaseExceptionGroup):
        return "\n".join(_said(one) for one in exc.exceptions)
    return str(exc) if isinstance(exc, Differs) else repr(exc)
