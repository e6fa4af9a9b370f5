"""Running scenarios against an endpoint, and our gateway as such an endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.failover.client import Endpoint, exchange
from tests.failover.configs import gateway_config
from tests.failover.judge import Verdict, judge
from tests.failover.scenario import BOUND_S, CLOSE_S, Left, Scenario
from tests.failover.upstream import FaultyUpstream
from tests.gateway_process import DidNotStartError, gateway_process

CONCURRENCY: Final = 12
STAGGER_S: Final = 0.04
"""Between two scenarios' beginnings: a burst would try the machine's processors, not the endpoint."""
WARM_UP_S: Final = 60.0
"""Longest wait for a first answer: on a busy machine LiteLLM alone takes 20 s to load."""
LOG: Final = "gateway.log"


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
        heard.append(await exchange(endpoint, _body(scenario, endpoint), bound_s=BOUND_S, leave=leave))
    if isinstance(scenario.expect, Left):
        seen = len(upstream.calls_of(scenario.models))
        await upstream.wait(lambda: len(upstream.calls_of(scenario.models)) > seen, timeout_s=scenario.expect.watch_s)
    calls = upstream.calls_of(scenario.models)
    await upstream.wait(lambda: all(call.ended_s is not None for call in calls), timeout_s=CLOSE_S)
    return Result(scenario, judge(scenario, heard, upstream.calls_of(scenario.models), ours=ours))


def _body(scenario: Scenario, endpoint: Endpoint) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": endpoint.model_format.format(scenario=scenario.name),
        "messages": [{"role": "user", "content": "hello"}],
        **scenario.params,
    }
    return body | {"stream": True} if scenario.mode == "stream" else body


async def run_all(
    scenarios: Sequence[Scenario],
    endpoint: Endpoint,
    upstream: FaultyUpstream,
    *,
    ours: bool,
    concurrency: int = CONCURRENCY,
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Run scenarios, some at a time, and return their results in the order of the list."""
    await _warm_up(scenarios, endpoint)
    slots = asyncio.Semaphore(concurrency)
    turn = asyncio.Lock()

    async def run_one(scenario: Scenario) -> Result:
        async with slots:
            async with turn:
                await asyncio.sleep(STAGGER_S)
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
) -> list[Result]:
    """Start the upstream and our gateway, run scenarios, stop both. `folder` gets the gateway's config and log."""
    async with (
        FaultyUpstream(upstream_port or 0) as upstream,
        our_gateway(scenarios, upstream, adapter=adapter, folder=folder) as endpoint,
    ):
        return await run_all(scenarios, endpoint, upstream, ours=True, concurrency=concurrency)


async def _warm_up(scenarios: Sequence[Scenario], endpoint: Endpoint) -> None:
    """Let the endpoint load and connect what it needs at its first request; that is no scenario's business."""
    for scenario in {scenario.mode: scenario for scenario in reversed(scenarios)}.values():
        heard = await exchange(endpoint, _body(scenario, endpoint), bound_s=WARM_UP_S)
        if heard.status is None:
            raise NoEndpointError(f"{endpoint.url} does not answer")
        if heard.status in (401, 403):
            raise NoEndpointError(f"{endpoint.url} wants a key")


@asynccontextmanager
async def our_gateway(
    scenarios: Sequence[Scenario], upstream: FaultyUpstream, *, adapter: str, folder: Path
) -> AsyncIterator[Endpoint]:
    """Run `python -m gateway serve` on a free port, in front of the upstream. Its log goes to `LOG`."""
    config = folder / "routes.yaml"
    config.write_text(gateway_config(scenarios, upstream_url=upstream.base_url, adapter=adapter))
    try:
        async with gateway_process(config, log=folder / LOG, flags=("--log-level", "warning")) as ours:
            yield Endpoint(ours.url)
    except DidNotStartError as error:
        raise NoEndpointError(str(error)) from error
