"""Cooldowns and retries as clients see them: whole policies under traffic, in the real engine on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import pytest

from gateway.adapters.base import Call
from gateway.policy.target import ScriptedOutcome
from gateway.simulation import clock as virtual
from gateway.simulation.simulator import Observed, Simulator
from gateway.simulation.upstreams import ANSWERED
from tests.compiling import table

_T = TypeVar("_T")

DOWN: Final = ScriptedOutcome(status=503, text=None)
CRASHED: Final = ScriptedOutcome(status=500, text=None)
HANGS: Final = ScriptedOutcome(text=None, stall=0)

UPSTREAM: Final = """\
providers: {a: {kind: openai, base_url: "http://127.0.0.1:1/v1"}, b: {kind: openai, base_url: "http://127.0.0.1:2/v1"}}
"""

Outcomes = Callable[[Call, float, int], ScriptedOutcome]
"""(call, seconds since the start, earlier calls of its target) → outcome."""


class Gateway:
    """A policy under test, and the calls that reached each target."""

    def __init__(self, text: str, outcomes: Outcomes) -> None:
        self.simulator = Simulator(table(UPSTREAM + text), self._play)
        self.calls: dict[str, int] = {}
        self._outcomes = outcomes

    def _play(self, call: Call) -> ScriptedOutcome:
        name = call.target.name
        before = self.calls.get(name, 0)
        self.calls[name] = before + 1
        return self._outcomes(call, asyncio.get_running_loop().time(), before)

    async def ask(self, model: str = "m", content: str = "hi", **more: Any) -> Observed:
        return await self.simulator.ask({"model": model, "messages": [{"role": "user", "content": content}], **more})

    async def ask_together(self, count: int, model: str = "m") -> list[Observed]:
        return await asyncio.gather(*(self.ask(model) for _ in range(count)))


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    return virtual.run(coroutine)


def statuses(answers: list[Observed]) -> set[int]:
    return {answer.status for answer in answers}


def test_a_lone_target_that_is_down_for_a_moment_costs_no_request() -> None:
    async def story() -> list[Observed]:
        gateway = Gateway("models: {m: a/p}", lambda _, now_s, __: DOWN if now_s < 0.4 else ANSWERED)
        return [await gateway.ask() for _ in range(30)]

    answers = run(story())
    assert statuses(answers) == {200}
    assert [len(answer.attempts) for answer in answers[:2]] == [3, 1]


def test_by_default_four_tries_are_made() -> None:
    """LITELLM_MAX_RETRIES is unset, so it is 3; and no rest that the failures begin ends them."""

    async def story() -> tuple[Observed, Observed]:
        gateway = Gateway("models: {m: a/p}", lambda _, __, before: DOWN if before != 7 else ANSWERED)
        return await gateway.ask(), await gateway.ask()

    first, second = run(story())
    assert (first.status, len(first.attempts)) == (503, 4)
    assert (second.status, len(second.attempts)) == (200, 4)


def test_a_burst_at_a_lone_target_that_fails_each_request_once_is_answered() -> None:
    async def story() -> list[Observed]:
        gateway = Gateway("models: {m: a/p}", lambda _, __, before: DOWN if before < 40 else ANSWERED)
        return await gateway.ask_together(40)

    assert statuses(run(story())) == {200}


def test_a_target_that_fails_two_in_a_hundred_keeps_the_others() -> None:
    async def story() -> Gateway:
        gateway = Gateway(
            "models: {m: {chain: [a/p, b/p], retries: 0}}",
            lambda call, _, before: CRASHED if call.target.name == "a/p" and before % 50 == 0 else ANSWERED,
        )
        async with asyncio.TaskGroup() as tasks:
            for _ in range(800):
                tasks.create_task(gateway.ask())
                await asyncio.sleep(0.05)
        return gateway

    assert run(story()).calls == {"a/p": 800, "b/p": 16}


def test_one_poison_request_does_not_rest_a_target_for_the_others() -> None:
    def outcome(call: Call, _: float, __: int) -> ScriptedOutcome:
        poison = call.params["messages"][0]["content"] == "poison" and call.target.name == "a/p"
        return CRASHED if poison else ANSWERED

    async def story() -> tuple[Observed, Observed]:
        gateway = Gateway("models: {m: [a/p, b/p]}", outcome)
        return await gateway.ask(content="poison"), await gateway.ask()

    poisoned, other = run(story())
    assert ([each.target for each in poisoned.attempts], other.target) == (["a/p"] * 4 + ["b/p"], "a/p")


def test_when_both_rest_and_the_first_hangs_the_second_answers() -> None:
    def outcome(call: Call, now_s: float, _: int) -> ScriptedOutcome:
        if now_s < 5:
            return DOWN
        return HANGS if call.target.name == "a/p" else ANSWERED

    async def story() -> list[Observed]:
        gateway = Gateway("models: {m: {chain: [a/p, b/p], retries: 0, timeout: 3s}}", outcome)
        for _ in range(3):
            await gateway.ask()
        await asyncio.sleep(5)
        return await gateway.ask_together(5)

    answers = run(story())
    assert statuses(answers) == {200}
    assert {tuple(each.target for each in answer.attempts) for answer in answers} == {("a/p", "b/p")}


def test_an_impatient_alias_does_not_divert_a_patient_one() -> None:
    async def story() -> tuple[Observed, Observed]:
        gateway = Gateway(
            """\
models:
  fast: {chain: [a/p, b/p], retries: 0, timeout: 300ms}
  batch: {chain: [a/p, b/p], retries: 0, timeout: 10s}
""",
            lambda call, _, __: ScriptedOutcome(text=None, delay_s=2.0 if call.target.name == "a/p" else 0.0),
        )
        for _ in range(4):
            fast = await gateway.ask("fast")
        return fast, await gateway.ask("batch")

    fast, batch = run(story())
    assert (fast.skipped, fast.target) == (("a/p",), "b/p")
    assert (batch.skipped, batch.target) == ((), "a/p")


@pytest.mark.parametrize("status", [429, 503])
def test_with_an_idle_fallback_a_retry_after_is_waited_for_once(status: int) -> None:
    def outcome(call: Call, _: float, __: int) -> ScriptedOutcome:
        return ScriptedOutcome(status=status, retry_after_s=9.0) if call.target.name == "a/p" else ANSWERED

    async def story() -> Observed:
        return await Gateway("models: {m: {chain: [a/p, b/p], retries: 2}}", outcome).ask()

    answer = run(story())
    assert (answer.target, answer.elapsed_s) == ("b/p", 9.0)


def test_a_lone_target_that_asked_for_a_minute_is_not_called_meanwhile() -> None:
    async def story() -> tuple[list[Observed], dict[str, int]]:
        gateway = Gateway(
            "models: {m: {chain: [a/p], retries: 0, deadline: 30s}}",
            lambda _, __, ___: ScriptedOutcome(status=429, retry_after_s=60.0),
        )
        answers = [await gateway.ask()]
        await asyncio.sleep(20)
        return [*answers, *await gateway.ask_together(9)], gateway.calls

    answers, calls = run(story())
    assert calls == {"a/p": 1}
    assert statuses(answers) == {429}
    assert [answer.headers["retry-after"] for answer in answers] == ["60", *["40"] * 9]


def test_it_is_waited_for_by_those_whose_deadline_allows_it() -> None:
    async def story() -> list[Observed]:
        gateway = Gateway(
            "models: {m: {chain: [a/p], retries: 0}}",
            lambda _, now_s, __: ScriptedOutcome(status=429, retry_after_s=60.0) if now_s < 60 else ANSWERED,
        )
        await gateway.ask()
        return await gateway.ask_together(9)

    answers = run(story())
    assert statuses(answers) == {200}
    assert {answer.elapsed_s for answer in answers} == {60.0}


def recovers_slowly(call: Call, now_s: float, before: int) -> ScriptedOutcome:
    """`a/p` takes half a second, is down from second 10 to 20, and then hangs once."""
    if call.target.name == "b/p":
        return ANSWERED
    if now_s < 10:
        return ScriptedOutcome(text=None, delay_s=0.5)
    if now_s < 20:
        return DOWN
    return HANGS if before == 103 else ScriptedOutcome(text=None, delay_s=0.5)


def test_a_hanging_probe_keeps_the_others_away_for_one_usual_answer_only() -> None:
    async def story() -> list[Observed]:
        gateway = Gateway("models: {m: {chain: [a/p, b/p], retries: 0}}", recovers_slowly)
        for _ in range(20):
            await gateway.ask_together(5)
            await asyncio.sleep(0.0)
        for _ in range(103 - gateway.calls["a/p"]):
            await gateway.ask()
        assert gateway.calls["a/p"] == 103
        await asyncio.sleep(30)
        answers = []
        async with asyncio.TaskGroup() as tasks:
            for _ in range(40):
                answers.append(tasks.create_task(gateway.ask()))
                await asyncio.sleep(0.1)
        return [task.result() for task in answers]

    answers = run(story())
    diverted = [number for number, answer in enumerate(answers) if answer.skipped]
    assert answers[0].target == "b/p", "the probe hung until its limit"
    assert len(diverted) <= 12, diverted


def test_timeouts_of_calls_begun_before_a_recovery_do_not_rest_the_target_again() -> None:
    def outcome(call: Call, now_s: float, _: int) -> ScriptedOutcome:
        return HANGS if call.target.name == "a/p" and now_s < 5 else ANSWERED

    async def story() -> list[Observed]:
        gateway = Gateway("models: {m: {chain: [a/p, b/p], retries: 0, timeout: 20s}}", outcome)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(10):
                tasks.create_task(gateway.ask())
            await asyncio.sleep(10)
            await gateway.ask()
        return [await gateway.ask() for _ in range(5)]

    assert {answer.target for answer in run(story())} == {"a/p"}
