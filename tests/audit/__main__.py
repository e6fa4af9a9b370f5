"""`python -m tests.audit`: run the probes, print the table, exit with 1 when any finds something."""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import importlib
import inspect
import pkgutil
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from tests.audit import Findings, probes

Probe: TypeAlias = Callable[[float], list[str] | Awaitable[list[str]]]

SHOWN: Final = 20
"""Findings of one probe that are printed; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Result:
    """One probe, run."""

    name: str
    description: str
    findings: Findings
    seconds: float


def names() -> list[str]:
    """Return the names of all probes: the modules of `tests.audit.probes` that have a `probe`."""
    found = [module.name for module in pkgutil.iter_modules(probes.__path__) if not module.name.startswith("_")]
    return sorted(name for name in found if hasattr(_module(name), "probe"))


def run(name: str, scale: float) -> Result:
    """Run one probe. One that raises has found something: the exception."""
    module = _module(name)
    began_s = time.monotonic()
    try:
        found = cast(Probe, module.probe)(scale)
        if inspect.isawaitable(found):
            found = asyncio.run(_result(found))
    except Exception:  # noqa: BLE001 - the other probes run all the same
        found = [f"the probe failed: {traceback.format_exc()}"]
    findings = found if isinstance(found, Findings) else Findings(found)
    description = (inspect.getdoc(module) or "").partition("\n")[0]
    return Result(name, description, findings, time.monotonic() - began_s)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say and return the exit code."""
    args = _parser().parse_args(argv)
    chosen = [name for name in names() if any(fnmatch.fnmatch(name, pattern) for pattern in args.only or ["*"])]
    if not chosen:
        print(f"no probe is named {' or '.join(args.only)}; there are {', '.join(names())}", file=sys.stderr)
        return 2
    if args.list:
        print("\n".join(f"{name}: {(inspect.getdoc(_module(name)) or '').partition(chr(10))[0]}" for name in chosen))
        return 0
    results: list[Result] = []
    for name in chosen:
        print(f"audit: {name} …", file=sys.stderr, flush=True)
        results.append(run(name, args.scale))
    print(table(results))
    return int(any(result.findings for result in results))


def table(results: Sequence[Result]) -> str:
    """Return the table, and below it the figures and the findings of each probe."""
    head = ("probe", "what it tries", "tried", "findings", "seconds")
    rows = [
        (
            result.name,
            result.description,
            "" if result.findings.tried is None else f"{result.findings.tried:,}",
            str(len(result.findings)),
            f"{result.seconds:.1f}",
        )
        for result in results
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [_line(row, widths) for row in (head, tuple("-" * width for width in widths), *rows)]
    for result in results:
        lines += [f"{result.name}: {figure}" for figure in result.findings.figures]
    for result in results:
        lines += [f"FOUND by {result.name}: {finding}" for finding in result.findings[:SHOWN]]
        if len(result.findings) > SHOWN:
            lines.append(f"FOUND by {result.name}: {len(result.findings) - SHOWN} more")
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _module(name: str) -> Any:
    return importlib.import_module(f"{probes.__name__}.{name}")


async def _result(found: Awaitable[list[str]]) -> list[str]:
    return await found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.audit",
        description="Probes that try to break into the gateway, or to stop it, on this machine's loopback.",
        epilog="Exit codes: 0 nothing found, 1 findings, 2 no such probe.",
    )
    parser.add_argument("--only", metavar="NAME", action="append", help="this probe; a pattern; may be repeated")
    parser.add_argument("--scale", metavar="SHARE", type=float, default=1.0, help="share of the tries (default: 1)")
    parser.add_argument("--list", action="store_true", help="print the probes' names and what they try")
    return parser


if __name__ == "__main__":
    sys.exit(main())
