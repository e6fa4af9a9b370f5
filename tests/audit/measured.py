"""`python -m tests.audit.measured LAGS CONFIG …`: `gateway serve CONFIG …`, and how late its event loop is.

The loop is asked each EVERY_S seconds, from within, and the answers are written to the file LAGS when the server ends.
The product has no such sampler: it costs nothing where nobody audits.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.cli import build_parser
from gateway.cli.serve import announce, read_options
from gateway.policy.table import RoutingTable
from gateway.server.process import serve

EVERY_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Lags:
    """How late the loop was: percentiles over time, so that a stop of a second counts as a second."""

    samples: Sequence[tuple[float, float]]
    """(seconds late, of which the machine gave the processor to others)."""

    @classmethod
    def load(cls, path: Path) -> Lags:
        """Read what the server wrote at its end."""
        values = json.loads(path.read_text())
        return cls(list(zip(values["late"], values["waited"], strict=True)))

    def own_s(self, share: float) -> float:
        """Return the percentile of the loop's own lag: the time that it waited for a processor is left out."""
        return _percentile([late - waited for late, waited in self.samples], share)

    def all_s(self, share: float) -> float:
        """Return the percentile of the lag with that time."""
        return _percentile([late for late, _ in self.samples], share)


def _percentile(lates: Sequence[float], share: float) -> float:
    """Return a percentile over points in time. A stop hid those at which the loop would have been asked again."""
    points = [late - n * EVERY_S for late in lates for n in range(1 + int(late / EVERY_S))]
    return sorted(points)[min(len(points) - 1, int(len(points) * share))] if points else 0.0


class _Sampler:
    """Asks the running event loop again and again how late it is."""

    def __init__(self) -> None:
        self._late, self._waited = array("d"), array("d")
        self._loop = asyncio.get_running_loop()
        self._stats = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self._waited_s = self._wait_for_processor_s()
        self._due_s = 0.0
        self._again()

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"late": list(self._late), "waited": list(self._waited)}))

    def _again(self) -> None:
        self._due_s = time.monotonic() + EVERY_S  # the loop's clock stands still within one of its turns
        self._loop.call_later(EVERY_S, self._ask)

    def _ask(self) -> None:
        late_s, waited_s = max(0.0, time.monotonic() - self._due_s), self._wait_for_processor_s()
        self._late.append(late_s)
        self._waited.append(min(late_s, waited_s - self._waited_s))
        self._waited_s = waited_s
        self._again()

    def _wait_for_processor_s(self) -> float:
        """Return how long this thread was able to run and had no processor (`run_delay`, in nanoseconds)."""
        return int(os.pread(self._stats, 100, 0).split()[1]) / 1e9


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM and return the exit code."""
    options = read_options(build_parser(["serve"]).parse_args(["serve", *argv[1:]]))
    samplers: list[_Sampler] = []

    def on_ready(url: str, table: RoutingTable) -> None:
        samplers.append(_Sampler())
        announce(options, url, table)

    code = serve(options, on_ready=on_ready)
    for sampler in samplers:
        sampler.save(Path(argv[0]))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
