"""`python -m tests.bench.state`: what limits cost in memory and in a Redis beside the gateway, and without any.

One gateway of each sort, one core for it, another for Redis, client and upstream; loads take turns, so that what
disturbs one disturbs all.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.bench import peers
from tests.bench.limits import CASES, FOUR, ONE
from tests.bench.load import Counted, Wrk
from tests.bench.peers import Peer, Upstreams
from tests.bench.processes import Child, Cores, free_ports

NONE: Final = "no limits"
CONNECTIONS: Final = (1, 32)


def main(argv: Sequence[str] | None = None) -> None:
    """Print medians: answers a second, p50, and CPU time of the gateway an answer."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.state", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load")
    given = parser.parse_args(argv)
    cores = Cores.split()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        up = stack.enter_context(peers.upstreams(folder, cores))
        (port,) = free_ports(1)
        redis = ("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
        stack.enter_context(Child(redis, cores=cores.rest, log=folder / "redis.log"))
        found: dict[tuple[str, int], list[tuple[Counted, float]]] = {}
        started = [(each, stack.enter_context(each.running(cores))) for each in _peers(folder, up, port)]
        for number in range(given.rounds + 1):
            for connections in CONNECTIONS:
                for each, child in started:
                    assert child is not None, "it has a command"
                    before_s = child.cpu_s()
                    load = Wrk(
                        each.request("plain"), connections=connections, seconds=given.seconds, cores=cores.rest
                    ).result()
                    used_us = (child.cpu_s() - before_s) * 1e6 / load.requests
                    child.forget_log()
                    if number:  # the first round warms up
                        found.setdefault((each.name, connections), []).append((load, used_us))
    for (name, connections), loads in found.items():
        per_s = statistics.median(load.per_s for load, _ in loads)
        p50_ms = statistics.median(load.p50_ms for load, _ in loads)
        used_us = statistics.median(used for _, used in loads)
        print(f"{name:<60} {connections:>3}  {per_s:7.0f}/s  p50 {p50_ms:6.3f} ms  CPU {used_us:5.0f} µs")


def _peers(folder: Path, up: Upstreams, port: int) -> list[Peer]:
    """Return the gateways: without limits, then each case in memory and in Redis."""
    made = [peers.gateway(folder, up, name=NONE)]
    for case in (ONE, FOUR):
        limits = ", ".join(CASES[case])
        more = [f"clients: {{default: {{limits: [{limits}]}}}}"]
        for where in ("memory", "Redis"):
            each = peers.gateway(folder, up, name=f"{case}: {where}", routes=peers.routes_yaml(up, more=more))
            flags = ("--state", f"redis://127.0.0.1:{port}", "--state-timeout", "1s") if where == "Redis" else ()
            made.append(replace(each, command=(*each.command, *flags)))
    return made


if __name__ == "__main__":
    main()
