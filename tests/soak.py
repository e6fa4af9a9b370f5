"""`make soak`: the config file changes ten times a second under load, for minutes; nothing is lost, and memory is flat.

The load and the upstream are those of `make bench`: wrk for plain requests, and slow streams that stay open over many
changes. Every tenth change is a broken file. Each change is a rename, and the file is never at rest for long.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bench.load import Counted, Streamed, Wrk, read_streams
from tests.bench.peers import Peer, gateway, routes_yaml, upstreams
from tests.bench.processes import BenchError, Cores, fetch

WARM_UP_S: Final = 60.0
"""From then on memory is judged; in a shorter run, from its half on."""
GROWTH_MB: Final = 4.0
"""Memory may grow by this, from the first seconds that are judged to the last."""
WINDOW: Final = 10
"""Seconds at the beginning and at the end whose mean is compared."""
JUDGED_S: Final = 100.0
"""In a run shorter than this memory is shown, and not judged."""
MOST_BEHIND: Final = 50
CONNECTIONS: Final = 40
STREAMS: Final = 50
SLOW_EVERY_S: Final = 0.1
"""Between two of the 50 events of a stream."""
ALIASES: Final = 50
BROKEN_EVERY: Final = 10
ANSWER_S: Final = 0.004
"""Supposed length of a request: wrk waits between requests so that there are as many as asked for."""


@dataclass(slots=True)
class Soaked:
    """What a run came to."""

    seconds: float
    plain: Counted
    streams: Streamed
    changes: int
    broken: int
    """Changes to a file that is not valid."""
    generation: int
    refused: int
    memory_mb: list[float] = field(default_factory=list)
    """Each second."""
    behind: list[int] = field(default_factory=list)
    """Changes since the version that runs was written, each second."""
    files: list[int] = field(default_factory=list)
    """Open descriptors, each second."""
    cpu: float = 0.0
    """Share of a processor that the gateway used."""
    in_sync: bool = False

    @property
    def judged_mb(self) -> list[float]:
        """The memory after the warm-up."""
        return self.memory_mb[int(min(WARM_UP_S, self.seconds / 2)) :]

    @property
    def growth_mb(self) -> float:
        """Return by how much memory grew after the warm-up."""
        first, last = self.judged_mb[:WINDOW], self.judged_mb[-WINDOW:]
        return sum(last) / len(last) - sum(first) / len(first)

    def findings(self) -> list[str]:
        """Return what is not as promised. A lost plain request is a BenchError already."""
        found = []
        if self.streams.broken:
            found.append(f"{self.streams.broken} of {self.streams.streams} streams were lost or broken")
        if not self.in_sync:
            found.append("the last change is not what runs")
        if max(self.behind) > MOST_BEHIND:
            found.append(f"what ran was {max(self.behind)} changes behind")
        if self.generation < 2 or (self.broken and not self.refused):
            found.append(f"of {self.changes} changes, {self.generation - 1} were loaded and {self.refused} refused")
        if self.seconds >= JUDGED_S and self.growth_mb > GROWTH_MB:
            found.append(f"memory grew by {self.growth_mb:.1f} MB after the warm-up")
        return found

    def lines(self) -> list[str]:
        """Return the figures."""
        judged = self.judged_mb
        changes = f"{self.changes} changes of the file, {self.broken} of them broken"
        loaded = (
            f"{self.generation - 1} tables loaded, {self.refused} refused, {max(self.behind)} changes behind at most"
        )
        plain = f"{self.plain.requests:,} requests, {self.plain.per_s:.0f}/s, none lost"
        grown = f"{min(judged):.1f} to {max(judged):.1f} since, {self.growth_mb:+.1f} at the end"
        return [
            f"{self.seconds:.0f} s: {changes}; {loaded}",
            f"{plain}; p50 {self.plain.p50_ms:.1f} ms, p99 {self.plain.p99_ms:.1f} ms",
            f"{self.streams.streams:,} streams of 5 s, {STREAMS} at once, {self.streams.broken} lost",
            f"memory {judged[0]:.1f} MB after the warm-up, {grown}; open files at most {max(self.files)}",
            f"{self.cpu:.0%} of a processor",
        ]


class _Changes:
    """Replaces the file again and again."""

    def __init__(self, path: Path, text: str) -> None:
        self.made = self.broken = 0
        self._path = path
        self._text = text

    def make(self, *, valid: bool = False) -> None:
        """Rename the next version into place."""
        self.made += 1
        broken = self.made % BROKEN_EVERY == 0 and not valid
        self.broken += broken
        version = "".join(f"  alias-{n}: [plain/v{self.made}, slow/v{self.made}]\n" for n in range(ALIASES))
        fresh = self._path.with_name(".fresh")
        fresh.write_text(self._text + version + ("  broken: [" if broken else ""))
        fresh.replace(self._path)

    def go_on(self, ended: threading.Event, *, every_s: float) -> None:
        """Make one each `every_s`, until the end."""
        next_s = time.monotonic()
        while not ended.wait(max(0.0, next_s - time.monotonic())):
            self.make()
            next_s = max(next_s + every_s, time.monotonic())


def soak(folder: Path, *, seconds: float, rate: float = 500.0, every_s: float = 0.1) -> Soaked:
    """Run it. Raises BenchError when a plain request was lost, or a tool is missing."""
    for tool in ("wrk", "taskset"):
        if shutil.which(tool) is None:
            raise BenchError(f"{tool} is not installed")
    cores = Cores.split()
    with upstreams(folder, cores, slow_every_s=SLOW_EVERY_S) as up:
        text = routes_yaml(up)
        peer = gateway(folder, up, routes=text)
        path = peer.log.with_name("routes.yaml")
        with peer.running(cores) as child, ThreadPoolExecutor(2) as pool:
            assert child is not None
            changes, ended, began_cpu_s = _Changes(path, text), threading.Event(), child.cpu_s()
            pause_ms = (CONNECTIONS / rate - ANSWER_S) * 1e3
            load = Wrk(
                peer.request("plain"),
                connections=CONNECTIONS,
                seconds=max(1, round(seconds)),
                cores=cores.rest,
                pause_ms=pause_ms,
            )
            slow = peer.request("slow")
            streams = pool.submit(read_streams, slow, connections=STREAMS, seconds=seconds, cores=cores.rest)
            changing = pool.submit(changes.go_on, ended, every_s=every_s)
            memory_mb, files, behind = [], [], []
            began_s = time.monotonic()
            try:
                while (passed_s := time.monotonic() - began_s) < seconds or load.running or not streams.done():
                    memory_mb.append(child.memory_mb())
                    files.append(child.open_files())
                    child.forget_log()
                    behind.append(changes.made - _version(_config(peer)))
                    time.sleep(max(0.0, len(memory_mb) - passed_s))
            finally:
                ended.set()
                plain = load.result()
            changing.result()
            cpu = (child.cpu_s() - began_cpu_s) / (time.monotonic() - began_s)
            changes.make(valid=True)
            config = _settled(peer, changes)
            return Soaked(
                seconds=seconds,
                plain=plain,
                streams=streams.result(),
                changes=changes.made,
                broken=changes.broken,
                generation=config["generation"],
                refused=_refused(peer),
                memory_mb=memory_mb,
                behind=behind,
                files=files,
                cpu=cpu,
                in_sync=config["in_sync"],
            )


def _config(peer: Peer) -> Any:
    return json.loads(fetch(f"{peer.url}/-/config")[1])


def _version(config: Any) -> int:
    """Return the number of the change that runs; 0 for the first text."""
    steps = config["config"]["models"].get("alias-0", ["plain/v0"])
    return int(steps[0].removeprefix("plain/v"))


def _settled(peer: Peer, changes: _Changes) -> Any:
    """Return `/-/config` once the last change runs, or after 10 s as it is."""
    end_s = time.monotonic() + 10
    while True:
        config = _config(peer)
        config["in_sync"] = config["in_sync"] and _version(config) == changes.made
        if config["in_sync"] or time.monotonic() > end_s:
            return config
        time.sleep(0.05)


def _refused(peer: Peer) -> int:
    lines = fetch(f"{peer.url}/metrics")[1].decode().splitlines()
    (line,) = (line for line in lines if line.startswith('gateway_config_reloads_total{result="refused"}'))
    return int(float(line.rpartition(" ")[2]))


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Change the config file again and again under load, on this machine's loopback.",
        epilog="Exit codes: 0 nothing lost and memory flat, 1 otherwise.",
    )
    parser.add_argument("--seconds", metavar="N", type=float, default=600.0, help="how long (default: 600)")
    parser.add_argument("--rate", metavar="N", type=float, default=500.0, help="plain requests a second (default: 500)")
    parser.add_argument("--every", metavar="MS", type=float, default=100.0, help="between two changes (default: 100)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        try:
            soaked = soak(Path(folder), seconds=args.seconds, rate=args.rate, every_s=args.every / 1e3)
        except BenchError as exc:
            print(f"FOUND: {exc}", file=sys.stderr)
            return 1
    print("\n".join(soaked.lines()))
    for finding in soaked.findings():
        print(f"FOUND: {finding}")
    return int(bool(soaked.findings()))


if __name__ == "__main__":
    sys.exit(main())
