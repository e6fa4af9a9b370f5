"""The engine with its real adapters against a scripted upstream: retries, fallbacks, limits, commit, broken streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import pytest

from gateway.adapters.base import Call, Reply
from gateway.adapters.events import Event, Stream
from gateway.adapters.mock import MockAdapter
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.engine.attempts import Engine
from gateway.engine.health import Health
from gateway.engine.request import RoutedRequest
from gateway.engine.stream import HoldExceeded
from gateway.errors import StreamBroken, UpstreamFailed, UpstreamRefused
from gateway.operations import CHAT
from gateway.policy.failures import Kind
from gateway.policy.table import Route, Step, StreamPolicy
from gateway.policy.target import Cooldown, Endpoint, Limits, Target
from gateway.telemetry.report import CallReport
from gateway.wire.json import EMPTY, JsonObject
from tests.scripted_openai import ScriptedOpenAI
from tests.streaming import data_of

LIMITS = Limits(connect_s=2, first_token_s=2, idle_s=2, total_s=2)
SHORT = Limits(connect_s=2, first_token_s=0.1, idle_s=0.1, total_s=0.1)
CALM = Cooldown(failures=100)


class Bench:
    """An engine, a scripted upstream, and shorthand for calling the one through the other."""

    def __init__(self, upstream: ScriptedOpenAI) -> None:
        self.upstream = upstream
        self.health = Health()
        self.relay = RelayAdapter()
        self.engine = Engine(adapters={"relay": self.relay, "mock": MockAdapter()}, health=self.health)
        self.report = CallReport()
        self.targets: list[Target] = []

    def step(self, model: str, *, cooldown: Cooldown = CALM, limits: Limits = LIMITS, **values: Any) -> Step:
        endpoint = Endpoint(
            provider="up", kind="openai", adapter="relay", base_url=self.upstream.base_url, cooldown=cooldown
        )
        target = Target(name=f"up/{model}", model=model, label=f"up/{model}", endpoint=endpoint)
        self.targets.append(target)
        return Step(target=target, limits=limits, **values)

    def request(self, *steps: Step, params: JsonObject | None = None, **values: Any) -> RoutedRequest:
        self.report = CallReport()
        return RoutedRequest(
            operation=CHAT,
            model="smart",
            route=Route(alias="smart", steps=steps, **values),
            params=params or {"messages": [{"role": "user", "content": "hi"}]},
            headers={},
            started_s=asyncio.get_running_loop().time(),
            report=self.report,
        )

    async def complete(self, *steps: Step, **values: Any) -> Reply:
        return await self.engine.complete(self.request(*steps, **values))

    async def stream(self, *steps: Step, **values: Any) -> str:
        """Return the text of a whole stream."""
        opened = await self.engine.open_stream(self.request(*steps, **values))
        text = ""
        for data in await data_of(opened):
            for choice in data.get("choices", []):
                text += choice["delta"].get("content") or ""
        return text

    @property
    def kinds(self) -> list[str | None]:
        """The kinds of the last call's attempts."""
        return [attempt.kind for attempt in self.report.attempts]

    def play(self, model: str, *outcomes: JsonObject) -> None:
        """Queue several outcomes for a model."""
        for outcome in outcomes:
            self.upstream.script(model, **outcome)

    def in_flight(self) -> int:
        return sum(int(self.health.snapshot(target, 0.0)["in_flight"]) for target in self.targets)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with ScriptedOpenAI() as upstream:
        made = Bench(upstream)
        yield made
        await made.relay.close()
        assert made.in_flight() == 0


def text_of(reply: Reply) -> str:
    return str(reply.data["choices"][0]["message"]["content"])


async def read_to_its_end(stream: Stream) -> None:
    while await stream.read():
        pass


async def test_the_second_target_answers_after_a_500(bench: Bench) -> None:
    bench.upstream.script("a", status=500).script("b", reply="hello")
    reply = await bench.complete(bench.step("a"), bench.step("b"))
    assert (text_of(reply), bench.upstream.calls, bench.kinds) == ("hello", ["a", "b"], ["server_error", None])
    assert bench.report.target is not None
    assert bench.report.target.name == "up/b"


async def test_the_same_target_is_retried_first(bench: Bench) -> None:
    bench.upstream.script("a", status=500).script("a", reply="hello")
    reply = await bench.complete(bench.step("a", retries=1), bench.step("b"))
    assert (text_of(reply), bench.upstream.calls) == ("hello", ["a", "a"])


async def test_a_retry_after_is_waited_for(bench: Bench) -> None:
    bench.upstream.script("a", status=429, headers={"retry-after-ms": "150"}).script("a", reply="hello")
    await bench.complete(bench.step("a", retries=1))
    first, second = bench.upstream.requests
    assert second.time - first.time >= 0.15


async def test_a_retry_after_beyond_the_deadline_moves_on_and_rests_the_target(bench: Bench) -> None:
    bench.upstream.script("a", status=429, retry_after=60).script("b", reply="hello")
    steps = (bench.step("a", retries=5), bench.step("b"))
    await bench.complete(*steps, deadline_s=5)
    assert bench.upstream.calls == ["a", "b"]
    await bench.complete(*steps, deadline_s=5)
    assert bench.upstream.calls == ["a", "b", "b"]


async def test_a_target_that_passes_its_limit_is_left_for_the_next(bench: Bench) -> None:
    bench.upstream.script("a", delay_s=5).script("b", reply="hello")
    reply = await bench.complete(bench.step("a", limits=SHORT, retries=3), bench.step("b"))
    assert (text_of(reply), bench.kinds) == ("hello", ["timeout", None])
    await bench.upstream.wait_for_disconnect()


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ({"html": True}, "bad_response"),
        ({"body": b"{not json"}, "bad_response"),
        ({"body": {"choices": []}}, "bad_response"),
        ({"short_body": True}, "bad_response"),
        ({"reset": True}, "connection"),
        ({"body": {"error": {"code": "insufficient_quota"}}}, "billing"),
        ({"status": 401}, "auth"),
        ({"status": 404}, "not_found"),
        ({"status": 529}, "overloaded"),
    ],
)
async def test_whatever_is_no_answer_moves_on(bench: Bench, outcome: dict[str, Any], kind: str) -> None:
    bench.upstream.script("a", **outcome).script("b", reply="hello")
    reply = await bench.complete(bench.step("a"), bench.step("b"))
    assert (text_of(reply), bench.kinds) == ("hello", [kind, None])


async def test_a_bad_request_stops_and_its_status_and_body_pass_through(bench: Bench) -> None:
    body = {"error": {"message": "temperature is too hot", "type": "invalid_request_error", "code": None}}
    bench.upstream.script("a", status=422, body=body)
    with pytest.raises(UpstreamRefused) as refused:
        await bench.complete(bench.step("a", retries=3), bench.step("b"))
    assert (refused.value.status, bench.upstream.calls) == (422, ["a"])
    assert b"temperature is too hot" in (refused.value.body or b"")


TOO_LONG: JsonObject = {"status": 400, "body": {"error": {"code": "context_length_exceeded", "message": "too long"}}}


@pytest.mark.parametrize("first", [{"status": 404}, TOO_LONG])
async def test_the_last_targets_context_window_passes_through(bench: Bench, first: JsonObject) -> None:
    bench.upstream.script("a", **first).script("b", **TOO_LONG)
    with pytest.raises(UpstreamRefused) as refused:
        await bench.complete(bench.step("a"), bench.step("b"))
    assert (refused.value.status, refused.value.kind) == (400, Kind.CONTEXT_WINDOW)


@pytest.mark.parametrize("weaker", [{"status": 404}, TOO_LONG])
@pytest.mark.parametrize(
    ("first", "status"), [(503, 503), (500, 502), (429, 429), (401, 502)], ids=["503", "500", "429", "401"]
)
async def test_a_weaker_fallbacks_refusal_does_not_hide_the_first_targets_fault(
    bench: Bench, first: int, status: int, weaker: JsonObject
) -> None:
    bench.upstream.script("a", status=first).script("b", **weaker)
    with pytest.raises(UpstreamFailed) as failed:
        await bench.complete(bench.step("a"), bench.step("b"))
    assert (failed.value.status, len(failed.value.attempts)) == (status, 2)


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([{"status": 429}, {"status": 429}], 429),
        ([{"status": 503}, {"status": 529}], 503),
        ([{"status": 401}, {"status": 402}], 502),
        ([{"status": 429}, {"status": 500}], 502),
        ([{"reset": True}, {"html": True}], 502),
    ],
)
async def test_when_nothing_answered_the_status_says_why(
    bench: Bench, outcomes: list[dict[str, Any]], status: int
) -> None:
    for model, outcome in zip("ab", outcomes, strict=True):
        bench.upstream.script(model, **outcome)
    with pytest.raises(UpstreamFailed) as failed:
        await bench.complete(bench.step("a"), bench.step("b"))
    assert failed.value.status == status
    assert [attempt.target for attempt in failed.value.attempts] == ["up/a", "up/b"]


async def test_a_429_carries_the_smallest_retry_after(bench: Bench) -> None:
    bench.upstream.script("a", status=429, retry_after=40).script("b", status=429, retry_after=20)
    with pytest.raises(UpstreamFailed) as failed:
        await bench.complete(bench.step("a"), bench.step("b"), deadline_s=5)
    assert failed.value.response_headers() == {"retry-after": "20"}


async def test_the_seconds_that_are_left_are_those_of_the_last_retry_after(bench: Bench) -> None:
    bench.play("a", {"status": 503, "headers": {"retry-after-ms": "100"}}, {"status": 503, "retry_after": 20})
    with pytest.raises(UpstreamFailed) as failed:
        await bench.complete(bench.step("a", retries=1), deadline_s=5)
    assert failed.value.response_headers() == {"retry-after": "20"}


async def test_a_retry_heeds_the_pause_that_another_request_was_asked_for(bench: Bench) -> None:
    bench.play("a", {"status": 500, "delay_s": 0.1}, {"status": 429, "retry_after": 60}, {"reply": "too early"})
    steps = (bench.step("a", retries=1), bench.step("a"))
    first = asyncio.ensure_future(bench.complete(steps[0], deadline_s=5))  # noqa: TID251 - both are awaited
    await bench.upstream.wait_for_calls(1)
    second = await asyncio.gather(bench.complete(steps[1], deadline_s=5), first, return_exceptions=True)
    assert bench.upstream.calls == ["a", "a"]
    told = [(error.status, round(error.retry_after_s or 0)) for error in second if isinstance(error, UpstreamFailed)]
    assert told == [(429, 60)] * 2


async def test_auth_never_passes_through_even_when_the_call_stops_there(bench: Bench) -> None:
    bench.upstream.script("a", status=401, body={"error": {"message": "key sk-12345 is wrong"}})
    with pytest.raises(UpstreamFailed) as failed:
        await bench.complete(bench.step("a", fallback_on=frozenset()))
    assert failed.value.status == 502
    assert "sk-12345" not in str(failed.value.envelope())


async def test_the_deadline_ends_a_call_with_504(bench: Bench) -> None:
    bench.upstream.script("a", delay_s=5)
    with pytest.raises(UpstreamFailed) as failed:
        await bench.complete(bench.step("a"), bench.step("b"), deadline_s=0.1)
    assert (failed.value.status, bench.upstream.calls) == (504, ["a"])


async def test_a_bug_is_neither_retried_nor_passed_on_to_the_next_target(bench: Bench) -> None:
    with pytest.raises(TypeError):
        await bench.complete(bench.step("a", retries=3), bench.step("b"), params={"messages": object()})
    assert bench.upstream.calls == []


async def test_a_target_in_cooldown_is_passed_over_until_it_is_the_last_resort(bench: Bench) -> None:
    bench.upstream.script("a", status=500).script("b", reply="hello")
    a = bench.step("a", cooldown=Cooldown(failures=2))
    for _ in range(3):
        await bench.complete(a, bench.step("b"))
    assert bench.upstream.calls == ["a", "b", "a", "b", "b"]
    assert (bench.kinds, bench.report.calls) == (["cooldown", None], 1)
    with pytest.raises(UpstreamFailed) as failed:
        await bench.complete(a)
    assert (failed.value.status, bench.upstream.calls[-1]) == (503, "a")


async def test_a_request_counts_once_however_often_it_was_retried(bench: Bench) -> None:
    bench.upstream.script("a", status=500).script("b", reply="hello")
    a = bench.step("a", retries=3, cooldown=Cooldown(failures=2))
    await bench.complete(a, bench.step("b"))
    assert bench.upstream.calls == ["a", "a", "a", "a", "b"]
    assert bench.health.resting([a], now_s=asyncio.get_running_loop().time()) == {}


async def test_the_only_target_is_called_and_retried_as_if_it_did_not_rest(bench: Bench) -> None:
    bench.play("a", *[{"status": 503}] * 5, {"reply": "hello"})
    a = bench.step("a", retries=3, cooldown=Cooldown(failures=1))
    with pytest.raises(UpstreamFailed):
        await bench.complete(a)
    assert text_of(await bench.complete(a)) == "hello"
    assert bench.upstream.calls == ["a"] * 6


async def test_when_all_rest_they_are_tried_one_after_the_other(bench: Bench) -> None:
    bench.play("a", {"status": 500}, {"delay_s": 9})
    bench.play("b", {"status": 500}, {"reply": "hello"})
    a, b = (bench.step(name, cooldown=Cooldown(failures=1), limits=SHORT) for name in "ab")
    with pytest.raises(UpstreamFailed):
        await bench.complete(a, b)
    assert text_of(await bench.complete(a, b)) == "hello"
    assert bench.upstream.calls == ["a", "b", "a", "b"]


async def test_a_target_that_asked_for_a_pause_is_not_called_until_it_is_over(bench: Bench) -> None:
    bench.play("a", {"status": 503, "retry_after": 60})
    a = bench.step("a")
    for _ in range(3):
        with pytest.raises(UpstreamFailed) as failed:
            await bench.complete(a, deadline_s=5)
        assert (failed.value.status, failed.value.response_headers()) == (503, {"retry-after": "60"})
    assert bench.upstream.calls == ["a"]


async def test_a_pause_that_ends_before_the_deadline_is_waited_for(bench: Bench) -> None:
    bench.play("a", {"status": 429, "headers": {"retry-after-ms": "150"}}, {"reply": "hello"})
    a = bench.step("a")
    with pytest.raises(UpstreamFailed):
        await bench.complete(a)
    assert text_of(await bench.complete(a)) == "hello"
    first, second = bench.upstream.requests
    assert second.time - first.time >= 0.15


@pytest.mark.parametrize("held", [False, True], ids=["body", "held stream"])
async def test_a_broken_answer_is_asked_for_once_more_while_no_other_target_is_left(bench: Bench, held: bool) -> None:
    cut = {"chunks": 3, "cut_after": 1} if held else {"short_body": True}
    bench.play("a", cut, {"reply": "hello"})
    if held:
        assert await bench.stream(bench.step("a", retries=1), stream=StreamPolicy(hold="full")) == "hello"
    else:
        assert text_of(await bench.complete(bench.step("a", retries=1))) == "hello"
    assert bench.kinds == ["bad_response", None]


async def test_a_timeout_counts_only_for_steps_that_are_no_more_patient(bench: Bench) -> None:
    bench.upstream.script("a", delay_s=0.3, reply="hello").script("b", reply="other")
    once = Cooldown(failures=1)
    fast, batch = bench.step("a", limits=SHORT, cooldown=once), bench.step("a", cooldown=once)
    await bench.complete(fast, bench.step("b"))
    await bench.complete(fast, bench.step("b"))
    assert bench.kinds == ["cooldown", None]
    assert text_of(await bench.complete(batch, bench.step("b"))) == "hello"


async def test_a_client_that_reads_slowly_is_not_held_against_the_target(bench: Bench) -> None:
    bench.upstream.script("a", chunks=4, stall_after=3)
    limits = Limits(connect_s=2, first_token_s=2, idle_s=2, total_s=0.2, stream_total_s=0.2)
    a = bench.step("a", limits=limits, cooldown=Cooldown(failures=1))
    opened = await bench.engine.open_stream(bench.request(a))
    async with aclosing(opened):
        await opened.read()
        await asyncio.sleep(0.3)  # the client's pause, by which the stream's total has passed
        with pytest.raises(StreamBroken):
            await read_to_its_end(opened)
    assert bench.health.resting([a], now_s=asyncio.get_running_loop().time()) == {}


async def test_a_break_is_counted_once_however_often_it_is_read(bench: Bench) -> None:
    bench.upstream.script("a", chunks=4, cut_after=2)
    a = bench.step("a", cooldown=Cooldown(failures=2))
    opened = await bench.engine.open_stream(bench.request(a))
    async with aclosing(opened):
        await opened.read()
        for _ in range(2):
            with pytest.raises(StreamBroken):
                await read_to_its_end(opened)
    assert bench.health.resting([a], now_s=asyncio.get_running_loop().time()) == {}


async def test_a_client_that_leaves_while_waiting_closes_the_upstream_and_starts_nothing_more(bench: Bench) -> None:
    bench.upstream.script("a", delay_s=9)
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(bench.complete(bench.step("a"), bench.step("b")))
        await bench.upstream.wait_for_calls(1)
        call.cancel()
    await bench.upstream.wait_for_disconnect(1.0)
    assert bench.upstream.calls == ["a"]


async def test_a_whole_stream_arrives(bench: Bench) -> None:
    bench.upstream.script("a", chunks=["one ", "two ", "three"])
    assert await bench.stream(bench.step("a")) == "one two three"
    assert bench.kinds == [None]
    assert bench.report.first_content_s is not None


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ({"status": 500}, "server_error"),
        ({"html": True}, "bad_response"),
        ({"empty": True}, "bad_response"),
        ({"chunks": 3, "cut_after": 0}, "bad_response"),
        ({"chunks": 3, "stall_after": 0}, "timeout"),
        ({"chunks": 3, "malformed_after": 0}, "bad_response"),
        ({"chunks": 3, "error_event_after": 0, "error": {"type": "overloaded_error"}}, "overloaded"),
        ({"delay_s": 5}, "timeout"),
        ({"slow_headers": 5}, "timeout"),
        ({"chunks": 0, "no_finish": True}, "bad_response"),
    ],
)
async def test_a_stream_that_fails_before_its_first_content_moves_on(
    bench: Bench, outcome: dict[str, Any], kind: str
) -> None:
    bench.upstream.script("a", **outcome).script("b", reply="hello")
    assert await bench.stream(bench.step("a", limits=SHORT), bench.step("b")) == "hello"
    assert bench.kinds == [kind, None]


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ({"cut_after": 2}, "bad_response"),
        ({"cut_after": 2, "reset": True}, "bad_response"),
        ({"stall_after": 2}, "timeout"),
        ({"malformed_after": 2}, "bad_response"),
        ({"error_event_after": 2, "error": {"type": "overloaded_error"}}, "overloaded"),
        ({"no_finish": True}, "bad_response"),
        ({"no_finish": True, "no_done": True}, "bad_response"),
    ],
)
async def test_a_stream_that_breaks_after_commit_raises_and_tries_nothing_else(
    bench: Bench, outcome: dict[str, Any], kind: str
) -> None:
    bench.upstream.script("a", chunks=4, **outcome)
    with pytest.raises(StreamBroken):
        await bench.stream(bench.step("a", limits=SHORT), bench.step("b"))
    assert (bench.kinds, bench.upstream.calls) == ([kind], ["a"])


@pytest.mark.parametrize(
    "outcome", [{"cut_after": 2}, {"stall_after": 2}, {"malformed_after": 2}, {"error_event_after": 2}]
)
async def test_a_stream_held_in_full_fails_over_wherever_it_breaks(bench: Bench, outcome: dict[str, Any]) -> None:
    bench.upstream.script("a", chunks=4, **outcome).script("b", reply="hello")
    hold = StreamPolicy(hold="full")
    assert await bench.stream(bench.step("a", limits=SHORT), bench.step("b"), stream=hold) == "hello"


async def test_a_held_stream_beyond_its_bound_is_a_clear_error(bench: Bench) -> None:
    bench.upstream.script("a", chunks=["x" * 2000])
    with pytest.raises(HoldExceeded, match=r"stream\.max_bytes \(1000\)"):
        await bench.stream(bench.step("a"), bench.step("b"), stream=StreamPolicy(hold="full", max_bytes=1000))


HELD = StreamPolicy(hold="full")


async def seconds_until_it_fails(bench: Bench, *steps: Step, status: int, **values: Any) -> float:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    with pytest.raises(UpstreamFailed) as caught:
        await bench.stream(*steps, stream=HELD, **values)
    assert caught.value.status == status
    return loop.time() - started_s


async def test_the_deadline_stands_still_while_a_held_stream_brings_content(bench: Bench) -> None:
    bench.upstream.script("a", chunks=["one ", "two ", "three"], chunk_delay_s=0.2)
    assert await bench.stream(bench.step("a"), stream=HELD, deadline_s=0.4) == "one two three"
    assert bench.report.first_content_s is not None
    assert bench.report.first_content_s > 0.5


async def test_a_broken_held_stream_leaves_the_rest_of_the_deadline_for_the_next_target(bench: Bench) -> None:
    bench.upstream.script("a", chunks=10, chunk_delay_s=0.2, cut_after=4).script("b", delay_s=0.1, reply="hello")
    steps = bench.step("a"), bench.step("b")
    assert await bench.stream(*steps, stream=HELD, deadline_s=0.6) == "hello"
    assert bench.kinds == ["bad_response", None]


async def test_the_rest_of_the_deadline_is_not_more_than_was_left(bench: Bench) -> None:
    bench.upstream.script("a", chunks=10, chunk_delay_s=0.2, cut_after=4).script("b", delay_s=5)
    elapsed_s = await seconds_until_it_fails(bench, bench.step("a"), bench.step("b"), status=504, deadline_s=0.6)
    # 0.2 s to the first content, 0.6 s of content, and the 0.4 s that were left
    assert 1.15 < elapsed_s < 1.6
    assert bench.kinds == ["bad_response", "timeout"]


async def test_a_held_stream_without_content_ends_with_the_deadline(bench: Bench) -> None:
    bench.upstream.script("a", delay_s=5).script("b", reply="hello")
    assert await seconds_until_it_fails(bench, bench.step("a"), bench.step("b"), status=504, deadline_s=0.2) < 0.6
    assert bench.upstream.calls == ["a"]


async def test_total_bounds_a_held_stream_failover_included(bench: Bench) -> None:
    limits = Limits(connect_s=2, first_token_s=2, idle_s=2, total_s=0.7, stream_total_s=0.7)
    bench.upstream.script("a", chunks=100, chunk_delay_s=0.1, cut_after=4).script("b", chunks=100, chunk_delay_s=0.1)
    steps = bench.step("a", limits=limits), bench.step("b", limits=limits)
    elapsed_s = await seconds_until_it_fails(bench, *steps, status=504, deadline_s=5.0)
    assert 0.65 < elapsed_s < 1.1
    assert bench.kinds == ["bad_response", "timeout"]


async def test_a_held_stream_that_never_ends_counts_against_its_target(bench: Bench) -> None:
    limits = Limits(connect_s=2, first_token_s=2, idle_s=2, total_s=0.3, stream_total_s=0.3)
    bench.upstream.script("a", chunks=100, chunk_delay_s=0.1)
    once = bench.step("a", limits=limits, cooldown=Cooldown(failures=1))
    await seconds_until_it_fails(bench, once, status=504, deadline_s=5.0)
    assert bench.health.at_rest


async def test_a_held_stream_that_the_request_has_no_time_for_does_not(bench: Bench) -> None:
    limits = Limits(connect_s=2, first_token_s=2, idle_s=2, total_s=0.5, stream_total_s=0.5)
    bench.upstream.script("a", delay_s=0.3, status=500).script("b", chunks=100, chunk_delay_s=0.1)
    steps = bench.step("a", limits=limits), bench.step("b", limits=limits, cooldown=Cooldown(failures=1))
    await seconds_until_it_fails(bench, *steps, status=504, deadline_s=5.0)
    assert bench.kinds == ["server_error", "timeout"]
    assert not bench.health.at_rest


async def test_one_steps_short_total_leaves_time_for_the_next(bench: Bench) -> None:
    short = Limits(connect_s=2, first_token_s=2, idle_s=2, total_s=0.3, stream_total_s=0.3)
    bench.upstream.script("a", chunks=100, chunk_delay_s=0.1).script("b", reply="hello")
    assert await bench.stream(bench.step("a", limits=short), bench.step("b"), stream=HELD, deadline_s=5.0) == "hello"
    assert bench.kinds == ["timeout", None]


async def test_a_stream_without_done_is_whole_when_it_has_its_finish_reason(bench: Bench) -> None:
    bench.upstream.script("a", reply="hello", no_done=True)
    assert await bench.stream(bench.step("a")) == "hello"


async def test_a_whole_answer_without_any_text_is_an_answer(bench: Bench) -> None:
    bench.upstream.script("a", chunks=0)
    assert await bench.stream(bench.step("a"), bench.step("b")) == ""
    assert bench.upstream.calls == ["a"]


async def test_a_client_that_leaves_a_stream_closes_the_upstream(bench: Bench) -> None:
    bench.upstream.script("a", chunks=4, stall_after=1)
    opened = await bench.engine.open_stream(bench.request(bench.step("a"), bench.step("b")))
    async with aclosing(opened):
        await opened.read()
    await bench.upstream.wait_for_disconnect(1.0)
    assert bench.upstream.calls == ["a"]


async def test_a_stream_closed_before_it_was_read_closes_the_upstream(bench: Bench) -> None:
    bench.upstream.script("a", chunks=4, stall_after=1)
    opened = await bench.engine.open_stream(bench.request(bench.step("a")))
    await opened.aclose()
    await bench.upstream.wait_for_disconnect(1.0)


class Clinging(MockAdapter):
    """Its streams stall before their first content, and closing them hangs."""

    async def stream(self, call: Call) -> Stream:
        return _Clinging()


class _Clinging:
    headers: Mapping[str, str] = EMPTY

    async def read(self) -> list[Event]:
        await asyncio.Event().wait()
        raise AssertionError

    async def aclose(self) -> None:
        await asyncio.Event().wait()


async def test_a_losing_stream_that_will_not_close_does_not_hold_up_the_next_target(bench: Bench) -> None:
    engine = Engine(adapters={"relay": bench.relay, "mock": Clinging()}, health=bench.health)
    mock = Target(name="m/a", model="a", label="m/a", endpoint=Endpoint(provider="m", kind="mock", adapter="mock"))
    bench.upstream.script("b", reply="hello")
    opened = await engine.open_stream(bench.request(Step(target=mock, limits=SHORT), bench.step("b")))
    await opened.aclose()
    assert bench.kinds == ["timeout", None]


async def test_usage_of_the_answering_target_is_reported(bench: Bench) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    bench.upstream.script("a", reply="hello", usage=usage)
    await bench.complete(bench.step("a"))
    assert bench.report.tokens == {"prompt": 3, "completion": 4}
    params = {"messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": True}}
    await bench.stream(bench.step("a"), params=params)
    assert bench.report.tokens == {"prompt": 3, "completion": 4}


async def test_a_refusal_inside_a_good_response_passes_through_with_the_status_of_its_kind(bench: Bench) -> None:
    error = {"code": "content_filter", "message": "refused by policy"}
    bench.upstream.script("a", status=200, body={"error": error})
    with pytest.raises(UpstreamRefused) as refused:
        await bench.complete(bench.step("a"), bench.step("b"))
    assert (refused.value.status, refused.value.kind) == (400, Kind.CONTENT_FILTER)
    assert b"refused by policy" in (refused.value.body or b"")


async def test_a_resting_target_is_the_last_resort_once_the_others_failed(bench: Bench) -> None:
    bench.upstream.script("a", status=500).script("b", **TOO_LONG)
    a = bench.step("a", cooldown=Cooldown(failures=1))
    with pytest.raises(UpstreamFailed):
        await bench.complete(a, bench.step("b"))
    with pytest.raises(UpstreamFailed):
        await bench.complete(a, bench.step("b"))
    assert bench.upstream.calls == ["a", "b", "b", "a"]


async def test_the_requests_own_deadline_is_not_held_against_a_target(bench: Bench) -> None:
    bench.upstream.script("a", delay_s=0.3)
    a = bench.step("a", cooldown=Cooldown(failures=1))
    with pytest.raises(UpstreamFailed) as failed:
        await bench.complete(a, deadline_s=0.05)
    assert failed.value.status == 504
    await bench.complete(a, bench.step("b"))
    assert bench.kinds == [None]


async def test_who_is_being_waited_for_is_told_when_the_client_leaves(bench: Bench) -> None:
    bench.upstream.script("a", delay_s=9)
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(bench.complete(bench.step("a")))
        await bench.upstream.wait_for_calls(1)
        call.cancel()
    (left,) = bench.report.attempts
    assert (left.target, left.kind, left.status, bench.report.calls) == ("up/a", "client_gone", None, 1)


async def test_a_burst_of_failures_is_not_multiplied_by_its_retries(bench: Bench) -> None:
    bench.upstream.script("a", status=503).script("b", reply="hello")
    steps = (bench.step("a", retries=3), bench.step("b"))
    await asyncio.gather(*(bench.complete(*steps) for _ in range(60)))
    assert bench.upstream.calls.count("a") <= 60 + 12


async def test_a_burst_of_failures_is_retried_where_nothing_else_is_left(bench: Bench) -> None:
    bench.play("a", *[{"status": 503}] * 40, {"reply": "hello"})
    replies = await asyncio.gather(*(bench.complete(bench.step("a", retries=3)) for _ in range(40)))
    assert [text_of(reply) for reply in replies] == ["hello"] * 40


async def test_an_error_status_keeps_its_kind_when_its_body_stalls(bench: Bench) -> None:
    bench.upstream.script("a", status=429, retry_after=30, body={"error": {"message": "slow down"}}, stall_after=5)
    with pytest.raises(UpstreamFailed) as failed:
        await bench.complete(bench.step("a"), deadline_s=5)
    assert (failed.value.status, failed.value.response_headers()) == (429, {"retry-after": "30"})


async def test_who_refused_is_told(bench: Bench) -> None:
    bench.upstream.script("a", status=400)
    with pytest.raises(UpstreamRefused):
        await bench.complete(bench.step("a"))
    assert bench.report.target is not None
    assert bench.report.target.name == "up/a"
