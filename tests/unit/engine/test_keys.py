"""Several keys of one target: in turn, one after the other while they are refused, each with a rest of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.base import Reply
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.engine.attempts import Engine
from gateway.engine.health import Health
from gateway.engine.keys import KeyOrder
from gateway.engine.request import RoutedRequest
from gateway.errors import UpstreamFailed, UpstreamRefused
from gateway.operations import CHAT
from gateway.policy.keys import KeyList, KeySource, Secret
from gateway.policy.table import Route, Step
from gateway.policy.target import Cooldown, Endpoint, Limits, Target
from gateway.telemetry.report import CallReport
from tests.scripted_openai import ScriptedOpenAI
from tests.streaming import data_of

LIMITS = Limits(connect_s=2, first_token_s=2, idle_s=2, total_s=2)
COOLDOWN = Cooldown(failures=2, share=0.0, within_s=60.0, for_s=30.0)
LIMITED: dict[str, Any] = {"status": 429, "retry_after": 60}
REVOKED: dict[str, Any] = {"status": 401}


class Bench:
    """An engine that relays to a scripted upstream with several keys."""

    def __init__(self, upstream: ScriptedOpenAI) -> None:
        self.upstream = upstream
        self.health = Health()
        self.relay = RelayAdapter()
        self.engine = Engine(adapters={"relay": self.relay}, health=self.health, jitter=lambda: 0.0)
        self.report = CallReport()

    def step(
        self, keys: str | Sequence[KeySource] = "abc", *, model: str = "m", cooldown: Cooldown = COOLDOWN, **values: Any
    ) -> Step:
        sources = [one if isinstance(one, KeySource) else KeySource(name=one, value=Secret(one)) for one in keys]
        api_key = KeyList(sources) if len(sources) > 1 else sources[0]
        endpoint = Endpoint(
            provider="up", kind="openai", adapter="relay", base_url=self.upstream.base_url, api_key=api_key,
            key_required=True, cooldown=cooldown,
        )  # fmt: skip
        target = Target(name=f"up/{model}", model=model, label=f"up/{model}", endpoint=endpoint)
        return Step(target=target, limits=LIMITS, **values)

    def request(self, *steps: Step, key_order: KeyOrder | None = None, **values: Any) -> RoutedRequest:
        self.report = CallReport()
        return RoutedRequest(
            operation=CHAT,
            model="smart",
            route=Route(alias="smart", steps=steps, **values),
            params={"messages": [{"role": "user", "content": "hi"}]},
            headers={},
            started_s=asyncio.get_running_loop().time(),
            report=self.report,
            key_order=key_order,
        )

    async def ask(self, *steps: Step, **values: Any) -> Reply:
        return await self.engine.complete(self.request(*steps, **values))

    async def stream(self, *steps: Step, **values: Any) -> str:
        """Return the text of a whole stream."""
        datas = await data_of(await self.engine.open_stream(self.request(*steps, **values)))
        return "".join(choice["delta"].get("content") or "" for data in datas for choice in data.get("choices", []))

    @property
    def keys(self) -> str:
        """The keys of all calls so far."""
        return "".join(self.upstream.keys)

    @property
    def kinds(self) -> list[str | None]:
        return [attempt.kind for attempt in self.report.attempts]

    def state(self, step: Step, *, later_s: float = 0.0) -> str:
        """Return what the target is in, `/-/targets` says."""
        now_s = asyncio.get_running_loop().time() + later_s
        return str(self.health.snapshot(step.target, now_s)["state"])

    def states(self, step: Step) -> list[str]:
        """Return the same of each key."""
        now_s = asyncio.get_running_loop().time()
        return [str(self.health.snapshot(one, now_s, of=step.target)["state"]) for one in step.target.by_key]

    def in_flight(self, step: Step) -> int:
        targets = (step.target, *step.target.by_key)
        return sum(int(self.health.snapshot(one, 0.0)["in_flight"]) for one in targets)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with ScriptedOpenAI() as upstream:
        made = Bench(upstream)
        yield made
        await made.relay.close()


async def test_keys_are_used_in_turn(bench: Bench) -> None:
    step = bench.step()
    for _ in range(7):
        await bench.ask(step)
    assert bench.keys == "abcabca"
    assert bench.in_flight(step) == 0


async def test_each_target_has_its_own_turn(bench: Bench) -> None:
    """Else two targets that are asked alternately would use one key each."""
    one, other = bench.step("ab"), bench.step("ab", model="n")
    for _ in range(2):
        await bench.ask(one)
        await bench.ask(other)
    assert bench.keys == "aabb"


@pytest.mark.parametrize("refused", [LIMITED, REVOKED, {"status": 402}, {"status": 429}], ids=str)
async def test_a_refused_key_rests_and_the_next_one_is_called_at_once(bench: Bench, refused: dict[str, Any]) -> None:
    bench.upstream.script_key("a", **refused)
    step = bench.step()
    for _ in range(4):
        await bench.ask(step)
    assert bench.keys == "abcbc"
    assert bench.states(step) == ["cooldown", "ok", "ok"]
    assert bench.state(step) == "ok"
    assert bench.in_flight(step) == 0


async def test_each_call_is_an_attempt_that_names_its_key(bench: Bench) -> None:
    bench.upstream.script_key("a", **LIMITED).script_key("b", **REVOKED)
    await bench.ask(bench.step())
    assert bench.kinds == ["rate_limit", "auth", None]
    assert bench.report.calls == 3
    shorts = [KeySource(name="", value=Secret(key)).short for key in "abc"]
    assert [attempt.key for attempt in bench.report.attempts] == shorts
    assert [attempt.logged()["key"] for attempt in bench.report.attempts] == shorts
    assert all("key" not in attempt.public() for attempt in bench.report.attempts)


async def test_further_keys_count_neither_as_retries_nor_in_max_attempts(bench: Bench) -> None:
    bench.upstream.script_key("a", **LIMITED).script_key("b", **LIMITED)
    reply = await bench.ask(bench.step(retries=0), max_attempts=1)
    assert (bench.keys, reply.data["choices"][0]["finish_reason"]) == ("abc", "stop")


async def test_keys_are_tried_whatever_the_step_retries_or_falls_back_on(bench: Bench) -> None:
    bench.upstream.script_key("a", **REVOKED)
    await bench.ask(bench.step(retry_on=frozenset(), fallback_on=frozenset()))
    assert bench.keys == "ab"


async def test_a_key_that_rests_is_no_other_key_to_try(bench: Bench) -> None:
    bench.upstream.script_key("a", **LIMITED)
    step, other = bench.step("ab"), bench.step("z", model="n")
    await bench.ask(step)
    bench.upstream.script_key("b", **LIMITED)
    await bench.ask(step, other)
    assert bench.keys == "ab" + "bz"


async def test_other_failures_are_the_targets_and_no_other_key_is_tried(bench: Bench) -> None:
    bench.upstream.script("m", status=500)
    step, other = bench.step(), bench.step("z", model="n")
    await bench.ask(step, other)
    assert bench.keys == "az"
    assert bench.states(step) == ["ok", "ok", "ok"]


async def test_a_server_that_is_down_rests_after_as_many_failures_as_with_one_key(bench: Bench) -> None:
    bench.upstream.script("m", status=500)
    step, other = bench.step(), bench.step("z", model="n")
    for _ in range(3):
        await bench.ask(step, other)
    assert bench.keys == "az" + "bz" + "z"
    assert (bench.state(step), bench.states(step)) == ("cooldown", ["cooldown"] * 3)


async def test_the_target_rests_while_all_its_keys_do(bench: Bench) -> None:
    for key in "abc":
        bench.upstream.script_key(key, **LIMITED)
    step, other = bench.step(), bench.step("z", model="n")
    for _ in range(2):
        await bench.ask(step, other)
    assert bench.keys == "abcz" + "z"
    assert bench.kinds == ["cooldown", None]
    assert bench.state(step) == "cooldown"


async def test_when_all_keys_are_limited_the_client_is_told_the_shortest_wait(bench: Bench) -> None:
    for key, seconds in ("a", 90), ("b", 70), ("c", 80):
        bench.upstream.script_key(key, status=429, retry_after=seconds)
    step = bench.step()
    for _ in range(2):
        with pytest.raises(UpstreamFailed) as failed:
            await bench.ask(step, deadline_s=5.0)
        assert failed.value.status == 429
        assert 60 < (failed.value.retry_after_s or 0) <= 70
    assert bench.keys == "abc"


async def test_a_wait_that_fits_the_deadline_is_for_the_first_key_that_is_free_again(bench: Bench) -> None:
    bench.upstream.script_key("a", status=429, retry_after=60)
    bench.upstream.script_key("b", status=429, retry_after=0.2).script_key("b", reply="hello")
    await bench.ask(bench.step("ab", retries=1))
    assert (bench.keys, bench.kinds) == ("abb", ["rate_limit", "rate_limit", None])


async def test_a_limit_tells_more_than_a_revoked_key_whichever_came_last(bench: Bench) -> None:
    bench.upstream.script_key("a", **LIMITED).script_key("b", **REVOKED)
    with pytest.raises(UpstreamFailed) as failed:
        await bench.ask(bench.step("ab"), deadline_s=5.0)
    assert (failed.value.status, bench.kinds) == (429, ["rate_limit", "auth"])
    assert 50 < (failed.value.retry_after_s or 0) <= 60


async def test_with_all_keys_revoked_the_client_gets_502_as_with_one(bench: Bench) -> None:
    bench.upstream.script("m", **REVOKED)
    step = bench.step("ab")
    with pytest.raises(UpstreamFailed) as failed:
        await bench.ask(step)
    assert (failed.value.status, bench.keys) == (502, "ab")
    with pytest.raises(UpstreamFailed):  # nothing else is left, so one is called as if it did not rest
        await bench.ask(step)
    assert bench.keys == "aba"


async def test_a_revoked_key_is_not_the_last_resort_while_another_was_only_too_busy(bench: Bench) -> None:
    bench.upstream.script_key("a", **REVOKED).script_key("b", status=429)
    step = bench.step("ab")
    for _ in range(2):
        with pytest.raises(UpstreamFailed) as failed:
            await bench.ask(step)
        assert failed.value.status == 429
    assert bench.keys == "ab" + "b"


async def test_a_key_whose_rest_is_over_is_used_again_and_its_answer_ends_the_rest(bench: Bench) -> None:
    bench.upstream.script_key("a", **REVOKED).script_key("a", reply="hello")
    step = bench.step("ab", cooldown=Cooldown(for_s=0.02))
    await bench.ask(step)
    await asyncio.sleep(0.03)
    assert bench.states(step) == ["probing", "ok"]
    await bench.ask(step)
    assert (bench.keys, bench.states(step)) == ("aba", ["ok", "ok"])


async def test_while_one_request_tries_a_key_whose_rest_is_over_others_use_the_others(bench: Bench) -> None:
    bench.upstream.script_key("a", **REVOKED).script_key("a", reply="hello", delay_s=0.2)
    step = bench.step("abc", cooldown=Cooldown(for_s=0.02))
    await bench.ask(step)
    await bench.ask(step)
    await asyncio.sleep(0.03)
    await asyncio.gather(*(bench.ask(step) for _ in range(5)))
    assert sorted(bench.keys) == sorted("ab" + "c" + "abcbc")


async def test_a_stream_tries_the_other_keys_before_its_first_content(bench: Bench) -> None:
    bench.upstream.script_key("a", **LIMITED)
    bench.upstream.script_key(
        "b", chunks=0, error_event_after=0, error={"type": "insufficient_quota", "code": "insufficient_quota"}
    )
    bench.upstream.script_key("c", chunks=["one ", "two"])
    step = bench.step()
    assert await bench.stream(step) == "one two"
    assert (bench.keys, bench.kinds) == ("abc", ["rate_limit", "billing", None])
    assert bench.in_flight(step) == 0


async def test_a_request_error_is_the_clients_with_any_key(bench: Bench) -> None:
    bench.upstream.script("m", status=400)
    step = bench.step()
    with pytest.raises(UpstreamRefused):
        await bench.ask(step)
    assert (bench.keys, bench.states(step)) == ("a", ["ok"] * 3)


async def test_only_the_one_key_of_a_step_that_names_it_is_used(bench: Bench) -> None:
    bench.upstream.script_key("b", **LIMITED)
    step = bench.step(key=1)
    with pytest.raises(UpstreamFailed) as failed:
        await bench.ask(step, deadline_s=5.0)
    assert (failed.value.status, bench.keys) == (429, "b")
    with pytest.raises(UpstreamFailed):
        await bench.ask(step, deadline_s=5.0)
    assert bench.keys == "b"
    await bench.ask(bench.step())
    assert bench.keys == "ba"


async def test_a_request_may_bring_its_own_order_of_keys(bench: Bench) -> None:
    """Of a sticky pool's, say: the same first key each time, the others only while it rests."""
    step = bench.step()

    def order(step: Step) -> Sequence[Step] | None:
        return None if step.target.model == "n" else (step.by_key[2], step.by_key[0], step.by_key[1])

    for _ in range(2):
        await bench.ask(step, key_order=order)
    bench.upstream.script_key("c", **LIMITED)
    for _ in range(2):
        await bench.ask(step, key_order=order)
    assert bench.keys == "cc" + "ca" + "a"
    await bench.ask(bench.step("yz", model="n"), key_order=order)
    assert bench.keys[-1] == "y"


async def test_a_key_file_without_a_key_is_passed_over_until_it_has_one(bench: Bench, tmp_path: Path) -> None:
    step = bench.step([KeySource(name="f", file=tmp_path / "f"), KeySource(name="b", value=Secret("b"))])
    await bench.ask(step)
    assert (bench.keys, bench.kinds) == ("b", ["auth", None])
    assert bench.states(step) == ["cooldown", "ok"]
    (tmp_path / "f").write_text("a")
    await bench.ask(step)
    assert bench.keys == "ba"


async def test_no_other_key_is_tried_after_the_deadline(bench: Bench) -> None:
    bench.upstream.script_key("a", **LIMITED)
    request = bench.request(bench.step(), deadline_s=0.05)
    bench.upstream.script_key("b", delay_s=1.0)
    with pytest.raises(UpstreamFailed) as failed:
        await bench.engine.complete(request)
    assert (failed.value.status, bench.keys) == (504, "ab")


async def test_a_copy_of_the_health_has_the_rests_of_keys_and_whose_turn_it_is(bench: Bench) -> None:
    bench.upstream.script_key("b", **LIMITED)
    step = bench.step()
    await bench.ask(step)
    await bench.ask(step)
    copy = bench.health.copied([step.target], now_s=asyncio.get_running_loop().time())
    assert [copy.rest(one, now_s=0.0) is not None for one in step.by_key] == [False, True, False]
    assert [copy.last_use(one) for one in step.by_key] == [1, 2, 3]


async def test_a_reset_ends_the_rests_of_all_keys(bench: Bench) -> None:
    bench.upstream.script("m", **LIMITED)
    step = bench.step()
    with pytest.raises(UpstreamFailed):
        await bench.ask(step, deadline_s=1.0)
    assert bench.health.reset("up/m") == 3
    assert (bench.state(step), bench.states(step)) == ("ok", ["ok"] * 3)
