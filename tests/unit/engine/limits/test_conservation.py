"""Random clients on a whole engine, in virtual time: whatever happens to a request, what it took is settled once.

Targets answer, fail in any way, are cut or stall; clients leave; aliases hedge, hold streams and fall over. Then no
reservation is open, each was ended once, and each bucket of a day holds what the ends came to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.adapters.base import Call
from gateway.engine.health import Health
from gateway.engine.limits.admission import Limits
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.store import UNTAKEN, Bucket, Costs, Fill, Full, Refused, Standing
from gateway.engine.pipeline import Pipeline
from gateway.errors import GatewayError, Limited
from gateway.operations import CHAT
from gateway.policy.clients import Client
from gateway.policy.failures import Kind
from gateway.policy.target import ScriptedOutcome
from gateway.simulation.clock import run
from gateway.simulation.simulator import _FixedTable
from gateway.simulation.upstreams import Upstreams
from gateway.telemetry.report import CallReport
from gateway.wire.json import JsonObject
from tests.compiling import table
from tests.limiting import group, with_groups

POLICY = table("""
defaults: {retries: 1, timeout: 20s, deadline: 60s}
models:
  one: mock/a
  two: [mock/a, mock/b]
  held: {chain: [mock/a, mock/b], stream: {hold: full}}
  hedged: {chain: [mock/a, mock/b], hedge: 2s}
""")
GROUP = group(
    "default", "40 requests/minute", "4000 tokens/minute", "9000 tokens/hour", "60 requests/day", "8000 tokens/day",
    "6 concurrent",
)  # fmt: skip
BUCKETS = {f"client/ann {limit.bucket}": limit for limit in GROUP.limits}

OUTCOMES = (
    ScriptedOutcome(text="some words of an answer"),
    ScriptedOutcome(text="words that take their time", delay_s=3.0, pace_s=0.5),
    *(ScriptedOutcome(status=status) for status in (400, 401, 402, 404, 429, 500, 503)),
    ScriptedOutcome(status=429, retry_after_s=2.0),
    ScriptedOutcome(status=400, code="content_filter"),
    ScriptedOutcome(kind=Kind.CONNECTION),
    ScriptedOutcome(kind=Kind.BAD_RESPONSE, delay_s=1.0),
    ScriptedOutcome(text="words until it breaks", cut=2),
    ScriptedOutcome(text="words until it stalls", stall=2),
)


class Request(NamedTuple):
    """One request of a client."""

    pause_s: float
    alias: str
    stream: bool
    max_tokens: int
    leaves_after_s: float | None
    outcomes: tuple[int, ...]
    """Of its calls, in order; the last one repeats."""


def some_requests(aliases: Sequence[str], *, pause_s: float, leaves_after_s: float) -> st.SearchStrategy[list[Request]]:
    """Draw requests for these aliases, at most so many seconds apart; some clients leave within as many as given."""
    outcome = st.integers(0, len(OUTCOMES) - 1)
    return st.lists(
        st.builds(
            Request,
            pause_s=st.floats(0, pause_s),
            alias=st.sampled_from(aliases),
            stream=st.booleans(),
            max_tokens=st.integers(1, 900),
            leaves_after_s=st.none() | st.floats(0, leaves_after_s),
            outcomes=st.tuples(outcome, outcome),
        ),
        min_size=1,
        max_size=30,
    )


@dataclass
class Books:
    """A store that keeps books of what it is told. What it answers is the memory store's."""

    store: MemoryStore
    granted: dict[str, Costs] = field(default_factory=dict)
    ended: dict[str, Costs] = field(default_factory=dict)

    def try_reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        answer = self.store.try_reserve(reservation, buckets, costs)
        if isinstance(answer, Standing):
            assert reservation not in self.granted, "once a request"
            self.granted[reservation] = dict(costs)
        for fill in self.look():
            # Nothing here uses more than it reserves, so no bucket ever holds more than its amount.
            assert fill.used <= BUCKETS[fill.key].amount * (1 + 1e-9), fill
        return answer

    async def reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        return self.try_reserve(reservation, buckets, costs)

    def full(self, buckets: Sequence[Bucket], costs: Costs) -> Sequence[Full]:
        return self.store.full(buckets, costs)

    def settle(self, reservation: str, used: Costs) -> None:
        self._end(reservation, used)
        self.store.settle(reservation, used)

    def release(self, reservation: str) -> None:
        self._end(reservation, UNTAKEN)
        self.store.release(reservation)

    def renew(self) -> None:
        self.store.renew()

    def would_fit(self, bucket: Bucket, cost: float) -> bool:
        return self.store.would_fit(bucket, cost)

    def look(self) -> Sequence[Fill]:
        return list(self.store.look())

    def _end(self, reservation: str, used: Costs) -> None:
        assert reservation in self.granted, "nothing else is ended"
        assert reservation not in self.ended, "and nothing twice"
        self.ended[reservation] = {**self.granted[reservation], **used}


@given(requests=some_requests(list(POLICY.routes), pause_s=8, leaves_after_s=6))
@settings(max_examples=60)
def test_whatever_happens_each_reservation_is_settled_once_and_no_bucket_admits_too_much(
    requests: list[Request],
) -> None:
    run(_play(requests))


async def _play(requests: list[Request]) -> None:
    loop = asyncio.get_running_loop()
    books = Books(MemoryStore(clock=loop.time, wall_clock=lambda: 86400.0 * 20_000 + loop.time()))
    calls: dict[str, int] = {}

    def play(call: Call) -> ScriptedOutcome:
        number = call.headers["number"]
        outcomes = requests[int(number)].outcomes
        place = min(calls.get(number, 0), len(outcomes) - 1)
        calls[number] = calls.get(number, 0) + 1
        return OUTCOMES[outcomes[place]]

    limits = Limits(books)
    upstreams = Upstreams(play)
    pipeline = Pipeline(
        tables=_FixedTable(with_groups(POLICY, GROUP)), adapters=upstreams.adapters, health=Health(), limits=limits
    )
    renewing = loop.create_task(limits.reservations.run())
    async with asyncio.TaskGroup() as tasks:
        for number, request in enumerate(requests):
            await asyncio.sleep(request.pause_s)
            tasks.create_task(_ask(pipeline, request, number))
    renewing.cancel()
    assert books.granted.keys() == books.ended.keys()
    fills = {fill.key: fill for fill in books.look()}
    assert all(not fill.reservations for fill in fills.values())
    assert "client/ann concurrent" not in fills
    for unit in ("requests", "tokens"):
        used = sum(costs[unit] for costs in books.ended.values())
        fill = fills.get(f"client/ann {unit}/day")
        assert (0.0 if fill is None else fill.used) == used


async def _ask(pipeline: Pipeline, request: Request, number: int) -> None:
    body: JsonObject = {
        "model": request.alias,
        "messages": [{"role": "user", "content": "hello to all who listen"}],
        "max_tokens": request.max_tokens + 20,
    }
    report, headers, ann = CallReport(), {"number": str(number)}, Client(name="ann")
    try:
        async with asyncio.timeout(request.leaves_after_s):
            if not request.stream:
                await pipeline.answer(CHAT, body, report=report, headers=headers, client=ann)
                return
            body["stream"] = True
            stream = await pipeline.open_stream(CHAT, body, report=report, headers=headers, client=ann)
            try:
                while await stream.read():
                    pass
            finally:
                await stream.aclose()
    except Limited:
        assert report.attempts == []
    except (GatewayError, TimeoutError):
        pass
