"""Every scenario against our gateway as a process: through the relay, and through LiteLLM.

The scenarios of an adapter run together, once, before the first test that wants one of their results.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, TypeAlias

import pytest

from tests.failover.runner import CONCURRENCY, LOG, Result, run_ours
from tests.failover.scenario import BrokenOff, Scenario
from tests.failover.scenarios import SCENARIOS

Results: TypeAlias = Callable[[str], dict[str, Result]]

CASES: Final = [
    pytest.param(adapter, scenario, id=f"{adapter}-{scenario.name}")
    for adapter in ("relay", "litellm")
    for scenario in SCENARIOS
]


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return the results of one adapter by scenario, of those scenarios only whose tests were chosen."""
    done: dict[str, dict[str, Result] | tuple[Exception, TracebackType | None]] = {}

    def of(adapter: str) -> dict[str, Result]:
        if adapter not in done:
            try:
                done[adapter] = _run(_chosen(request.session.items, adapter), adapter, tmp_path_factory.mktemp(adapter))
            except Exception as error:  # noqa: BLE001 - raised again for each test
                done[adapter] = error, error.__traceback__
        results = done[adapter]
        if isinstance(results, tuple):
            fault, traceback = results
            raise fault.with_traceback(traceback)  # else each test would add its own
        return results

    return of


def _run(scenarios: list[Scenario], adapter: str, folder: Path) -> dict[str, Result]:
    """Run scenarios side by side, and those that failed once more alone: a limit of 1.5 s is short in a crowd."""
    results = _run_with(scenarios, adapter, folder, CONCURRENCY)
    if failed := [result.scenario for result in results.values() if result.verdict.score == "fail"]:
        results |= _run_with(failed, adapter, folder, 1)
    return results


def _run_with(scenarios: list[Scenario], adapter: str, folder: Path, concurrency: int) -> dict[str, Result]:
    ran = asyncio.run(run_ours(scenarios, adapter=adapter, folder=folder, concurrency=concurrency))
    faults = [line for line in (folder / LOG).read_text().splitlines() if _is_fault(line)]
    if faults:
        raise GatewayFaultError("\n".join(faults))
    return {result.scenario.name: result for result in ran}


class GatewayFaultError(Exception):
    """The gateway logged a fault of its own."""


def _chosen(items: list[pytest.Item], adapter: str) -> list[Scenario]:
    chosen = {item.name for item in items}
    return [scenario for scenario in SCENARIOS if f"test_scenario[{adapter}-{scenario.name}]" in chosen]


def _is_fault(line: str) -> bool:
    return not line.startswith("{") or json.loads(line)["level"] == "error"


@pytest.mark.timeout(180)  # the first test waits for all scenarios of its adapter
@pytest.mark.parametrize(("adapter", "scenario"), CASES)
def test_scenario(adapter: str, scenario: Scenario, results: Results) -> None:
    verdict = results(adapter)[scenario.name].verdict
    assert not verdict.told + verdict.conduct, (
        f"the caller got {verdict.caller}, the targets were called {verdict.calls}"
    )
    assert verdict.score == ("ok" if isinstance(scenario.expect, BrokenOff) else "pass")


def test_every_scenario_that_is_only_ok_passes_when_the_whole_answer_is_held() -> None:
    names = {scenario.name for scenario in SCENARIOS}
    late = [scenario.name for scenario in SCENARIOS if isinstance(scenario.expect, BrokenOff)]
    assert {name.replace("stream-", "held-") for name in late} <= names


def test_names_are_distinct_and_fit_an_alias() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() for name in names)
