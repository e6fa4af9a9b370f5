"""`python -m tests.clients`: run the clients, print what each made of it, exit with 1 if one failed."""

from __future__ import annotations

import argparse
import fnmatch
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.clients import llama
from tests.clients.checks import Result, run_checks
from tests.clients.running import Installed, clients, prepare
from tests.paths import ROOT
from tests.wires.lab import running_lab

FOLDER: Final = ROOT / ".bench" / "clients"
LLAMA: Final = "llama.cpp"


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where `make clients` has installed them")
    parser.add_argument("--only", default="*", help="run the clients with such names, such as 'Codex*'")
    parser.add_argument("--no-breaks", action="store_true", help="break no streams: two minutes instead of ten")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        installed = Installed(args.folder / "bin" / "python", args.folder / "node_modules", Path(name))
        prepare(installed)
        results = list(_run(args, installed))
    if not results:
        print(f"no client is named {args.only!r}", file=sys.stderr)
        return 2
    failed = sum(result.outcome == "fail" for result in results)
    print(f"\n{len(results) - failed} passed, {failed} failed")
    return int(failed > 0)


def _run(args: argparse.Namespace, installed: Installed) -> list[Result]:
    results: list[Result] = []

    def tell(result: Result) -> None:
        results.append(result)
        print(
            f"{result.outcome:4} {result.took_s:5.1f} s  {result.client}: {result.check}: {result.detail}", flush=True
        )

    with running_lab() as lab:
        for client in clients(installed):
            if fnmatch.fnmatch(client.name, args.only):
                for result in run_checks(client, installed, lab, with_breaks=not args.no_breaks):
                    tell(result)
    if fnmatch.fnmatch(LLAMA, args.only):
        began_s = time.monotonic()
        found = llama.faults(installed)
        took_s = time.monotonic() - began_s
        told = "; ".join(found) or "an answer and a stream on each"
        tell(Result(LLAMA, "on all its wires", "fail" if found else "ok", told, took_s))
    return results


if __name__ == "__main__":
    sys.exit(main())
