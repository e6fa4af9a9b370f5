"""What is measured of wires beside chat: targets that speak a vendor's own, and streams that are relayed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from tests.bench import peers
from tests.bench.figures import percentile
from tests.bench.lab import Lab, Meter, Runner
from tests.bench.load import Request, Wrk, read_streams
from tests.bench.measures import CPU, CPU_OF_STREAM, RATE, USUAL
from tests.bench.messages import EVENTS, question
from tests.bench.peers import Kind, Peer
from tests.bench.processes import BenchError

RELAYED: Final = "gateway, relayed"
NATIVE: Final = "gateway, translating itself"
"""The process whose targets need no LiteLLM."""
CLASSES: Final = "gateway, LiteLLM's classes"
"""The process whose targets need LiteLLM."""
STREAMS: Final = "streams, /s"
P50: Final = "1 connection, p50, ms"
LATE: Final = "event late by p99, ms"
LATE_BUSY: Final = "the same while others are translated without a pause, ms"
IDLE: Final = "idle, MB"
LOADED: Final = "after the load, MB"
MESSAGES: Final = "Messages"
LIKE_MESSAGES: Final = "chat, as many events and bytes as Messages"
RESPONSES: Final = "Responses"
LIKE_RESPONSES: Final = "chat, as many events and bytes as Responses"
MEASURE: Final = "vendors"
_BUSY_CONNECTIONS: Final = 8
_KINDS: Final[tuple[Kind, ...]] = ("sized", "stream", "slow")


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor with a wire of its own."""

    name: str
    """LiteLLM's name of it, and its `kind` in routes.yaml."""
    label: str
    model: str
    path: str = ""
    """What `base_url` has behind the upstream's address."""
    is_native: bool = True
    """The gateway translates for it without LiteLLM."""

    def ours(self) -> str:
        """Return what its figures of the gateway are called."""
        return f"gateway, {self.label} target"

    def theirs(self) -> str:
        """Return what its figures of the LiteLLM proxy are called."""
        return f"{peers.LITELLM}, {self.label} target"

    def base_url(self, up: peers.Upstreams, kind: Kind) -> str:
        """Return where its upstream is."""
        return f"{up.other}/{kind}{self.path}"


VENDORS: Final = (
    Vendor("anthropic", "Anthropic", "claude-sonnet-4-5"),
    Vendor("gemini", "Gemini", "gemini-2.5-flash", path="/v1beta"),
    Vendor("cohere_chat", "Cohere", "command-r", path="/v2/chat", is_native=False),
)
NATIVES: Final = tuple(vendor for vendor in VENDORS if vendor.is_native)
OTHERS: Final = tuple(vendor for vendor in VENDORS if not vendor.is_native)


def vendors(lab: Lab) -> None:
    """Requests and streams of vendors' targets beside relayed ones and the LiteLLM proxy; memory, latency, lateness."""
    with lab.running(_peers(lab)) as runners:
        for runner in runners:
            _memory(lab, runner, IDLE)
        rows = [row for runner in runners for row in _rows(runner)]
        ours = [row for row in rows if not row.name.startswith(peers.LITELLM)]
        lab.warm_up(rows, "sized")
        lab.say(f"vendors: {USUAL} connections")
        lab.rotate(rows, partial(_asked, lab, "sized"))
        lab.warm_up(rows, "stream")
        lab.say(f"vendors: {lab.settings.streams_of_each:,} streams of each")
        lab.rotate(rows, partial(_asked, lab, "stream"))
        lab.say("vendors: 1 connection")
        lab.rotate([Runner(peers.direct(lab.folder, lab.up), None), *ours], partial(_alone, lab))
        for runner in runners:
            _memory(lab, runner, LOADED)
        lab.say(f"vendors: {lab.settings.stamped_streams} streams at a time")
        lab.rotate(ours, partial(_late, lab))


def _peers(lab: Lab) -> list[Peer]:
    """Return the processes: ours, with and without LiteLLM, and the LiteLLM proxy."""
    chosen = lab.settings.peers
    made: list[Peer | None] = []
    if peers.GATEWAY in chosen:
        made.append(peers.gateway(lab.folder, lab.up, name=NATIVE, routes=routes_yaml(lab.up, NATIVES)))
    if peers.TRANSLATED in chosen:
        made.append(peers.gateway(lab.folder, lab.up, name=CLASSES, routes=routes_yaml(lab.up, OTHERS)))
    if peers.LITELLM in chosen:
        made.append(peers.litellm_proxy(lab.folder, lab.up, targets=_litellm(lab)))
    return [peer for peer in made if peer is not None]


def _rows(runner: Runner) -> list[Runner]:
    """Return a process once for each kind of its targets, under the name of these."""
    if runner.name == NATIVE:
        found = {RELAYED: "relayed"} | {vendor.ours(): vendor.name for vendor in NATIVES}
    elif runner.name == CLASSES:
        found = {vendor.ours(): vendor.name for vendor in OTHERS}
    else:
        found = {vendor.theirs(): vendor.name for vendor in NATIVES}
    return [
        Runner(replace(runner.peer, name=name, model=f"{prefix}-{{}}".format), runner.child)
        for name, prefix in found.items()
    ]


def _asked(lab: Lab, kind: Kind, row: Runner) -> None:
    meter = Meter(row.child)
    answers = lab.settings.streams_of_each if kind == "stream" else 0
    counted = lab.load(row.peer.request(kind), USUAL, answers=answers)
    rate, cpu = (STREAMS, CPU_OF_STREAM) if answers else (RATE, CPU)
    lab.run.add(MEASURE, rate, row.name, "/s", [counted.per_s])
    lab.run.add(MEASURE, cpu, row.name, "µs", [1e6 * meter.cpu_s() / counted.requests])


def _alone(lab: Lab, row: Runner) -> None:
    lab.run.add(MEASURE, P50, row.name, "ms", [lab.load(row.peer.request("sized"), 1).p50_ms])


def _memory(lab: Lab, runner: Runner, case: str) -> None:
    if runner.child is not None:
        lab.run.add("memory", case, runner.name, "MB", [runner.child.memory_mb()])


def _late(lab: Lab, row: Runner) -> None:
    """How late events are, and how late while the gateway translates other streams of the same targets all the time."""
    _read_stamped(lab, row, LATE)
    seconds = math.ceil(EVENTS * lab.settings.slow_every_s) + 1
    busy = Wrk(row.peer.request("stream"), connections=_BUSY_CONNECTIONS, seconds=seconds, cores=lab.cores.rest)
    try:
        _read_stamped(lab, row, LATE_BUSY)
    finally:
        busy.result()


def _read_stamped(lab: Lab, row: Runner, case: str) -> None:
    count = lab.settings.stamped_streams
    read = read_streams(row.peer.request("slow"), connections=count, seconds=0, cores=lab.cores.rest)
    if read.broken or not read.late_ms:
        raise BenchError(f"{read.broken} of {read.streams} slow streams were not whole")
    lab.run.add(MEASURE, case, row.name, "ms", [percentile(read.late_ms, 99)])


def wires(lab: Lab) -> None:
    """Streams of Messages and Responses, relayed, beside chat streams of as many events and bytes."""
    if peers.GATEWAY not in lab.settings.peers:
        return
    providers = [
        f'  messages: {{kind: anthropic, base_url: "{lab.up.other}", api_key: none}}',
        f'  responses: {{kind: openai, base_url: "{lab.up.other}/v1"}}',
        *(
            f'  {name}: {{kind: openai, base_url: "{lab.up.other}/{name}/v1"}}'
            for name in ("like-messages", "like-responses")
        ),
    ]
    names = [line.strip().partition(":")[0] for line in providers]
    models = [f"  {name}: {name}/bench-model" for name in names]
    routes = "\n".join(["version: 1", "providers:", *providers, "models:", *models]) + "\n"
    with lab.running([peers.gateway(lab.folder, lab.up, name="wires", routes=routes)]) as runners:
        lab.say(f"wires: {lab.settings.streams_of_each:,} streams of each")
        lab.rotate(runners, partial(_wires, lab))


def _wires(lab: Lab, runner: Runner) -> None:
    chat = "/v1/chat/completions"
    asked = {
        MESSAGES: ("messages", "/v1/messages"),
        LIKE_MESSAGES: ("like-messages", chat),
        RESPONSES: ("responses", "/v1/responses"),
        LIKE_RESPONSES: ("like-responses", chat),
    }
    for label, (model, path) in asked.items():
        request = Request(runner.peer.url + path, (question(model, stream=True, path=path),))
        meter = Meter(runner.child)
        counted = lab.load(request, USUAL, answers=lab.settings.streams_of_each)
        lab.run.add("wires", STREAMS, label, "/s", [counted.per_s])
        lab.run.add("wires", CPU_OF_STREAM, label, "µs", [1e6 * meter.cpu_s() / counted.requests])


def routes_yaml(up: peers.Upstreams, chosen: Sequence[Vendor]) -> str:
    """Return a routes.yaml with relayed targets and those of these vendors, each for several kinds of answer."""
    providers, models = [], []
    for kind in _KINDS:
        providers.append(f'  relayed-{kind}: {{kind: openai, base_url: "{up.base_url(kind)}"}}')
        models.append(f"  relayed-{kind}: relayed-{kind}/bench-model")
        for vendor in chosen:
            name, url = f"{vendor.name}-{kind}", vendor.base_url(up, kind)
            providers.append(f'  {name}: {{kind: {vendor.name}, base_url: "{url}", api_key: none}}')
            models.append(f"  {name}: {name}/{vendor.model}")
    return "\n".join(["version: 1", "providers:", *providers, "models:", *models]) + "\n"


def _litellm(lab: Lab) -> dict[str, dict[str, str]]:
    """Return the models of the LiteLLM proxy."""
    return {
        f"{vendor.name}-{kind}": {"model": f"{vendor.name}/{vendor.model}", "api_base": vendor.base_url(lab.up, kind)}
        for vendor in NATIVES
        for kind in _KINDS
    }
