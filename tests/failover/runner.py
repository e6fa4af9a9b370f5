"""Running scenarios against an endpoint, and our gateway as such an endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from tests.failover.client import Endpoint, Heard, Leave, exchange
from tests.failover.configs import gateway_config
from tests.failover.judge import Verdict, judge
from tests.failover.reading import READERS
from tests.failover.scenario import BOUND_S, CLOSE_S, Left, Scenario
from tests.failover.upstream import FaultyUpstream
from tests.gateway_process import DidNotStartError, gateway_process

CONCURRENCY: Final = 12
STAGGER_S: Final = 0.04
"""Between two scenarios' beginnings: a burst would try the machine's processors, not the endpoint."""
WARM_UP_S: Final = 60.0
"""Longest wait for a first answer: on a busy machine LiteLLM alone takes 20 s to load."""
LOG: Final = "gateway.log"
AGAIN: Final = "again"
READY_LOOK_S: Final = 0.1


class NoEndpointError(Exception):
    """There is nothing to run scenarios against."""


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario, run and judged."""

    scenario: Scenario
    verdict: Verdict


async def run_scenario(scenario: Scenario, endpoint: Endpoint, upstream: FaultyUpstream, *, ours: bool) -> Result:
    """Run one scenario and judge it."""
    for model, script in zip(scenario.models, scenario.scripts, strict=True):
        if script is not None:
            upstream.play(model, script)
    leave = scenario.expect.leave if isinstance(scenario.expect, Left) else None
    heard = []
    for pause_s in scenario.pauses_s:
        await asyncio.sleep(pause_s)
        heard.append(await _ask(scenario, endpoint, leave))
    if isinstance(scenario.expect, Left):
        seen = len(upstream.calls_of(scenario.models))
        await upstream.wait(lambda: len(upstream.calls_of(scenario.models)) > seen, timeout_s=scenario.expect.watch_s)
    calls = upstream.calls_of(scenario.models)
    await upstream.wait(lambda: all(call.ended_s is not None for call in calls), timeout_s=CLOSE_S)
    return Result(scenario, judge(scenario, heard, upstream.calls_of(scenario.models), ours=ours))


async def _ask(
    scenario: Scenario, endpoint: Endpoint, leave: Leave | None = None, *, bound_s: float = BOUND_S
) -> Heard:
    reader = READERS[scenario.route.client]
    fields = {
        "model": endpoint.model_format.format(scenario=scenario.full_name),
        **reader.request(scenario.prompt, tools=scenario.tools),
        **scenario.params,
        **(reader.streaming if scenario.mode == "stream" else {}),
    }
    return await exchange(
        endpoint, reader.body(fields), bound_s=bound_s, leave=leave, path=reader.path, headers=reader.headers
    )


async def run_all(
    scenarios: Sequence[Scenario],
    endpoint: Endpoint,
    upstream: FaultyUpstream,
    *,
    ours: bool,
    concurrency: int = CONCURRENCY,
    stagger_s: float = STAGGER_S,
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Run scenarios, some at a time, and return their results in the order of the list."""
    await _warm_up(scenarios, endpoint)
    slots = asyncio.Semaphore(concurrency)
    turn = asyncio.Lock()

    async def run_one(scenario: Scenario) -> Result:
        async with slots:
            async with turn:
                await asyncio.sleep(stagger_s)
            result = await run_scenario(scenario, endpoint, upstream, ours=ours)
        on_result(result)
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run_one(scenario)) for scenario in scenarios]
    return [task.result() for task in tasks]


async def run_ours(
    scenarios: Sequence[Scenario],
    *,
    adapter: str,
    folder: Path,
    upstream_port: int | None = None,
    concurrency: int = CONCURRENCY,
    stagger_s: float = STAGGER_S,
) -> list[Result]:
    """Start the upstream and our gateway, run scenarios, stop both. `folder` gets the gateway's config and log.

    Scenarios that failed in a crowd run once more alone, with a log in `again`: a limit of 1.5 s is short in a crowd.
    """
    results = await _run_ours(scenarios, adapter, folder, upstream_port, concurrency, stagger_s)
    failed = [place for place, result in enumerate(results) if result.verdict.score == "fail"]
    if failed and concurrency > 1:
        (folder / AGAIN).mkdir()
        again = await _run_ours(
            [scenarios[place] for place in failed], adapter, folder / AGAIN, upstream_port, 1, stagger_s
        )
        for place, result in zip(failed, again, strict=True):
            results[place] = result
    return results


async def _run_ours(
    scenarios: Sequence[Scenario],
    adapter: str,
    folder: Path,
    upstream_port: int | None,
    concurrency: int,
    stagger_s: float,
) -> list[Result]:
    async with (
        FaultyUpstream(upstream_port or 0) as upstream,
        our_gateway(scenarios, upstream, adapter=adapter, folder=folder) as endpoint,
    ):
        return await run_all(scenarios, endpoint, upstream, ours=True, concurrency=concurrency, stagger_s=stagger_s)


async def _warm_up(scenarios: Sequence[Scenario], endpoint: Endpoint) -> None:
    """Let the endpoint load and connect what it needs at its first request; that is no scenario's business."""
    for scenario in {(scenario.route.name, scenario.mode): scenario for scenario in reversed(scenarios)}.values():
        heard = await _ask(scenario, endpoint, bound_s=WARM_UP_S)
        if heard.status is None:
            raise NoEndpointError(f"{endpoint.base_url} does not answer")
        if heard.status in (401, 403):
            raise NoEndpointError(f"{endpoint.base_url} wants a key")


async def _until_ready(url: str) -> None:
    """Wait until everything is loaded: loading LiteLLM takes the time that scenarios are measured in."""
    async with asyncio.timeout(WARM_UP_S), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/readyz") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(READY_LOOK_S)


@asynccontextmanager
async def our_gateway(
    scenarios: Sequence[Scenario], upstream: FaultyUpstream, *, adapter: str, folder: Path
) -> AsyncIterator[Endpoint]:
    """Run `python -m gateway serve` on a free port, in front of the upstream. Its log goes to `LOG`."""
    config = folder / "routes.yaml"
    config.write_text(gateway_config(scenarios, upstream_url=upstream.base_url, adapter=adapter))
    try:
        async with gateway_process(config, log=folder / LOG, flags=("--log-level", "warning")) as ours:
            await _until_ready(ours.url)
            yield Endpoint(ours.url)
    except DidNotStartError as error:
        raise NoEndpointError(str(error)) from error
