"""What is measured of every peer: requests, latency, streams, memory, bodies, start."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Final

from tests.bench.figures import BUSY, USED, percentile
from tests.bench.lab import Lab, Meter, Runner
from tests.bench.load import read_streams
from tests.bench.messages import SIZES
from tests.bench.peers import GATEWAY, NGINX, RELAY, Kind
from tests.bench.processes import BenchError, Child, pinned

USUAL: Final = 32
"""Connections, unless said otherwise."""
_HALF_LOAD_PAUSE_MS: Final = 20.0
_SAMPLE_S: Final = 0.05
_LONG_BYTES: Final = 1_000_000
"""A longer body is asked for on fewer connections, and memory is told in bodies."""
_LONG_CONNECTIONS: Final = 4
RATE: Final = f"{USUAL} connections, /s"
CPU: Final = "CPU per request, µs"
CPU_OF_STREAM: Final = "CPU per stream, µs"
BARE_IMPORT: Final = "python -c 'import aiohttp.web'"


def requests(lab: Lab) -> None:
    """Requests a second, latency and CPU at each number of connections; memory before and after."""
    with lab.running(lab.peers(), direct="plain") as runners:
        for runner in runners:
            if runner.child is not None:
                lab.run.add("memory", "idle, MB", runner.name, "MB", [runner.child.memory_mb()])
        lab.warm_up(runners, "plain")
        for connections in lab.settings.connections:
            case = _connections(connections)
            lab.say(f"requests: {case}")
            lab.rotate(runners, lambda runner: _requests(lab, runner, connections, case))  # noqa: B023 - used at once
        for runner in runners:
            if runner.child is not None:
                lab.run.add("memory", "after the load, MB", runner.name, "MB", [runner.child.memory_mb()])
        _half_load(lab, runners)
    _tell_idle(lab, "requests")


def _requests(lab: Lab, runner: Runner, connections: int, case: str) -> None:
    meter = Meter(runner.child)
    counted = lab.load(runner.peer.request("plain"), connections)
    cpu_us, busy = 1e6 * meter.cpu_s() / counted.requests, meter.busy()
    add = lab.run.add
    add("requests", f"{case}, /s", runner.name, "/s", [counted.per_s])
    if connections == 1:
        add("latency", f"{case}, p50, ms", runner.name, "ms", [counted.p50_ms])
        add("latency", f"{case}, p99, ms", runner.name, "ms", [counted.p99_ms])
    if runner.child is not None and connections == USUAL:
        add("requests", CPU, runner.name, "µs", [cpu_us])
        add("requests", USED, runner.name, "%", [busy])


def _tell_idle(lab: Lab, measure: str) -> None:
    """Say whose rate was not limited by their own core."""
    used = [figure for figure in lab.run.figures if (figure.measure, figure.case) == (measure, USED)]
    idle = [f"{figure.peer} ({figure.value:.0f} %)" for figure in used if figure.value < BUSY]
    if idle:
        lab.note(
            f"{measure} at {USUAL} connections: {', '.join(idle)} did not use up the core. Client, upstream or other"
            " work on this machine held it up, and it can do more than is shown; CPU time tells how much"
        )


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"


def _half_load(lab: Lab, runners: list[Runner]) -> None:
    """Latency when each is asked half as often as it could answer."""
    lab.say("latency: half load")

    def at_half(runner: Runner) -> None:
        most = lab.run.value("requests", RATE, runner.name)
        if most is None:
            return
        connections = max(1, round(most / 2 * _HALF_LOAD_PAUSE_MS / 1e3))
        counted = lab.load(runner.peer.request("plain"), connections, pause_ms=_HALF_LOAD_PAUSE_MS)
        lab.run.add("latency", "half load, p50, ms", runner.name, "ms", [counted.p50_ms])
        lab.run.add("latency", "half load, p99, ms", runner.name, "ms", [counted.p99_ms])

    lab.rotate(runners, at_half)


def streams(lab: Lab) -> None:
    """Streams a second, CPU per stream, and the time to the first event of one stream at a time."""
    with lab.running(lab.peers(), direct="stream") as runners:
        lab.warm_up(runners, "stream")
        lab.say("streams: 32 connections")
        lab.rotate(runners, lambda runner: _streams(lab, runner))
        lab.say("streams: 1 connection")
        lab.rotate(runners, lambda runner: _first_event(lab, runner))
    _tell_idle(lab, "streams")


def _streams(lab: Lab, runner: Runner) -> None:
    meter = Meter(runner.child)
    counted = lab.load(runner.peer.request("stream"), USUAL)
    cpu_us, busy = 1e6 * meter.cpu_s() / counted.requests, meter.busy()
    lab.run.add("streams", RATE, runner.name, "/s", [counted.per_s])
    if runner.child is not None:
        lab.run.add("streams", CPU_OF_STREAM, runner.name, "µs", [cpu_us])
        lab.run.add("streams", USED, runner.name, "%", [busy])


def _first_event(lab: Lab, runner: Runner) -> None:
    read = read_streams(
        runner.peer.request("stream"), connections=1, seconds=lab.settings.seconds, cores=lab.cores.rest
    )
    if read.broken or not read.first_ms:
        raise BenchError(f"{read.broken} of {read.streams} streams were not whole")
    lab.run.add("streams", "first event p50, ms", runner.name, "ms", [percentile(read.first_ms, 50)])
    lab.run.add("streams", "first event p99, ms", runner.name, "ms", [percentile(read.first_ms, 99)])


def slow_streams(lab: Lab) -> None:
    """Many streams at once whose events come slowly: is any lost or late, and what do they cost?"""
    count = lab.settings.slow_streams
    with lab.running(lab.peers(NGINX, RELAY, GATEWAY), direct="slow") as runners:
        lab.say(f"slow streams: {count} at a time")
        lab.rotate(runners, lambda runner: _slow(lab, runner, count), rounds=1)


def _slow(lab: Lab, runner: Runner, count: int) -> None:
    meter = Meter(runner.child)
    with _Peak(runner.child) as peak:
        read = read_streams(runner.peer.request("slow"), connections=count, seconds=0, cores=lab.cores.rest)
    if not read.late_ms:
        raise BenchError(f"none of {read.streams} slow streams brought an event")
    add = lab.run.add
    add("slow streams", "lost or broken", runner.name, "", [float(read.broken)])
    add("slow streams", "event late by p50, ms", runner.name, "ms", [percentile(read.late_ms, 50)])
    add("slow streams", "event late by p99, ms", runner.name, "ms", [percentile(read.late_ms, 99)])
    if runner.child is not None:
        add("slow streams", "memory at most, MB", runner.name, "MB", [peak.memory_mb])
        add("slow streams", USED, runner.name, "%", [meter.busy()])


class _Peak:
    """The most memory that a process has used within the `with` block."""

    def __init__(self, child: Child | None) -> None:
        self._child = child
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.memory_mb = 0.0

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while self._child is not None and not self._over.wait(_SAMPLE_S):
            self.memory_mb = max(self.memory_mb, self._child.memory_mb())


def bodies(lab: Lab) -> None:
    """Requests a second with questions, and answers, of several lengths."""
    kind: Kind = "sized"
    with lab.running(lab.peers(NGINX, RELAY, GATEWAY), direct=kind) as runners:
        idle_mb = {runner.name: 0.0 if runner.child is None else runner.child.memory_mb() for runner in runners}
        lab.warm_up(runners, kind)
        for name in lab.settings.sizes:
            lab.say(f"bodies: {name}")
            lab.rotate(runners, lambda runner: _bodies(lab, runner, name, idle_mb[runner.name]))  # noqa: B023 - used at once
        for runner in runners:
            if runner.child is not None:
                lab.run.add("bodies", "memory afterwards, MB", runner.name, "MB", [runner.child.memory_mb()])


def _bodies(lab: Lab, runner: Runner, name: str, idle_mb: float) -> None:
    length = SIZES[name]
    connections = _LONG_CONNECTIONS if length > _LONG_BYTES else USUAL
    meter = Meter(runner.child)
    with _Peak(runner.child) as peak:
        counted = lab.load(runner.peer.request("sized", length=length), connections)
    add = lab.run.add
    add("bodies", f"{name}, /s", runner.name, "/s", [counted.per_s])
    if runner.child is None:
        return
    add("bodies", f"{name}, CPU ms", runner.name, "ms", [1e3 * meter.cpu_s() / counted.requests])
    if length > _LONG_BYTES:
        in_bodies = (peak.memory_mb - idle_mb) * 1e6 / (connections * length)
        add("bodies", f"{name}, memory ÷ body", runner.name, "", [in_bodies])


def start(lab: Lab) -> None:
    """From the start of the process to its first good answer, beside the bare import of aiohttp's server."""
    lab.say("start")
    imported = [*pinned(lab.cores.peer), sys.executable, "-c", "import aiohttp.web"]
    peers = lab.peers()
    for _ in range(lab.settings.rounds):
        began_s = time.monotonic()
        subprocess.run(imported, check=True)
        lab.run.add("start", "ready after, ms", BARE_IMPORT, "ms", [1e3 * (time.monotonic() - began_s)])
        for peer in peers:
            began_s = time.monotonic()
            try:
                with peer.running(lab.cores):
                    lab.run.add("start", "ready after, ms", peer.name, "ms", [1e3 * (time.monotonic() - began_s)])
            except BenchError as error:
                lab.note(f"{peer.name} is left out: {error}")
