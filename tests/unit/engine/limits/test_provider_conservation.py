"""Random requests to providers with limits, in virtual time: none leaves beyond these, and each is settled once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.adapters.base import Call
from gateway.engine.health import Health
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.providers import ProviderLimits
from gateway.engine.limits.reservations import Reservations
from gateway.engine.limits.store import UNTAKEN, Bucket, Costs, Fill, Full, Refused, Standing
from gateway.engine.pipeline import Pipeline
from gateway.errors import GatewayError
from gateway.operations import CHAT
from gateway.policy.target import ScriptedOutcome
from gateway.simulation.buckets import simulated_store
from gateway.simulation.clock import run
from gateway.simulation.simulator import _FixedTable
from gateway.simulation.upstreams import Upstreams
from gateway.telemetry.report import CallReport
from gateway.wire.json import JsonObject
from tests.compiling import table
from tests.unit.engine.limits.test_conservation import OUTCOMES, Request, some_requests

POLICY = table("""
defaults: {retries: 1, timeout: 20s, deadline: 40s, cooldown: {failures: 3}}
providers:
  a: {kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: [sk-a, sk-c], limits:
      [12 requests/minute, 3000 tokens/minute, 40 requests/day, 3 concurrent]}
  b: {kind: openai, base_url: "http://127.0.0.1:8/v1", api_key: sk-b, limits: [20 requests/hour, 2 concurrent]}
models:
  one: a/x
  two: [a/x, b/y]
  three: [b/y, a/x, a/z]
  held: {chain: [a/x, b/y], stream: {hold: full}}
  hedged: {chain: [a/x, b/y], hedge: 2s}
  pool: {chain: [{pool: {a/x: 2, b/y: 1}}]}
""")
LIMITS = {
    f"provider/{step.target.endpoint.provider} {limit.bucket}": limit
    for step in POLICY.routes["two"].steps
    for limit in step.target.endpoint.limits
}


@dataclass
class Books:
    """A store that keeps books of what it is told. `far`: it can only be asked by waiting."""

    store: MemoryStore
    far: bool
    granted: dict[str, Costs] = field(default_factory=dict)
    ended: dict[str, Costs] = field(default_factory=dict)
    unmade: set[str] = field(default_factory=set)
    """Those whose requests left before they were made."""

    def try_reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused | None:
        return None if self.far else self._made(reservation, buckets, costs)

    async def reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        await asyncio.sleep(0.01)
        return self._made(reservation, buckets, costs)

    def full(self, buckets: Sequence[Bucket], costs: Costs) -> Sequence[Full] | None:
        return None if self.far else self.store.full(buckets, costs)

    def settle(self, reservation: str, used: Costs) -> None:
        self._end(reservation, used)
        self.store.settle(reservation, used)

    def release(self, reservation: str) -> None:
        if reservation in self.granted:
            self._end(reservation, UNTAKEN)
        else:
            self.unmade.add(reservation)
        self.store.release(reservation)

    def renew(self) -> None:
        self.store.renew()

    def would_fit(self, bucket: Bucket, cost: float) -> bool:
        return self.store.would_fit(bucket, cost)

    def look(self) -> Sequence[Fill]:
        return list(self.store.look())

    def _made(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        answer = self.store.try_reserve(reservation, buckets, costs)
        if isinstance(answer, Standing):
            assert reservation not in self.granted | self.ended, "once a call"
            self.granted[reservation] = dict(costs)
        for fill in self.look():
            assert fill.used <= LIMITS[fill.key].amount * (1 + 1e-9), fill
        return answer

    def _end(self, reservation: str, used: Costs) -> None:
        assert reservation in self.granted, "nothing else is ended"
        assert reservation not in self.ended, "and nothing twice"
        self.ended[reservation] = {**self.granted[reservation], **used}


@given(requests=some_requests(list(POLICY.routes), pause_s=4, leaves_after_s=30), far=st.booleans())
@settings(max_examples=60)
def test_no_more_leave_than_the_limits_allow_and_each_call_is_settled_once(requests: list[Request], far: bool) -> None:
    run(_play(requests, far))


async def _play(requests: list[Request], far: bool) -> None:
    books = Books(simulated_store(86400.0 * 20_000), far)
    calls: dict[str, int] = {}
    in_flight = {"a": 0, "b": 0}

    def play(call: Call) -> ScriptedOutcome:
        number = call.headers["number"]
        outcomes = requests[int(number)].outcomes
        place = min(calls.get(number, 0), len(outcomes) - 1)
        calls[number] = calls.get(number, 0) + 1
        in_flight[call.target.endpoint.provider] += 1
        # Each call that reaches an upstream has taken from its provider's limits before.
        assert sum(in_flight.values()) <= len(books.granted)
        return OUTCOMES[outcomes[place]]

    reservations = Reservations(books)
    upstreams = Upstreams(play)
    pipeline = Pipeline(
        tables=_FixedTable(POLICY),
        adapters=upstreams.adapters,
        health=Health(),
        provider_limits=ProviderLimits(reservations),
    )
    async with asyncio.TaskGroup() as tasks:
        for number, request in enumerate(requests):
            await asyncio.sleep(request.pause_s)
            tasks.create_task(_ask(pipeline, request, number))
    assert books.granted.keys() == books.ended.keys()
    fills = {fill.key: fill for fill in books.look()}
    assert all(not fill.reservations for fill in fills.values())
    assert not {key for key in fills if key.endswith("concurrent")}
    used = sum(costs["requests"] for costs in books.ended.values())
    assert used == len(upstreams.calls), "each call that left has taken one request"


async def _ask(pipeline: Pipeline, request: Request, number: int) -> None:
    body: JsonObject = {
        "model": request.alias,
        "messages": [{"role": "user", "content": "hello to all who listen"}],
        "max_tokens": request.max_tokens + 20,
    }
    report, headers = CallReport(), {"number": str(number)}
    try:
        async with asyncio.timeout(request.leaves_after_s):
            if not request.stream:
                await pipeline.answer(CHAT, body, report=report, headers=headers)
                return
            stream = await pipeline.open_stream(CHAT, {**body, "stream": True}, report=report, headers=headers)
            try:
                while await stream.read():
                    pass
            finally:
                await stream.aclose()
    except (GatewayError, TimeoutError):
        pass
