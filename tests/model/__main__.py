"""`python -m tests.model`: play random sequences in several processes at once; exit with 1 when one differs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.model.drawn import Result, complain, play_some


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say and return the exit code."""
    args = _parser().parse_args(argv)
    began_s, end_s = time.monotonic(), time.time() + args.minutes * 60
    each = -(-args.sequences // args.at_once)
    with ProcessPoolExecutor(args.at_once, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(
                play_some, args.seed + number, min(each, args.sequences - number * each), end_s=end_s, say=complain
            )
            for number in range(args.at_once)
            if args.sequences > number * each
        ]
        results = [job.result() for job in jobs]
    print(summary(results, time.monotonic() - began_s))
    return int(any(result.faults for result in results))


def summary(results: Sequence[Result], seconds: float) -> str:
    """Return what was played, in lines."""
    played = [one for result in results for one in result.played]
    live_s = sorted(second for one in played for second in one.live_s) or [0.0]
    failed = sum(len(result.faults) for result in results)
    return (
        f"{len(played)} sequences passed, {failed} failed, in {seconds:.0f} s\n"
        f"{sum(one.checks for one in played):,} states compared, {sum(one.requests for one in played):,} requests, "
        f"{sum(one.streams for one in played)} streams open over edits, {sum(one.starts for one in played)} starts\n"
        f"{len(live_s)} edits were live after {live_s[len(live_s) // 2] * 1e3:.0f} ms in the median, "
        f"{live_s[len(live_s) * 99 // 100] * 1e3:.0f} ms at p99, {live_s[-1] * 1e3:.0f} ms at most"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.model",
        description="Random edits, requests, reloads and crashes of a gateway process, compared with a model.",
        epilog="Exit codes: 0 all passed, 1 one differs from the model.",
    )
    parser.add_argument("--sequences", metavar="N", type=int, default=500, help="how many (default: 500)")
    parser.add_argument("--minutes", metavar="N", type=float, default=60.0, help="begin no more after (default: 60)")
    most = (os.cpu_count() or 1) * 2
    parser.add_argument("--at-once", metavar="N", type=int, default=most, help="processes (default: two a processor)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="other sequences (default: 0)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
