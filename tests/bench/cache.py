"""What an answer from the cache costs beside one that is relayed: requests and streams a second, and CPU time of each.

`python -m tests.bench --quick --measure cache --peers gateway` measures it in a minute.
"""

from __future__ import annotations

from typing import Final

from tests.bench import peers
from tests.bench.lab import Lab, Runner
from tests.bench.own import asked

RELAYED: Final = "relayed"
HIT: Final = "from the cache"
LEAST: Final = 1.5
"""Hits a second, at least so many times those that are relayed."""


def cache(lab: Lab) -> None:
    """Answers a second of one alias with a cache and one without, by one process, in turns."""
    kinds: tuple[peers.Kind, ...] = ("plain", "stream")
    more = [f"  {kind}-kept: {{chain: [{kind}/bench-model], cache: 1h}}" for kind in kinds]
    peer = peers.gateway(lab.folder, lab.up, name="cache", routes=peers.routes_yaml(lab.up, more=more))
    with lab.running([peer]) as runners:
        lab.warm_up(runners, "plain")
        lab.say("cache: 32 connections")

        def every(runner: Runner) -> None:
            for kind in kinds:
                asked(lab, "cache", runner, RELAYED, kind, [kind])
                asked(lab, "cache", runner, HIT, kind, [f"{kind}-kept"])

        lab.rotate(runners, every)
