"""Several stores over one memory: together they answer what one store of a process that is alone would."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from itertools import count
from typing import NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.engine.limits import shared_memory
from gateway.engine.limits.kept import Count
from gateway.engine.limits.shared_memory import NotSharedError, SharedCounts, SharedMemory
from gateway.engine.limits.store import Costs, Refused, Standing
from gateway.engine.limits.workers import WorkersStore
from tests.limiting import Clock, buckets

ALL = [
    *buckets("60 requests/minute", "500 tokens/minute", "3000 tokens/hour", "4000 tokens/day", "6 concurrent"),
    *buckets("50 tokens/minute", "90 tokens/month", "2 concurrent", of="bob"),
]
LESS = [*buckets("30 requests/minute", "250 tokens/minute", "900 tokens/hour", "4500 tokens/day", "3 concurrent")]
ONE: Costs = {"requests": 1, "tokens": 100, "concurrent": 1}


class Together:
    """The stores of several workers."""

    def __init__(self, clock: Clock, workers: int = 2) -> None:
        self.clock = clock
        self.memory = SharedMemory.make(workers)
        self.stores = [self.start() for _ in range(workers)]

    def start(self) -> WorkersStore:
        mapped = SharedMemory(self.memory.descriptor, self.memory.take_seat())
        return WorkersStore(mapped, clock=self.clock.monotonic, wall_clock=self.clock.wall)

    def end(self, number: int) -> None:
        """Do what the supervisor does when a worker has ended."""
        seat = self.stores[number]._memory.seat
        assert seat is not None
        self.memory.leave(seat)

    def __del__(self) -> None:
        os.close(self.memory.descriptor)

    def used(self, number: int = 0) -> dict[str, float]:
        return {fill.key: round(fill.used, 6) for fill in self.stores[number].look()}


class Step(NamedTuple):
    """A reservation, and which of those that are open ends before it."""

    pause_s: float
    worker: int
    places: tuple[int, ...]
    is_less: bool
    tokens: int
    ends: int | None
    used: int | None
    """Tokens; None: it is given back."""


STEPS = st.lists(
    st.builds(
        Step,
        pause_s=st.sampled_from([0.0, 0.0, 0.25, 3.0, 40.0, 4000.0, 50_000.0]),
        worker=st.integers(0, 2),
        places=st.lists(st.integers(0, len(ALL) - 1), min_size=1, max_size=5, unique=True).map(tuple),
        is_less=st.booleans(),
        tokens=st.integers(0, 300),
        ends=st.none() | st.integers(0, 20),
        used=st.none() | st.integers(0, 500),
    ),
    max_size=60,
)


@given(steps=STEPS)
@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink])
def test_workers_together_answer_what_a_process_alone_does(steps: list[Step]) -> None:
    clock = Clock()
    alone, together, serials = clock.store(), Together(clock, 3), count()
    opened: dict[str, int] = {}
    for step in steps:
        clock.now_s += step.pause_s
        if step.ends is not None and opened:
            name = list(opened)[step.ends % len(opened)]
            worker = opened.pop(name)
            for store in (alone, together.stores[worker]):
                if step.used is None:
                    store.release(name)
                else:
                    store.settle(name, {"tokens": float(step.used)})
        if len(opened) >= shared_memory.LOWS:
            continue
        name = f"r{next(serials)}"
        asked = [LESS[at] if step.is_less and at < len(LESS) else ALL[at] for at in step.places]
        costs: Costs = {"requests": 1, "tokens": step.tokens, "concurrent": 1}
        assert together.stores[0].full(asked, costs) == alone.full(asked, costs)
        answer = alone.try_reserve(name, asked, costs)
        assert together.stores[step.worker].try_reserve(name, asked, costs) == answer
        if isinstance(answer, Standing):
            opened[name] = step.worker
    seen = {fill.key: fill[1:] for fill in alone.look()}
    assert {fill.key: pytest.approx(fill[1:]) for fill in together.stores[0].look()} == seen


def test_what_a_worker_had_reserved_at_once_is_free_when_it_has_ended_and_the_rest_stays_taken() -> None:
    together = Together(Clock())
    three = buckets("60 requests/minute", "150 tokens/day", "2 concurrent")
    for number, store in enumerate(together.stores):
        assert isinstance(store.try_reserve(f"r{number}", three, {**ONE, "tokens": 10}), Standing)
    assert isinstance(together.stores[1].try_reserve("full", three, ONE), Refused)
    together.end(0)
    assert together.used(1) == {
        "client/ann requests/minute": 2,
        "client/ann tokens/day": 20,
        "client/ann concurrent": 1,
    }
    assert isinstance(together.stores[1].try_reserve("more", three, {**ONE, "tokens": 10}), Standing)
    heir = together.start()
    assert isinstance(heir.try_reserve("heir", three, {**ONE, "tokens": 10}), Refused)
    together.stores[1].release("r1")
    assert isinstance(heir.try_reserve("heir", three, {**ONE, "tokens": 10}), Standing)
    assert [fill.reservations for fill in heir.look()] == [2, 2, 2]


def test_a_worker_knows_what_its_own_reservations_hold_of_a_budget() -> None:
    together = Together(Clock())
    budget = buckets("150 tokens/day")
    first, second = together.stores
    for name, store in (("a", first), ("b", second)):
        assert isinstance(store.try_reserve(name, budget, {"tokens": 50}), Standing)
        assert isinstance(store.try_reserve("full", budget, {"tokens": 150}), Refused)
    assert (first.would_fit(budget[0], 150), second.would_fit(budget[0], 150)) == (True, False)
    assert second.would_fit(budget[0], 100)
    second.settle("b", {})
    assert isinstance(second.try_reserve("full", budget, {"tokens": 150}), Refused)
    assert not second.would_fit(budget[0], 100)


def test_an_end_that_takes_what_was_reserved_ends_it_for_all() -> None:
    together = Together(Clock())
    two = buckets("60 requests/minute", "1 concurrent")
    first, second = together.stores
    for store, other in ((first, second), (second, first)):
        assert isinstance(store.try_reserve("a", two, ONE), Standing)
        assert isinstance(other.try_reserve("b", two, ONE), Refused)
        store.settle("a", {"requests": 1, "concurrent": 1})
        store.settle("a", {})
    assert together.used() == {"client/ann requests/minute": 2}


def test_a_place_in_which_nothing_is_used_is_given_to_another_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(shared_memory, "_home", lambda digest: 7)
    together = Together(clock)
    first, second = together.stores
    names = [f"c{number}" for number in range(shared_memory.WINDOW)]
    for name in names:
        assert isinstance(first.try_reserve(name, buckets("2 requests/minute", of=name), ONE), Standing)
    assert isinstance(second.try_reserve("ann", buckets("1 requests/minute"), ONE), Standing)
    assert (second.alone, first.alone) == (1, 0), "there is no place for it"
    assert isinstance(second.try_reserve("again", buckets("1 requests/minute"), ONE), Refused)
    second.settle("ann", {})
    first.settle("c3", {})
    clock.now_s += 30.0
    assert isinstance(second.try_reserve("bob", buckets("1 requests/minute", of="bob"), ONE), Standing)
    assert second.alone == 1
    assert isinstance(first.try_reserve("c3 again", buckets("2 requests/minute", of="c3"), ONE), Standing)
    assert first.alone == 1, "whose place is bob's by now"
    assert isinstance(first.try_reserve("bob again", buckets("1 requests/minute", of="bob"), ONE), Refused)


HOLDER = """
import fcntl, sys, time
fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX, 1)
print("has it", flush=True)
time.sleep(30)
"""


def test_a_process_that_stands_still_with_the_lock_holds_nobody_up_and_its_end_frees_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared_memory, "PAUSE_S", 0.0)
    together = Together(Clock())
    store, two = together.stores[0], buckets("2 requests/minute", "2 concurrent")
    assert isinstance(store.try_reserve("before", two, ONE), Standing)
    descriptor = together.memory.descriptor
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(descriptor)], pass_fds=[descriptor], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"has it\n"
        holder.send_signal(signal.SIGSTOP)
        for name in ("alone", "alone too"):
            assert isinstance(store.try_reserve(name, two, ONE), Standing)
        assert isinstance(store.try_reserve("full", two, ONE), Refused)
        store.settle("before", {})
        store.release("alone")
        assert together.used(1)["client/ann concurrent"] == 1
        holder.kill()
    assert isinstance(store.try_reserve("together", two, ONE), Standing)
    assert together.used(1)["client/ann concurrent"] == 1
    assert len([record for record in caplog.records if "stands still" in record.message]) == 1
    fcntl.lockf(descriptor, fcntl.LOCK_UN, 1)


def test_counts_of_days_and_months_are_told_and_gone_on_from() -> None:
    clock = Clock()
    together, four = (
        Together(clock),
        buckets("60 requests/minute", "500 tokens/day", "500 tokens/month", "5 concurrent"),
    )
    source = SharedCounts(together.memory)
    assert source.changes() is None
    together.stores[0].try_reserve("a", four, ONE)
    together.stores[0].settle("a", {"tokens": 70})
    read = source.changes()
    assert read is not None
    found = {one.key: one for one in read()}
    assert {key: one.used for key, one in found.items()} == {"client/ann tokens/day": 70, "client/ann tokens/month": 70}
    assert source.changes() is None
    other = Together(clock)
    assert other.memory.restore([*found.values(), Count("client/ann tokens/hour", 0.0, 5.0)]) == 1
    refused = other.stores[1].try_reserve("b", four, {**ONE, "tokens": 450})
    assert isinstance(refused, Refused)
    assert [full.limit for full in refused.full] == [four[1].limit, four[2].limit]


def test_a_key_that_is_too_long_to_be_shown_is_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    together = Together(Clock())
    long = buckets("1 requests/day", of="x" * 200)
    assert isinstance(together.stores[0].try_reserve("a", long, ONE), Standing)
    assert isinstance(together.stores[1].try_reserve("b", long, ONE), Refused)
    assert list(SharedCounts(together.memory)._counts()) == []


def test_there_are_seats_for_successors_and_memory_of_another_version_is_refused() -> None:
    memory = SharedMemory.make(1)
    seats = [memory.take_seat() for _ in range(shared_memory.SEATS + 1)]
    assert seats[-1] is None
    assert seats[0] is not None
    memory.leave(seats[0])
    again = memory.take_seat()
    assert again is not None
    assert (again.number, again.serial) == (0, shared_memory.SEATS + 1)
    os.pwrite(memory.descriptor, b"\0" * 8, 0)
    with pytest.raises(NotSharedError):
        SharedMemory(memory.descriptor)
    with pytest.raises(NotSharedError):
        SharedMemory(1_000_000)
    os.close(memory.descriptor)
