"""Where measuring happens: the upstream runs, peers are started for it, and rounds go over them in rotation."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench import peers as builders
from tests.bench.figures import Run
from tests.bench.load import Counted, Request, Wrk
from tests.bench.peers import Kind, Peer, Upstreams
from tests.bench.processes import BenchError, Child, Cores

_MOST_S: Final = 300.0
"""Seconds for a number of answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long and how often."""

    rounds: int
    seconds: float
    """Of each load."""
    warm_up_s: float = 1.0
    peers: tuple[str, ...]
    connections: tuple[int, ...] = (1, 32, 256)
    slow_streams: int = 1000
    slow_every_s: float = 0.2
    """Between two events of one of them."""
    alias_counts: tuple[int, ...] = (1, 100, 10_000, 100_000)
    wildcards: int = 10_000
    reloaded_aliases: int = 10_000
    library_calls: int = 400
    streams_of_each: int = 1500
    """Streams of each kind of target, where targets are compared."""
    stamped_streams: int = 100
    """Streams at once whose events must not wait for the translation of others."""
    sizes: tuple[str, ...] = ("1 KB", "100 KB", "10 MB")
    beside: tuple[Path, ...] = ()
    """Other checkouts of this repository whose gateway is measured too."""


@dataclass(frozen=True, slots=True)
class Runner:
    """A peer that runs."""

    peer: Peer
    child: Child | None

    @property
    def name(self) -> str:
        return self.peer.name


@dataclass(slots=True)
class Lab:
    """What every measure works with."""

    settings: Settings
    run: Run
    cores: Cores
    folder: Path
    up: Upstreams
    say: Callable[[str], None] = field(default=lambda text: print(text, file=sys.stderr, flush=True))

    def peers(self, *names: str) -> list[Peer]:
        """Return those of these peers that were chosen and are installed; without names, all of them."""
        made: list[Peer] = []
        build: dict[str, builders.Builder] = {
            builders.NGINX: builders.nginx,
            builders.RELAY: builders.relay,
            builders.GATEWAY: builders.gateway,
            builders.TRANSLATED: builders.translated,
            builders.LITELLM: builders.litellm_proxy,
            builders.PORTKEY: builders.portkey,
        }
        for name, builder in build.items():
            if name in self.settings.peers and (not names or name in names):
                peer = builder(self.folder, self.up)
                made += [] if peer is None else [peer]
            if name == builders.GATEWAY and (not names or name in names):
                made += [
                    builders.gateway(self.folder, self.up, name=f"gateway of {code}", code=code)
                    for code in self.settings.beside
                ]
        return made

    @contextmanager
    def running(self, peers: Sequence[Peer], *, direct: Kind | None = None) -> Iterator[list[Runner]]:
        """Start these peers, and warm each up; `direct` puts the upstream itself in front. What fails is left out."""
        with ExitStack() as stack:
            runners: list[Runner] = []
            if direct is not None:
                runners.append(Runner(builders.direct(self.folder, self.up, direct), None))
            for peer in peers:
                try:
                    runners.append(Runner(peer, stack.enter_context(peer.running(self.cores))))
                except (BenchError, OSError) as error:
                    self.note(f"{peer.name} is left out: {error}")
            yield runners

    def rotate(
        self, runners: Sequence[Runner], measure: Callable[[Runner], None], *, rounds: int | None = None
    ) -> None:
        """Measure each in turn, and again, as often as there are rounds. One that fails is left out from then on."""
        failed: set[str] = set()
        for _ in range(self.settings.rounds if rounds is None else rounds):
            for runner in runners:
                if runner.name in failed:
                    continue
                try:
                    measure(runner)
                except BenchError as error:
                    failed.add(runner.name)
                    self.note(f"{runner.name}: {error}")
                if runner.child is not None:
                    runner.child.forget_log()

    def load(
        self, request: Request, connections: int, *, pause_ms: float = 0.0, seconds: float = 0.0, answers: int = 0
    ) -> Counted:
        """Let wrk ask, for so many `answers` if given, and return what it counted."""
        seconds = _MOST_S if answers else seconds or self.settings.seconds
        wrk = Wrk(
            request,
            connections=connections,
            seconds=seconds,
            cores=self.cores.rest,
            pause_ms=pause_ms,
            answers=answers,
        )
        return wrk.result()

    def warm_up(self, runners: Sequence[Runner], kind: Kind, connections: int = 32) -> None:
        """Let each answer for a while before anything counts."""
        for runner in runners:
            with suppress(BenchError):  # what fails here will say so when it is measured
                self.load(runner.peer.request(kind), connections, seconds=self.settings.warm_up_s)

    def note(self, text: str) -> None:
        """Keep and show something that the reader of the figures must know."""
        if text not in self.run.notes:
            self.run.notes.append(text)
            self.say(f"note: {text}")


class Meter:
    """CPU time of a peer and of the clock, between two looks."""

    def __init__(self, child: Child | None) -> None:
        self._child = child
        self._cpu_s = self._now()
        self._began_s = time.monotonic()

    def cpu_s(self) -> float:
        """Return the seconds of CPU since the first look."""
        return self._now() - self._cpu_s

    def busy(self) -> float:
        """Return how much of one core that was, in percent."""
        return 100 * self.cpu_s() / (time.monotonic() - self._began_s)

    def _now(self) -> float:
        return 0.0 if self._child is None else self._child.cpu_s()
