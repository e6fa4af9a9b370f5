"""The scenarios against our gateway as a process: chat relayed, chat through LiteLLM, and a part on the other routes.

The scenarios of a run go together, once, before the first test that wants one of their results.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, TypeAlias

import pytest

from tests.failover.routes import all_scenarios
from tests.failover.runner import LOG, Result, run_ours
from tests.failover.scenario import CHAT, BrokenOff, Scenario
from tests.failover.scenarios import SCENARIOS

Results: TypeAlias = Callable[[str], dict[str, Result]]

OF_EACH_ROUTE: Final = {
    "healthy", "500-once", "401", "quota", "context-too-long", "content-filter", "bad-request", "account-told-with-400",
    "error-in-200", "empty-200", "no-text", "tool-call", "split-at-every-byte", "gzip", "usage", "cut-0",
    "empty-deltas", "malformed-0", "error-event-first", "only-done", "cut-40", "stall-40", "malformed-40",
    "error-event-40", "bare-error-40", "no-finish", "all-down", "all-rate-limited", "client-leaves-streaming",
}  # fmt: skip
"""Scenarios of chat, without their mode, that are tests on the other routes too: those that tell the wires apart."""


def _is_test(scenario: Scenario) -> bool:
    """Tell whether a scenario of another route than chat is a test, and not only part of `make failover`.

    What only an upstream's wire has is tried where it is relayed, and no held stream where it is translated.
    """
    is_relayed = scenario.route.client == scenario.route.upstream
    if scenario.fault in OF_EACH_ROUTE | {"pings-40"}:
        return is_relayed or not scenario.hold
    return is_relayed and scenario.fault not in _OF_CHAT


_OF_CHAT: Final = {scenario.fault for scenario in SCENARIOS}
_ROUTES: Final = [scenario for scenario in all_scenarios() if scenario.route is not CHAT and _is_test(scenario)]
RUNS: Final[dict[str, tuple[str, Sequence[Scenario]]]] = {
    "relay": ("relay", SCENARIOS),
    "functions": ("functions", SCENARIOS),
    "classes": ("classes", SCENARIOS),
    "routes": ("relay", _ROUTES),
}
"""Run → adapter of the targets that speak the client's wire, and scenarios."""
STAGGER_S: Final = 0.015
"""Less than in `make failover`, where other gateways are tried: at 0.04 s the runs waited for it most of the time."""
CASES: Final = [
    pytest.param(run, scenario, id=f"{run}-{scenario.full_name}")
    for run, (_, scenarios) in RUNS.items()
    for scenario in scenarios
]


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return the results of one run by scenario, of those scenarios only whose tests were chosen."""
    done: dict[str, dict[str, Result] | tuple[Exception, TracebackType | None]] = {}

    def of(run: str) -> dict[str, Result]:
        if run not in done:
            try:
                done[run] = _run(_chosen(request.session.items, run), RUNS[run][0], tmp_path_factory.mktemp(run))
            except Exception as error:  # noqa: BLE001 - raised again for each test
                done[run] = error, error.__traceback__
        results = done[run]
        if isinstance(results, tuple):
            fault, traceback = results
            raise fault.with_traceback(traceback)  # else each test would add its own
        return results

    return of


def _run(scenarios: list[Scenario], adapter: str, folder: Path) -> dict[str, Result]:
    ran = asyncio.run(run_ours(scenarios, adapter=adapter, folder=folder, stagger_s=STAGGER_S))
    faults = [line for log in folder.rglob(LOG) for line in log.read_text().splitlines() if _is_fault(line)]
    if faults:
        raise GatewayFaultError("\n".join(faults))
    return {result.scenario.full_name: result for result in ran}


class GatewayFaultError(Exception):
    """The gateway logged a fault of its own."""


def _chosen(items: list[pytest.Item], run: str) -> list[Scenario]:
    chosen = {item.name for item in items}
    return [scenario for scenario in RUNS[run][1] if f"test_scenario[{run}-{scenario.full_name}]" in chosen]


def _is_fault(line: str) -> bool:
    return not line.startswith("{") or json.loads(line)["level"] == "error"


@pytest.mark.timeout(180)  # the first test waits for all scenarios of its run
@pytest.mark.parametrize(("run", "scenario"), CASES)
def test_scenario(run: str, scenario: Scenario, results: Results) -> None:
    verdict = results(run)[scenario.full_name].verdict
    assert not verdict.told + verdict.conduct, (
        f"the caller got {verdict.caller}, the targets were called {verdict.calls}"
    )
    assert verdict.score == ("ok" if isinstance(scenario.expect, BrokenOff) else "pass")


def test_every_scenario_that_is_only_ok_passes_when_the_whole_answer_is_held() -> None:
    names = {scenario.full_name for scenario in all_scenarios()}
    late = [scenario.full_name for scenario in all_scenarios() if isinstance(scenario.expect, BrokenOff)]
    assert {name.replace("stream-", "held-") for name in late} <= names


def test_names_are_distinct_and_fit_an_alias() -> None:
    names = [scenario.full_name for scenario in all_scenarios()]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").replace("@", "").isalnum() for name in names)


def test_the_scenarios_of_each_route_exist() -> None:
    assert _OF_CHAT >= OF_EACH_ROUTE
