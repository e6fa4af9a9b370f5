"""A table of very many aliases stops the event loop for no request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import orjson
import pytest

from gateway.telemetry.counters import SETTLED
from gateway.telemetry.exposition import HISTOGRAM_ROWS
from gateway.telemetry.report import Attempt, CallReport
from tests.server.conftest import RunningGateway, Start

COUNT = 20_000
NAMES = [f"team-{number % 97}/gpt-4o-mini-{number}" for number in range(COUNT)]
ROUTES = "version: 1\nmodels:\n" + "".join(f"  {name}: mock/echo\n" for name in NAMES)


@pytest.fixture
async def gateway(start: Start) -> RunningGateway:
    started: RunningGateway = await start(ROUTES)
    return started


async def _longest_stop_s(work: Coroutine[Any, Any, object]) -> float:
    """Return the most CPU time between two turns of the event loop while `work` runs."""
    longest_s = 0.0
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        while not task.done():
            before_s = time.thread_time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.thread_time() - before_s)
    return longest_s


async def _turns(work: Coroutine[Any, Any, object]) -> int:
    """Return how often other tasks could run while `work` ran."""
    turns = 0
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
    return turns


async def test_unknown_models_and_the_list_leave_the_loop_running(gateway: RunningGateway) -> None:
    stops_s = [await _longest_stop_s(gateway.chat("team-3/gpt-4o-mini-abc")) for _ in range(3)]
    assert min(stops_s) < 0.01  # 0.6 s by comparing all names
    error = (await gateway.chat("team-3/gpt-4o-mino-3")).error
    assert error["message"].endswith("; did you mean 'team-3/gpt-4o-mini-3'?")
    # Only the first request makes the list, a slice of 100 at a turn of the loop.
    first, second = await _turns(gateway.get("/v1/models")), await _turns(gateway.get("/v1/models"))
    assert first - second >= COUNT / 100 / 2
    answers = await asyncio.gather(gateway.get("/v1/models"), gateway.get("/v1/models"))
    assert [entry["id"] for entry in orjson.loads(answers[0].body)["data"]] == NAMES
    assert answers[0].body == answers[1].body


async def test_pages_and_what_the_models_can_do_leave_the_loop_running_too(start: Start) -> None:
    gateway = await start(ROUTES.replace("mock/echo", "openai/gpt-4o"))
    first, second = await _turns(gateway.get("/v1/models")), await _turns(gateway.get("/v1/models"))
    assert first - second >= COUNT / 100 / 2
    path = f"/v1/models?limit=1000&after_id={NAMES[-1001]}"
    page = await gateway.get(path, headers={"anthropic-version": "2023-06-01"})
    assert [(entry["id"], entry["type"]) for entry in page.json["data"]] == [(name, "model") for name in NAMES[-1000:]]


async def test_a_scrape_of_all_of_them_leaves_the_loop_running(gateway: RunningGateway) -> None:
    attempts = [Attempt("mock/echo", "mock/echo", None, 200, 20.0)]
    reports = [CallReport(alias=name, attempts=attempts) for name in NAMES]
    gateway.parts._metrics.hear([(report, "chat", 200, False, None, None, None, 0.3, 0.0) for report in reports])
    assert await _turns(gateway.get("/metrics")) >= COUNT / SETTLED + COUNT / HISTOGRAM_ROWS
    text = (await gateway.get("/metrics")).body.decode()
    assert text.count("\ngateway_request_seconds_count{") == text.count("\ngateway_alias_cooldown{") == COUNT


async def test_the_list_is_that_of_the_live_table(gateway: RunningGateway) -> None:
    await gateway.get("/v1/models")
    gateway.config.write_text("version: 1\nmodels: {only: mock/echo}\n")
    assert (await gateway.request("POST", "/-/reload")).status == 200
    assert [entry["id"] for entry in (await gateway.get("/v1/models")).json["data"]] == ["only"]
