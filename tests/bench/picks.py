"""What a pool of ten costs a request before it is sent, by its pick: finding the key, and the order of the members.

`python -m tests.bench.picks` measures it alone, in seconds; `python -m tests.bench --measure picks` with other things.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Final

from gateway.engine.arrange import arranged
from gateway.engine.facts import RequestFacts
from gateway.engine.health import Health
from gateway.operations import CHAT
from gateway.policy.table import Route
from gateway.wire.json import EMPTY, Json, JsonObject
from tests.bench import turns
from tests.bench.lab import Lab
from tests.bench.peers import GATEWAY
from tests.bench.turns import ROUNDS, USUAL, show
from tests.compiling import route

MEMBERS: Final = 10
_REQUESTS: Final = 200
_NOW_S: Final = 1000.0
_PAUSES_S: Final = {"fastest": 0.1, "fastest, after a pause": 2.0}
"""Since the newest time of each target. Where many requests come, times are new; `fastest` does more when none is."""

WEIGHTED: Final = "weighted"
STICKY_BY_HEADER: Final = "sticky, by a header"
STICKY_BY_FIELD: Final = "sticky, by `user`"
STICKY_BY_PROMPT: Final = "sticky, by the prompt"
LEAST_BUSY: Final = "least_busy"
FASTEST, FASTEST_AFTER_A_PAUSE = _PAUSES_S

_TOOL: Final[JsonObject] = {
    "type": "function",
    "function": {
        "name": "read_file",
        "description": "Read a file of the project, or a part of it, and return its lines with their numbers. " * 4,
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "first": {"type": "integer"}, "last": {"type": "integer"}},
            "required": ["path"],
        },
    },
}
AGENT: Final[JsonObject] = {
    "model": "fast",
    "messages": [
        {"role": "system", "content": "You are an agent that works on a large project, step by step. " * 200},
        {"role": "user", "content": "Find out why the second test of the parser fails, and mend it. " * 10},
        *({"role": "assistant" if turn % 2 else "user", "content": "and so on " * 50} for turn in range(20)),
    ],
    "tools": [{**_TOOL, "function": {**_TOOL["function"], "name": f"tool_{number}"}} for number in range(12)],
}
"""A request of an agent: a long system prompt, a dozen tools, twenty turns."""

CASES: Final[Mapping[str, tuple[str, Mapping[str, str], Mapping[str, Json]]]] = {
    WEIGHTED: ("weighted", EMPTY, EMPTY),
    LEAST_BUSY: ("least_busy", EMPTY, EMPTY),
    FASTEST: ("fastest", EMPTY, EMPTY),
    FASTEST_AFTER_A_PAUSE: ("fastest", EMPTY, EMPTY),
    STICKY_BY_HEADER: ("sticky", {"x-session-id": "0195f1c8-8c5a-7b0e-9a51-5a5b6e7c9d01"}, EMPTY),
    STICKY_BY_FIELD: ("sticky", EMPTY, {"user": "user-4711"}),
    STICKY_BY_PROMPT: ("sticky", EMPTY, EMPTY),
}
"""Case → (pick, header fields, fields of the request beside AGENT's)."""

LIMITS_US: Final[Mapping[str, float]] = {
    case: 15.0 if case.startswith("sticky") else 5.0 for case in CASES if case != FASTEST_AFTER_A_PAUSE
}
"""The most that a request may cost, by case: what many requests a second meet."""


def picks(lab: Lab) -> None:
    """CPU time of a request's arrangement, by case."""
    lab.say("picks: pools of ten")
    for case, rounds in measured(ROUNDS * lab.settings.rounds).items():
        lab.run.add("picks", case, GATEWAY, "µs", rounds)


def measured(rounds: int = USUAL) -> dict[str, list[float]]:
    """Return case → microseconds of CPU time a request, by round."""
    asks = {case: _asking(*how, pause_s=_PAUSES_S.get(case, 0.0)) for case, how in CASES.items()}
    return turns.measured(asks, calls=_REQUESTS, rounds=rounds)


def _asking(
    pick: str, headers: Mapping[str, str], fields: Mapping[str, Json], *, pause_s: float
) -> Callable[[], object]:
    """Return what arranges one request by a pool of ten targets, of which all have been asked."""
    members = ", ".join(f"mock/echo-{number}" for number in range(MEMBERS))
    chain: Route = route(f"models: {{fast: [{{pool: [{members}], pick: {pick}}}]}}\n")
    health, draw, params = Health(), random.Random(7).random, {**AGENT, **fields}
    for number, step in enumerate(chain.steps):
        ticket = health.begin(step, now_s=0.0)
        health.note_pace(step.target, ("chat", False), 0.2 + number / 100, now_s=_NOW_S - pause_s)
        if number % 2:
            ticket.done()

    def ask() -> object:
        facts = RequestFacts(CHAT, params, arrived=time.time, headers=headers)
        return arranged(chain, facts, health, draw, now_s=_NOW_S)

    return ask


if __name__ == "__main__":
    show(measured())
