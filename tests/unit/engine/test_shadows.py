"""What is sent to shadows, and how calls of them end, on a virtual clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.adapters.base import Adapter, Call, Reply
from gateway.adapters.events import Stream
from gateway.adapters.mock import MockAdapter
from gateway.adapters.translated import with_translation
from gateway.engine.bound import Bound
from gateway.engine.request import RoutedRequest
from gateway.engine.shadows import MAX_S, ShadowCall, Shadows
from gateway.operations import OPERATIONS
from gateway.policy.target import ScriptedOutcome
from gateway.simulation import clock as virtual
from gateway.simulation.upstreams import ANSWERED
from gateway.telemetry.report import CallReport
from gateway.wire.json import JsonObject
from tests.compiling import route

ROUTES = """
defaults: {timeout: 10m}
models:
  fast: {chain: [mock/a], shadow: {target: mock/s, share: 1}}
  told: {chain: [mock/a], params: {store: true, tools: [{type: mcp}]}, shadow: {target: mock/s, share: 1}}
"""


class Faulty:
    """An adapter with a fault of its own."""

    async def prepare(self) -> None:
        """Do nothing."""

    async def complete(self, call: Call) -> Reply:
        raise RuntimeError("a fault")

    async def stream(self, call: Call) -> Stream:
        raise RuntimeError("a fault")

    async def close(self) -> None:
        """Do nothing."""


def ended(
    outcome: ScriptedOutcome = ANSWERED,
    *,
    alias: str = "fast",
    operation: str = "chat",
    stream: bool = False,
    adapter: Adapter | None = None,
    wait_s: float = 2 * MAX_S,
    bound: Bound | None = None,
    **params: Any,
) -> list[tuple[str, int, list[str | None], float]]:
    """Send one request to a shadow; return kind, status, kinds of the attempts, and when it ended."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        mock = adapter or MockAdapter(lambda _: outcome)

        def note(call: ShadowCall) -> None:
            kinds = [None if one.kind is None else str(one.kind) for one in call.report.attempts]
            found.append((call.kind, call.status, kinds, round(loop.time() - call.started_s, 3)))

        shadows = Shadows(adapters=with_translation({"mock": mock, "litellm": mock, "relay": mock}), on_end=note)
        known = route(ROUTES, alias)
        assert known.shadow is not None
        asked = OPERATIONS[operation]
        body: JsonObject = {**asked.example, **params}
        report = CallReport(request_id="r", alias=alias)
        request = RoutedRequest(asked, alias, known, body, {}, loop.time(), report, bound=bound)
        shadows.send(request, known.shadow, stream=stream)  # nothing owns a call yet
        async with asyncio.TaskGroup() as group:
            running = group.create_task(shadows.run())
            await asyncio.sleep(0)
            shadows.send(request, known.shadow, stream=stream)
            await asyncio.sleep(wait_s)
            running.cancel()

    found: list[tuple[str, int, list[str | None], float]] = []
    virtual.run(run())
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_read_to_its_end(*, stream: bool) -> None:
    assert ended(stream=stream) == [("ok", 200, [None], 0)]


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_ends_after_a_minute(*, stream: bool) -> None:
    assert ended(ScriptedOutcome(text="one two", stall=1), stream=stream) == [("timeout", 504, ["timeout"], MAX_S)]


def test_a_failure_is_told_by_its_kind_and_not_retried() -> None:
    assert ended(ScriptedOutcome(status=503)) == [("overloaded", 503, ["overloaded"], 0)]


def test_a_fault_of_ours_ends_one_call_only(caplog: pytest.LogCaptureFixture) -> None:
    assert ended(adapter=Faulty()) == [("error", 500, [], 0)]
    assert "a shadow's call failed unexpectedly" in caplog.text


def test_the_end_of_the_process_drops_a_call() -> None:
    assert ended(ScriptedOutcome(text="late", delay_s=30), wait_s=5) == [("dropped", 499, [], 5)]


@pytest.mark.parametrize(
    "asked",
    [
        {"store": True},
        {"alias": "told"},
        {"tools": [{"type": "mcp"}]},
        {"operation": "responses", "store": False},
        {"operation": "moderations"},
        {"bound": Bound(0, "container")},
        {"operation": "messages", "container": "c_1"},
    ],
)
def test_what_must_not_be_repeated_is_not(asked: dict[str, Any]) -> None:
    assert ended(**asked) == []


@pytest.mark.parametrize("operation", ["chat", "completions", "messages", "embeddings"])
def test_what_may_be_repeated_is(operation: str) -> None:
    assert [kind for kind, *_ in ended(operation=operation)] == ["ok"]
