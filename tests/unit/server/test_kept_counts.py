"""Who looks at a table for limits of days and months, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gateway.policy.target import Target
from gateway.server.kept_counts import WRITE_S, warn_of_forgotten
from gateway.simulation.clock import run
from tests.compiling import table

ROUTES = "models: {fast: up/a}\nproviders: {up: {kind: mock, limits: [9 requests/minute]}}\n"
LIMITED = table(ROUTES.replace("minute", "day"))


class Looked(tuple[Target, ...]):
    """Counts how often somebody goes over it."""

    times = 0

    def __iter__(self) -> Iterator[Target]:
        self.times += 1
        return super().__iter__()


class Tables:
    def __init__(self) -> None:
        self.current = table(ROUTES)


def test_a_table_is_looked_at_once_and_the_next_one_too(caplog: pytest.LogCaptureFixture) -> None:
    async def minutes() -> None:
        tables = Tables()
        targets = Looked(tables.current.targets)
        tables.current = replace(tables.current, targets=targets)
        async with asyncio.TaskGroup() as group:
            group.create_task(warn_of_forgotten(tables))
            await asyncio.sleep(20 * WRITE_S)
            assert targets.times == 1
            assert not caplog.records
            tables.current = replace(LIMITED, generation=tables.current.generation + 1)

    run(minutes())
    assert [record.__dict__["limit"] for record in caplog.records] == ["9 requests/day"]
