"""`make footprint`: size, packages, start and idle memory, with and without LiteLLM, and of LiteLLM's proxy.

Ours are installed as the images have them, the proxy where `make bench-peers` puts it. With a folder as argument,
images are taken from there if they are there, and stay.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench import peers
from tests.bench.peers import Peer, Upstreams
from tests.bench.processes import Child, Cores, free_ports
from tests.supply import dockerfile
from tests.supply.image import folder_of

ROUNDS: Final = 5
UPSTREAM: Final = "http://127.0.0.1:9"
"""Nobody is asked."""
_SETTLED_S: Final = 1.0
"""After ready, before memory is read: what is loaded in the background has come."""


class Start(NamedTuple):
    """What one start took."""

    ready_s: float
    cpu_s: float
    """Until it was ready; other work on the machine changes it little."""
    idle_mb: float


@dataclass(frozen=True, slots=True)
class Row:
    """One installation with one configuration."""

    name: str
    peer: Peer
    packages: Path
    """Its folder site-packages."""


def main(argv: list[str]) -> int:
    """Measure, print the table, and return the exit code."""
    with folder_of(argv) as images, tempfile.TemporaryDirectory() as made:
        rows = _rows(Path(made), images)
        found: dict[str, list[Start]] = {row.name: [] for row in rows}
        for number in range(ROUNDS):
            for row in rows:
                print(f"round {number + 1}: {row.name}", file=sys.stderr, flush=True)
                found[row.name].append(_start(row.peer))
        _print(rows, found)
    return 0


def _start(peer: Peer) -> Start:
    began_s = time.monotonic()
    with Child(peer.command, cores=Cores.split().all, log=peer.log, env=peer.env) as child:
        child.wait_ready(peer.url + peer.ready)
        ready_s, cpu_s = time.monotonic() - began_s, child.cpu_s()
        time.sleep(_SETTLED_S)
        return Start(ready_s, cpu_s, child.memory_mb())


def _rows(folder: Path, images: Path) -> list[Row]:
    rows = []
    up = Upstreams(UPSTREAM, UPSTREAM)
    relayed, behind = peers.routes_yaml(up), peers.routes_yaml(up, adapter="litellm")
    for name, suffix, routes in (
        ("routes-gateway-slim", "-slim", relayed),
        ("routes-gateway", "", relayed),
        ("routes-gateway, LiteLLM targets", "", behind),
    ):
        root = dockerfile.image(images, suffix)
        own = folder / name.replace(", ", "-").replace(" ", "-")
        own.mkdir()
        (own / "routes.yaml").write_text(routes)
        (port,) = free_ports(1)
        command = (str(root / "venv/bin/gateway"), "serve", str(own / "routes.yaml"), "--port", str(port))
        peer = Peer(name=name, url=f"http://127.0.0.1:{port}", command=command, ready="/readyz", folder=own)
        rows.append(Row(name, peer, _packages(root / "venv")))
    proxy = peers.litellm_proxy(folder, up)
    if proxy is not None:
        rows.append(Row("LiteLLM proxy", proxy, _packages(peers.INSTALLED / "litellm")))
    return rows


def _packages(environment: Path) -> Path:
    (found,) = environment.glob("lib/python3*/site-packages")
    return found


def _size_mb(folder: Path) -> float:
    """Return what the sources and libraries take; what Python compiles from them is left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sum(path.lstat().st_size for path in files) / 1e6


def _print(rows: Sequence[Row], found: Mapping[str, Sequence[Start]]) -> None:
    print(
        "| | packages | installed, MB | ready after, s | CPU until then, s | idle, MB |\n|---|---:|---:|---:|---:|---:|"
    )
    for row in rows:
        own = ("pip-", "setuptools-")
        packages = [path for path in row.packages.glob("*.dist-info") if not path.name.startswith(own)]
        ready_s, cpu_s, idle_mb = (statistics.median(values) for values in zip(*found[row.name], strict=True))
        size_mb = _size_mb(row.packages)
        print(f"| {row.name} | {len(packages)} | {size_mb:,.0f} | {ready_s:.2f} | {cpu_s:.2f} | {idle_mb:.0f} |")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
