"""What limits in memory, a process' own or that of workers, cost a request.

That is the check of its model, reserving in all buckets, the head, and settling.

`python -m tests.bench.limits` measures it alone, in seconds; `python -m tests.bench --measure limits` with others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from gateway.engine.limits.admission import Limits
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.shared_memory import SharedMemory
from gateway.engine.limits.store import Store
from gateway.engine.limits.workers import WorkersStore
from gateway.operations import CHAT
from gateway.policy.clients import Client
from gateway.telemetry.report import Attempt, CallReport
from gateway.wire.json import JsonObject
from tests.bench import turns
from tests.bench.lab import Lab
from tests.bench.peers import GATEWAY
from tests.bench.turns import ROUNDS, USUAL, show
from tests.compiling import table
from tests.limiting import group, with_groups

_REQUESTS: Final = 200

ONE: Final = "requests a minute"
TWO: Final = "requests and tokens a minute"
FOUR: Final = "these, 100 at once, tokens a day"

CASES: Final = {
    ONE: ["1M requests/minute"],
    TWO: ["1M requests/minute", "1000M tokens/minute"],
    FOUR: ["1M requests/minute", "1000M tokens/minute", "100 concurrent", "1000M tokens/day"],
}
"""Case → the limits of the client's group."""

TOGETHER: Final = {f"{case}, counted with other workers": case for case in (ONE, TWO)}
"""Case → the one whose limits it has."""

LIMITS_US: Final = {**dict.fromkeys(CASES, 6.0), **dict.fromkeys(TOGETHER, 15.0)}
"""The most that a request should cost, by case. Where tokens count, the text of the request is measured."""

HELLO: Final[JsonObject] = {
    "messages": [{"role": "user", "content": "What is the capital of Peru?"}],
    "max_tokens": 50,
}


def limits(lab: Lab) -> None:
    """CPU time of a request's limits, by case."""
    lab.say("limits: in memory")
    for case, rounds in measured(ROUNDS * lab.settings.rounds).items():
        lab.run.add("limits", case, GATEWAY, "µs", rounds)


def measured(rounds: int = USUAL) -> dict[str, list[float]]:
    """Return case → microseconds of CPU time a request, by round."""
    asks = {case: _asking(CASES[case], MemoryStore()) for case in CASES}
    memory = SharedMemory.make(2)
    try:
        for case, same in TOGETHER.items():
            asks[case] = _asking(CASES[same], WorkersStore(SharedMemory(memory.descriptor, memory.take_seat())))
        return turns.measured(asks, calls=_REQUESTS, rounds=rounds)
    finally:
        os.close(memory.descriptor)


def _amount(text: str) -> str:
    return text.replace("M ", "000000 ")


def _asking(texts: Sequence[str], home: Store) -> Callable[[], object]:
    """Return what takes one request through its limits, as the pipeline does, and settles it by a usage."""
    of = group("default", *map(_amount, texts))
    policy = with_groups(table("models: {fast: mock/echo}\n"), of)
    store = Limits(home)
    route, client = policy.routes["fast"], Client(name="ann")
    answered = Attempt("mock/echo", "mock/echo", None, 200, 1.0)
    report = CallReport(attempts=[answered], tokens={"prompt": 14, "completion": 8}, calls=1)

    def ask() -> object:
        admission = store.admission(policy, route, client, report)
        assert admission is not None, "its group has limits"
        assert admission.try_enter(CHAT, route, HELLO) is None, "that takes no waiting"
        admission.close(answered=True)
        return report

    return ask


if __name__ == "__main__":
    show(measured())
