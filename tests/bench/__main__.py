"""`python -m tests.bench`: measure, print tables, write JSON."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.bench import cache, limits, measures, own, picks, tables, vendors
from tests.bench.figures import Run, load, save
from tests.bench.lab import Lab, Settings
from tests.bench.machine import OtherWork, describe, missing_tools
from tests.bench.peers import GATEWAY, LITELLM, NGINX, PORTKEY, RELAY, TRANSLATED, upstreams
from tests.bench.processes import BenchError, Cores, raise_file_limit

MEASURES: Final[dict[str, Callable[[Lab], None]]] = {
    "requests": measures.requests,
    "streams": measures.streams,
    "slow-streams": measures.slow_streams,
    "bodies": measures.bodies,
    "start": measures.start,
    "vendors": vendors.vendors,
    "wires": vendors.wires,
    "hooks": own.hooks,
    "aliases": own.aliases,
    "reload": own.reloads,
    "library": own.library,
    "picks": picks.picks,
    "limits": limits.limits,
    "cache": cache.cache,
}

PEERS: Final = {
    "nginx": NGINX,
    "relay": RELAY,
    "gateway": GATEWAY,
    "translated": TRANSLATED,
    "litellm": LITELLM,
    "portkey": PORTKEY,
}

_EPILOG: Final = f"""\
measures: {", ".join(MEASURES)}
peers: {", ".join(PEERS)} (the last two where `make bench-peers` has installed them)

all of it, about half an hour, on a machine that does nothing else:
  make bench ARGS='--save out.json'
while working on the relay:
  python -m tests.bench --quick --measure requests --peers nginx,relay,gateway
  python -m tests.bench --measure requests --peers gateway --beside ../main
the tables of a saved run:
  python -m tests.bench --table out.json
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say and return the exit code: 2 when nothing could be measured."""
    args = _parser().parse_args(argv)
    if args.table is not None:
        try:
            print(tables.report(load(args.table), folded=True))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            print(f"bench: {args.table} is no saved run: {error}", file=sys.stderr)
            return 2
        return 0
    fault = missing_tools() or _unwritable(args.save)
    if fault:
        print(f"bench: {fault}", file=sys.stderr)
        return 2
    raise_file_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    try:
        run = measure(_settings(args), args.measure)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print(tables.report(run))
    if args.save is not None:
        save(run, args.save)
    return 0


def _unwritable(path: Path | None) -> str | None:
    """Say why a run could not be saved there, before it takes minutes."""
    try:
        if path is not None:
            path.touch()
    except OSError as error:
        return f"cannot write {path}: {error.strerror}"
    return None


def measure(settings: Settings, names: Sequence[str]) -> Run:
    """Take these measures and return what came out. Raises BenchError when the upstream cannot be started."""
    work = OtherWork()
    run = Run(describe(), {"rounds": settings.rounds, "seconds": settings.seconds, "peers": list(settings.peers)})
    cores = Cores.split()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with upstreams(folder, cores, slow_every_s=settings.slow_every_s) as up:
            lab = Lab(settings=settings, run=run, cores=cores, folder=folder, up=up)
            for chosen in names:
                MEASURES[chosen](lab)
    run.machine["others_percent"] = round(work.percent(), 1)
    return run


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(
        rounds=args.rounds or (2 if args.quick else 3),
        seconds=args.seconds or (1 if args.quick else 2),
        peers=tuple(PEERS[name] for name in args.peers),
        beside=tuple(args.beside),
    )


class _Names:
    """Reads `a,b` as a list of known names."""

    def __init__(self, known: Sequence[str]) -> None:
        self._known = list(known)

    def __call__(self, text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in self._known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(self._known)}")
        return names


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above zero")
    return int(text)


def _checkout(text: str) -> Path:
    folder = Path(text).resolve()
    if not (folder / "gateway/__init__.py").exists():
        raise argparse.ArgumentTypeError(f"{text!r} is no checkout of this repository")
    return folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="How fast the gateway is, beside others, on the loopback of this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--measure", metavar="A,B", type=_Names(list(MEASURES)), default=list(MEASURES), help="only these (all)"
    )
    parser.add_argument(
        "--peers", metavar="A,B", type=_Names(list(PEERS)), default=list(PEERS), help="only these (all)"
    )
    parser.add_argument("--rounds", metavar="N", type=_positive, help="how often each is measured (3)")
    parser.add_argument("--seconds", metavar="N", type=_positive, help="how long each load lasts (2)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 second: a first impression")
    parser.add_argument(
        "--beside",
        metavar="DIR",
        type=_checkout,
        action="append",
        default=[],
        help="measure that checkout's gateway too",
    )
    parser.add_argument("--save", metavar="FILE", type=Path, help="write everything as JSON, for --table")
    parser.add_argument("--table", metavar="FILE", type=Path, help="print a saved run as docs/speed.md shows it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
