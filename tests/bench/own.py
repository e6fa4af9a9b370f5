"""What is measured of our gateway alone: many aliases, hooks, reloads, and its own cost over the LiteLLM library."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from tests.bench import peers, vendors
from tests.bench.lab import Lab, Meter, Runner
from tests.bench.load import Wrk
from tests.bench.measures import CPU, CPU_OF_STREAM, RATE, USUAL
from tests.bench.peers import Kind, Peer
from tests.bench.processes import BenchError, fetch, pinned

ASKED: Final = 1024
"""Different names that are asked for in turn, spread over all."""
ONE_OF_MANY: Final = "one of 100,000 aliases"
"""The same table, asked for one name as the one with a single alias is."""
_SHORT_ROUNDS: Final = 5
_SHORT_S: Final = 1.0
"""Where a few percent are looked for: more rounds, so near to each other that what disturbs one disturbs the next."""
NO_HOOKS: Final = "no hooks"
POST_HOOK: Final = "a pre and a post hook"
P99: Final = "p99, ms"
AT_REST: Final = "at rest"
RELOADING: Final = "a reload each second"
ALONE: Final = "litellm.acompletion"
OURS: Final = "complete_chat, stream_chat"
_RELOAD_EVERY_S: Final = 1.0
_RELOAD_LOAD_S: Final = 5.0
_LIBRARY_S: Final = 300.0
_LIBRARY_STARTS: Final = 3
"""To a round."""


def aliases(lab: Lab) -> None:
    """Requests a second with few and many aliases, and with wildcards."""
    counts = lab.settings.alias_counts
    tables = {alias_label(count): (names(count, "alias-{:06}"), "") for count in counts}
    wild = lab.settings.wildcards
    tables[f"{wild:,} wildcards"] = (names(wild, "team-{:06}/"), "*")
    made: list[Peer] = []
    asked: dict[str, list[str]] = {}
    for label, (every, star) in tables.items():
        # One name is asked for as often as many are, so that the load is the same.
        asked[label] = [f"{every[place * len(every) // ASKED]}{'model' if star else ''}" for place in range(ASKED)]
        more = [f'  "{name}{star}": "plain/{star or name}"' for name in every]
        made.append(peers.gateway(lab.folder, lab.up, name=label, routes=peers.routes_yaml(lab.up, more=more)))
    seconds = min(_SHORT_S, lab.settings.seconds)
    lab.note(
        f"aliases: {_SHORT_ROUNDS} rounds of {seconds:g} s with each of {lab.settings.rounds} starts, as what is looked"
        " for is small beside what differs from round to round and from process to process"
    )
    for _ in range(lab.settings.rounds):
        with ExitStack() as stack:
            runners: list[Runner] = []
            for peer in made:
                lab.say(f"aliases: starting with {peer.name}")
                began_s = time.monotonic()
                runners += stack.enter_context(lab.running([peer]))
                lab.run.add("aliases", "ready after, s", peer.name, "s", [time.monotonic() - began_s])
            for runner in runners:
                lab.load(runner.peer.request("plain", models=asked[runner.name]), USUAL, seconds=lab.settings.warm_up_s)
            lab.say("aliases: 32 connections")
            lab.rotate(runners, lambda runner: _many(lab, runner, asked[runner.name], seconds), rounds=_SHORT_ROUNDS)
            for runner in runners:
                if runner.child is not None:
                    lab.run.add("aliases", "memory, MB", runner.name, "MB", [runner.child.memory_mb()])


def _many(lab: Lab, runner: Runner, models: Sequence[str], seconds: float) -> None:
    asked(lab, "aliases", runner, runner.name, "plain", models, seconds=seconds)
    if runner.name == alias_label(100_000):
        asked(lab, "aliases", runner, ONE_OF_MANY, "plain", models[:1], seconds=seconds)


def alias_label(count: int) -> str:
    """Return what a table with so many aliases is called."""
    return f"{count:,} alias{'es' if count != 1 else ''}"


def names(count: int, pattern: str) -> list[str]:
    """Return so many names, all equally long: it is not the length of a body that is measured."""
    return [pattern.format(number) for number in range(count)]


def hooks(lab: Lab) -> None:
    """Requests and streams a second with hooks that see every request, answer and chunk."""
    chosen = {
        NO_HOOKS: "{}",
        "a pre hook": "{pre: [examples.hooks.add_system_message]}",
        POST_HOOK: "{pre: [examples.hooks.add_system_message], post: [examples.hooks.add_metadata]}",
        "a post hook on last events": "{post: [{path: examples.hooks.add_metadata, events: final}]}",
    }
    kinds: Sequence[Kind] = ("plain", "stream")
    more = [
        f"  {kind}-{place}: {{chain: [{kind}/bench-model], hooks: {text}}}"
        for kind in kinds
        for place, text in enumerate(chosen.values())
    ]
    peer = peers.gateway(lab.folder, lab.up, name="hooks", routes=peers.routes_yaml(lab.up, more=more))
    with lab.running([peer]) as runners:
        lab.warm_up(runners, "plain")
        lab.say("hooks: 32 connections")

        def every(runner: Runner) -> None:
            for place, label in enumerate(chosen):
                asked(lab, "hooks", runner, label, "plain", [f"plain-{place}"])
            for place, label in enumerate(chosen):
                asked(lab, "hooks", runner, label, "stream", [f"stream-{place}"])

        lab.rotate(runners, every)


def asked(
    lab: Lab, measure: str, runner: Runner, label: str, kind: Kind, models: Sequence[str], *, seconds: float = 0.0
) -> None:
    """Measure requests or streams a second of these models, and the CPU time of each."""
    meter = Meter(runner.child)
    counted = lab.load(runner.peer.request(kind, models=models), USUAL, seconds=seconds)
    rate, cpu = (RATE, CPU) if kind == "plain" else (vendors.STREAMS, CPU_OF_STREAM)
    lab.run.add(measure, rate, label, "/s", [counted.per_s])
    lab.run.add(measure, cpu, label, "µs", [1e6 * meter.cpu_s() / counted.requests])


def reloads(lab: Lab) -> None:
    """Latency while a large routes.yaml is written anew every second, beside that at rest."""
    count = lab.settings.reloaded_aliases
    more = [f'  "alias-{number}": "plain/model-{number}"' for number in range(count)]
    routes = peers.routes_yaml(lab.up, more=more)
    peer = peers.gateway(lab.folder, lab.up, name="reloads", routes=routes)
    with lab.running([peer]) as runners:
        lab.warm_up(runners, "plain")
        lab.say(f"reload: {count} aliases")
        lab.rotate(runners, lambda runner: _reloads(lab, runner, routes))


def _reloads(lab: Lab, runner: Runner, routes: str) -> None:
    child = runner.child
    assert child is not None
    # A reload may use the core that is not busy, as it could in production.
    child.use(lab.cores.all)
    seconds = max(_RELOAD_LOAD_S, lab.settings.seconds) if lab.settings.seconds >= 1 else lab.settings.seconds
    for case in (AT_REST, RELOADING):
        before, meter = _generation(runner.peer), Meter(child)
        wrk = Wrk(runner.peer.request("plain"), connections=USUAL, seconds=seconds, cores=lab.cores.rest)
        began_s, saves = time.monotonic(), 0
        while case == RELOADING and wrk.running and time.monotonic() - began_s < seconds - _RELOAD_EVERY_S / 2:
            saves += 1
            _save(runner.peer, routes, f"saved-{time.monotonic_ns()}")
            time.sleep(max(0.0, began_s + saves * _RELOAD_EVERY_S - time.monotonic()))
        counted = wrk.result()
        add = lab.run.add
        add("reload", RATE, case, "/s", [counted.per_s])
        add("reload", "p50, ms", case, "ms", [counted.p50_ms])
        add("reload", P99, case, "ms", [counted.p99_ms])
        add("reload", "of a core used, %", case, "%", [meter.busy()])
        add("reload", "saves", case, "", [float(saves)])
        add("reload", "tables swapped in", case, "", [float(_generation(runner.peer) - before)])


def _save(peer: Peer, routes: str, alias: str) -> None:
    """Write the file as an editor does: a new one takes the old one's place. One alias is another."""
    new = peer.folder / "routes.yaml.new"
    new.write_text(routes + f"  {alias}: plain/bench-model\n")
    new.replace(peer.folder / "routes.yaml")


def _generation(peer: Peer) -> int:
    try:
        return int(json.loads(fetch(f"{peer.url}/-/config")[1])["generation"])
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise BenchError(f"{peer.url}/-/config does not tell the generation: {error}") from error


def library(lab: Lab) -> None:
    """What complete_chat and stream_chat cost on top of litellm.acompletion, in one process."""
    lab.say("library")
    folder = lab.folder / "library"
    folder.mkdir(exist_ok=True)
    routes = folder / "routes.yaml"
    routes.write_text(peers.routes_yaml(lab.up, adapter="litellm"))
    program = [sys.executable, "-m", "tests.bench.library", str(routes), lab.up.other, str(lab.settings.library_calls)]
    rounds = _LIBRARY_STARTS * lab.settings.rounds
    lab.note(f"library: {rounds} starts, as it is a small difference of two large figures")
    for _ in range(rounds):
        done = subprocess.run(
            [*pinned(lab.cores.peer), *program], capture_output=True, text=True, timeout=_LIBRARY_S, check=False
        )
        if done.returncode:
            lab.note(f"the library could not be measured: {done.stderr.strip()[-400:]}")
            return
        for kind, spent_us in json.loads(done.stdout.splitlines()[-1]).items():
            for name, each_us in spent_us.items():
                lab.run.add("library", f"CPU of {kind}, µs", name, "µs", [each_us])
