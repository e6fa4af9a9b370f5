"""What is asked of every client: answers, streams, a tool call and its result; and every break of a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from tests.clients.programs.jobs import TOOL_RESULT
from tests.clients.running import Client, Installed, Job
from tests.wires import breaks
from tests.wires.lab import SECOND_TEXT, Lab
from tests.wires.play import TEXT

AFTER_TOOL: Final = "it is sunny"
REFUSAL: Final = "max_tokens is too hot"
"""Of the upstream: what the client, and its user, has to hear."""
MOVES: Final = {"responses": "gpt-to-claude-", "messages": "claude-to-gpt-"}
"""By the client's wire: aliases whose second target speaks another one."""


@dataclass(frozen=True, slots=True)
class Result:
    """One check of one client."""

    client: str
    check: str
    outcome: Literal["ok", "fail"]
    detail: str
    took_s: float


def run_checks(client: Client, installed: Installed, lab: Lab, *, with_breaks: bool) -> Iterator[Result]:
    """Check a client at the upstream itself, then through the gateway: on its own wire, then on another."""
    name = f"{client.name} {client.version(installed)}"
    yield _timed(name, "straight at the upstream", lambda: _answers(client, installed, lab, lab.first.root_url, ""))
    for check, begin, wire in _ways(client):
        yield _timed(name, check, lambda: _answers(client, installed, lab, lab.gateway_url, f"{begin}one-"))  # noqa: B023
        if with_breaks:
            yield _timed(
                name, f"{check}, broken", lambda: _breaks(client, installed, lab, f"{begin}pair-", wire)  # noqa: B023
            )  # fmt: skip
    yield _timed(name, "falls over to another wire after a tool call", lambda: _moves(client, installed, lab))


def _moves(client: Client, installed: Installed, lab: Lab) -> tuple[list[str], str]:
    """Let the first target fail after it has called a tool: one of another wire goes on with the conversation."""
    lab.first.forget()
    lab.second.forget()
    lab.first.script("moves", tools=[client.tool]).script("moves", status=503)
    [said] = client.run(installed, lab.gateway_url, [Job("stream", f"{MOVES[client.wire]}moves")])
    faults = [] if said.text == SECOND_TEXT else [said.error or repr(said.text)]
    if not any(TOOL_RESULT in request.raw.decode() for request in lab.second.asked("moves")):
        faults.append("the tool's result never reached the second target")
    return faults, "the second target went on"


def _ways(client: Client) -> list[tuple[str, str, str]]:
    """Return the targets to try: what to call it, how their aliases begin, and the wire of the upstream."""
    if client.wire == "messages":
        return [("relayed", "claude-", "messages"), ("on a target that speaks chat", "", "chat")]
    return [
        ("relayed", "", "responses"),
        ("on a target that speaks messages", "claude-", "messages"),
        ("on a target that speaks chat", "chat-", "chat"),
    ]


def _timed(name: str, check: str, run: Callable[[], tuple[list[str], str]]) -> Result:
    began_s = time.monotonic()
    try:
        faults, detail = run()
    except Exception as error:  # noqa: BLE001 - a client that cannot be run is a finding too
        faults, detail = [f"{type(error).__name__}: {error}"], ""
    took_s = time.monotonic() - began_s
    return Result(name, check, "fail" if faults else "ok", "; ".join(faults) if faults else detail, took_s)


def _answers(client: Client, installed: Installed, lab: Lab, root_url: str, alias: str) -> tuple[list[str], str]:
    """Ask for an answer, a stream, a tool call in each, and something that is refused."""
    lab.first.forget()
    lab.first.script("refused", status=400, error={"message": REFUSAL})
    for kind in client.kinds:
        lab.first.script(f"tool-{kind}", tools=[client.tool]).script(f"tool-{kind}", text=AFTER_TOOL)
    jobs = [Job(kind, f"{alias}{what}") for kind in client.kinds for what in ("words", f"tool-{kind}", "refused")]
    faults = []
    for job, said in zip(jobs, client.run(installed, root_url, jobs), strict=True):
        if job.model.endswith("refused"):
            if REFUSAL not in (said.error or ""):
                faults.append(f"{job.kind}: the refusal came as {said.error or repr(said.text)}")
            continue
        wanted = AFTER_TOOL if "tool-" in job.model else TEXT
        if said.error is not None or said.text != wanted:
            faults.append(f"{job.kind} {job.model}: {said.error or repr(said.text)}")
    faults += [
        f"{kind}: the tool's result never reached the upstream"
        for kind in client.kinds
        if not any(TOOL_RESULT in request.raw.decode() for request in lab.first.asked(f"tool-{kind}"))
    ]
    return faults, f"{len(jobs)} answers"


def _breaks(client: Client, installed: Installed, lab: Lab, alias: str, wire: str) -> tuple[list[str], str]:
    """Break the first target's stream at every place, once; a client that asks again itself then gets it whole."""
    lab.first.forget()
    [said] = client.run(installed, lab.gateway_url, [Job("stream", f"{alias}whole")])
    if said.error is not None:
        return [said.error], ""
    tried = [(how, place) for how in breaks.BREAKS for place in breaks.places(how, lab.first.part_counts["whole"])]
    jobs = []
    for how, place in tried:
        lab.first.script(f"{how}-{place}", **{how: place}).script(f"{how}-{place}")
        jobs.append(Job("stream", f"{alias}{how}-{place}"))
    faults, errors = [], 0
    for (how, place), said in zip(tried, client.run(installed, lab.gateway_url, jobs), strict=True):
        errors += said.error is not None
        wrong = breaks.fault(said.text, said.error, place=place, first_content=breaks.FIRST_CONTENT[wire])
        if wrong:
            faults.append(f"{how}={place}: {wrong}")
    return faults, f"{len(jobs)} breaks: {len(jobs) - errors} whole answers, {errors} errors of its own"
