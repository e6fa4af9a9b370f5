"""`python -m tests.failover`: run the scenarios, print the table, exit with 1 when any fails."""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.failover import tables
from tests.failover.client import Endpoint
from tests.failover.configs import ADAPTERS, gateway_config, litellm_config
from tests.failover.routes import ROUTES, all_scenarios
from tests.failover.runner import CONCURRENCY, NoEndpointError, Result, run_all, run_ours
from tests.failover.scenario import CHAT, Scenario
from tests.failover.upstream import FaultyUpstream

UPSTREAM_PORT: Final = 18181
"""Where the scripted upstream listens when the endpoint is somebody else's."""

_EPILOG: Final = """\
Against our own gateway, which is started and stopped:
  python -m tests.failover
Against any other endpoint, started with what --print-config says, on chat unless --route names other wires:
  python -m tests.failover --print-config litellm > config.yaml
  python -m tests.failover --base-url http://127.0.0.1:4000 --model-format "{scenario}"
Scores: pass; ok, a clean error because the first content had been sent; fail.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say and return the exit code."""
    args = _parser().parse_args(argv)
    port = args.upstream_port if args.upstream_port is not None else UPSTREAM_PORT
    url = f"http://127.0.0.1:{port}/v1"
    if args.table:
        print(tables.side_by_side([tables.load(path) for path in args.table]))
        return 0
    scenarios = [scenario for scenario in all_scenarios() if _is_chosen(scenario, args)]
    if args.list:
        print("\n".join(scenario.full_name for scenario in scenarios))
        return 0
    if args.print_config == "gateway":
        print(gateway_config(scenarios, upstream_url=url, adapter=args.adapter), end="")
        return 0
    if args.print_config == "litellm":
        print(litellm_config(_for_others(scenarios), upstream_url=url), end="")
        return 0
    if not scenarios:
        print(f"no scenario is named {args.only!r}", file=sys.stderr)
        return 2
    try:
        results = asyncio.run(_run(args, scenarios))
    except (NoEndpointError, OSError) as error:
        print(f"failover: {error}", file=sys.stderr)
        return 2
    run = tables.as_run(args.name or args.base_url or "this gateway", results)
    print(tables.one_run(run))
    if args.save is not None:
        tables.save(run, args.save)
    return int(any(result.verdict.score == "fail" for result in results))


def _is_chosen(scenario: Scenario, args: argparse.Namespace) -> bool:
    """Tell whether a scenario is to be run. Another endpoint is configured for one route; ours runs for each."""
    one = args.base_url is not None or args.print_config is not None or args.adapter != "relay"
    routes = args.route or ([CHAT.name] if one else [route.name for route in ROUTES])
    return scenario.route.name in routes and fnmatch.fnmatch(scenario.full_name, args.only)


def _for_others(scenarios: Sequence[Scenario]) -> list[Scenario]:
    return [scenario for scenario in scenarios if not scenario.ours_only]


async def _run(args: argparse.Namespace, scenarios: Sequence[Scenario]) -> list[Result]:
    if args.base_url is None:
        with tempfile.TemporaryDirectory() as name:
            return await run_ours(
                scenarios,
                adapter=args.adapter,
                folder=Path(name),
                upstream_port=args.upstream_port,
                concurrency=args.concurrency,
            )
    endpoint = Endpoint(args.base_url, args.model_format, dict(args.header))
    chosen = list(scenarios) if args.ours else _for_others(scenarios)
    async with FaultyUpstream(UPSTREAM_PORT if args.upstream_port is None else args.upstream_port) as upstream:
        return await run_all(chosen, endpoint, upstream, ours=args.ours, concurrency=args.concurrency)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is no header, which is written 'name: value'")
    return name.strip(), value.strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.failover",
        description="Every way an upstream can fail, tried on an endpoint.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base-url", metavar="URL", help="the endpoint; without it our gateway is started")
    parser.add_argument("--model-format", metavar="TEXT", default="{scenario}", help="a scenario's model there")
    parser.add_argument(
        "--header", metavar="'NAME: VALUE'", type=_header, action="append", default=[], help="sent to the endpoint"
    )
    parser.add_argument(
        "--route",
        choices=[route.name for route in ROUTES],
        action="append",
        help="the wires of client and upstream; may be repeated",
    )
    parser.add_argument("--ours", action="store_true", help="the endpoint is this gateway: ask for all it promises")
    parser.add_argument("--adapter", choices=ADAPTERS, default="relay", help="how our targets are reached")
    parser.add_argument("--upstream-port", metavar="PORT", type=int, help=f"with --base-url {UPSTREAM_PORT}, else any")
    parser.add_argument("--print-config", choices=["gateway", "litellm"], help="print the config the endpoint needs")
    parser.add_argument("--only", metavar="PATTERN", default="*", help="only these scenarios, such as 'stream-cut-*'")
    parser.add_argument("--list", action="store_true", help="print the scenarios' names")
    parser.add_argument("--concurrency", metavar="N", type=int, default=CONCURRENCY, help="scenarios at a time")
    parser.add_argument("--name", metavar="TEXT", help="what the endpoint is called in tables")
    parser.add_argument("--save", metavar="FILE", type=Path, help="write the results, for --table")
    parser.add_argument("--table", metavar="FILE", type=Path, nargs="+", help="print saved results side by side")
    return parser


if __name__ == "__main__":
    sys.exit(main())
