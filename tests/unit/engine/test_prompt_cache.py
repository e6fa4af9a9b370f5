"""What `sticky` earns agents whose deployments cache prompts, each its own: the table of docs/routing.md.

Run it as a program to print the table.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass, field

import pytest

from gateway.engine.picks import sticky, weighted
from gateway.policy.rendezvous import Rendezvous

DEPLOYMENTS = (b"eu/gpt-5.5", b"us/gpt-5.5", b"asia/gpt-5.5")
MEMBERS = Rendezvous(DEPLOYMENTS)
WEIGHTS = (1.0, 1.0, 1.0)
SESSIONS = 200
TURNS = 20
FIRST_TOKENS = 12_000
"""Of system prompt and tools, which a session's turns share; sessions have their own."""
TURN_TOKENS = 1_500
"""Added by each turn: an answer, the results of tools, a question."""
KEPT = 120
"""Prefixes that a deployment keeps, the ones used last."""


@dataclass
class Cache:
    """The prompt cache of one deployment: session → tokens of it that were seen."""

    seen: OrderedDict[int, int] = field(default_factory=OrderedDict)

    def ask(self, session: int, tokens: int) -> int:
        """Return how many tokens of a prompt are cached, and keep the prompt."""
        cached = self.seen.pop(session, 0)
        self.seen[session] = tokens
        if len(self.seen) > KEPT:
            self.seen.popitem(last=False)
        return cached


def play(pick: str) -> list[float]:
    """Return the cached part of the prompt tokens, by turn. All sessions run at once, in a random order."""
    chance = random.Random(17)
    caches = [Cache() for _ in DEPLOYMENTS]
    shares: list[float] = []
    for turn in range(TURNS):
        tokens = FIRST_TOKENS + turn * TURN_TOKENS
        cached = 0
        for session in chance.sample(range(SESSIONS), SESSIONS):
            if pick == "sticky":
                order = sticky(MEMBERS, WEIGHTS, b"session-%d" % session)
            else:
                order = weighted(WEIGHTS, chance.random)
            cached += caches[order[0]].ask(session, tokens)
        shares.append(cached / (tokens * SESSIONS))
    return shares


def rows() -> list[str]:
    """Return the rows of the table: the cached part of the prompt in some turns, and in all after the first."""
    made = ["| `pick` | turn 2 | turn 5 | turn 10 | turn 20 | all tokens |", "|---|---|---|---|---|---|"]
    sizes = [FIRST_TOKENS + turn * TURN_TOKENS for turn in range(TURNS)]
    for pick in ("weighted", "sticky"):
        shares = play(pick)
        whole = sum(share * size for share, size in zip(shares, sizes, strict=True)) / sum(sizes)
        cells = [f"{shares[turn - 1]:.0%}" for turn in (2, 5, 10, 20)]
        made.append(f"| `{pick}` | {' | '.join(cells)} | {whole:.0%} |")
    return made


def test_sticky_finds_what_its_session_has_cached() -> None:
    drawn, kept = play("weighted"), play("sticky")
    assert kept[0] == drawn[0] == 0
    assert all(
        share == pytest.approx(1 - TURN_TOKENS / (FIRST_TOKENS + turn * TURN_TOKENS))
        for turn, share in enumerate(kept[1:], start=1)
    )
    assert all(stuck > 1.2 * loose for stuck, loose in zip(kept[1:], drawn[1:], strict=True))


def test_the_docs_have_this_table() -> None:
    from tests.paths import ROOT

    page = (ROOT / "docs" / "routing.md").read_text(encoding="utf-8")
    assert "\n".join(rows()) in page


if __name__ == "__main__":
    print("\n".join(rows()))
