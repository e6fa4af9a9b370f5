"""What the gateway costs stays below the figures of budgets.toml."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from tests.gateway_process import gateway_process
from tests.supply import budgets, installs, locked, slim

pytestmark = pytest.mark.timeout(60)

BUDGETS = budgets.read()


def check(name: str, measured: float, modules: list[str] | None = None) -> None:
    tops = Counter(module.partition(".")[0] for module in modules or ())
    foreign = [f"{top} {count}" for top, count in tops.most_common() if top not in sys.stdlib_module_names]
    assert measured <= BUDGETS[name].most, budgets.advice(name, measured, seen=foreign)


@pytest.mark.parametrize("name", BUDGETS)
def test_the_newest_change_of_a_budget_names_its_figure_and_a_reason(name: str) -> None:
    budget = BUDGETS[name]
    days = [re.fullmatch(r"(\d{4}-\d{2}-\d{2}): ([\d,.]+): \S.{15,}", line) for line in budget.changes]
    assert all(days), f"{name}: each line is `DATE: FIGURE: REASON`"
    dates = [day[1] for day in days if day]
    assert dates == sorted(dates), f"{name}: the newest line is the last"
    figures = [float(day[2].replace(",", "")) for day in days if day]
    assert figures[-1:] == [budget.most], f"{name}: add a line for {budget.most:g}, with its reason"


async def test_no_more_modules_are_imported_at_start(tmp_path: Path) -> None:
    modules = await budgets.modules_of_serve(tmp_path)
    assert {"gateway.server.process", "aiohttp"} <= set(modules)
    check("modules-serve", len(modules), modules)


def test_no_more_modules_are_imported_to_validate(tmp_path: Path) -> None:
    modules = budgets.modules_of_validate(tmp_path)
    assert "gateway.config.compiler.compiler" in modules
    assert not {"aiohttp", "litellm"} & set(modules)
    check("modules-validate", len(modules), modules)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
async def test_the_idle_server_takes_no_more_memory(tmp_path: Path) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text(budgets.RELAYED)
    async with gateway_process(config, log=tmp_path / "log") as gateway, aiohttp.ClientSession() as session:
        async with session.get(f"{gateway.url}/readyz") as response:
            assert response.status == 200
        check("idle-memory", gateway.memory_bytes() / 1e6)


def test_the_wheel_is_no_larger(wheels: dict[str, Path]) -> None:
    for wheel in wheels.values():
        check("wheel", wheel.stat().st_size / 1e3)


def test_no_more_packages_are_installed() -> None:
    check("distributions", len(installs.here(locked.read())))
    check("distributions-slim", len(installs.here(slim.read())))


def test_a_budget_that_is_exceeded_says_what_and_where() -> None:
    said = budgets.advice("wheel", 1e9, seen=["litellm 900"])
    assert said.startswith("wheel: 1e+09, and at most ")
    assert "tests/supply/budgets.toml says what to do" in said
    assert said.endswith("litellm 900")
