"""Hooks that raise anything, before and after the answer: the server survives, names the hook, and `on_error` holds."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import orjson

from tests.audit import Findings
from tests.audit.probes import _failing_hooks
from tests.gateway_process import GatewayProcess, gateway_process

PROMPT: Final = "the-secret-prompt"
LONGEST_S: Final = 10.0
MOST_ENDS: Final = 3
"""The probe gives up after the server has ended so often."""


@dataclass(frozen=True, slots=True)
class Try:
    """One combination."""

    kind: str
    run: str
    """`sync` or `async`."""
    place: str
    """`pre` or `post`."""
    on_error: str
    """`fail` or `skip`."""
    stream: bool
    nested: bool
    """The hook is a nested alias'."""

    @property
    def hook(self) -> str:
        return f"{_failing_hooks.__name__}.{self.run}_{self.kind}"

    @property
    def alias(self) -> str:
        """The alias to ask for; plain and streaming requests share one."""
        return "-".join((self.kind, self.run, self.place, self.on_error, "nested" if self.nested else "own"))

    def __str__(self) -> str:
        return f"{self.alias}, {'stream' if self.stream else 'plain'}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: str


TRIES: Final = [
    Try(*each)
    for each in itertools.product(
        _failing_hooks.FAILURES, ("sync", "async"), ("pre", "post"), ("fail", "skip"), (False, True), (False, True)
    )
]


def routes() -> str:
    """Return the config: an alias for each hook, place and `on_error`."""
    models: dict[str, object] = {}
    for each in TRIES:
        hooks = {each.place: [{"path": each.hook, "on_error": each.on_error}]}
        inner = f"{each.alias}-inner" if each.nested else each.alias
        models[inner] = {"chain": ["mock/echo"], "hooks": hooks}
        if each.nested:
            models[each.alias] = [{"alias": inner}]
    return json.dumps({"version": 1, "models": models})


async def probe(scale: float) -> Findings:
    """Try the combinations one after the other, so that the one that ends the server is known."""
    chosen = TRIES[:: max(1, round(1 / scale / 4))]
    findings, left = Findings(tried=len(chosen)), list(chosen)
    with tempfile.TemporaryDirectory() as name:
        config, log = Path(name) / "routes.yaml", Path(name) / "log"
        config.write_text(routes())
        for _ in range(MOST_ENDS):
            began = len(left)
            async with gateway_process(config, log=log) as gateway, aiohttp.ClientSession(gateway.url) as session:
                while left and not gateway.has_ended:
                    findings += await _tried(left.pop(0), gateway, session)
            findings += _faults_in_log(log, asked=began - len(left))
            if not left:
                return findings
    return Findings([*findings, f"given up: the server ended {MOST_ENDS} times"], tried=len(chosen) - len(left))


async def _tried(each: Try, gateway: GatewayProcess, session: aiohttp.ClientSession) -> list[str]:
    body = {"model": each.alias, "messages": [{"role": "user", "content": PROMPT}], "stream": each.stream}
    timeout = aiohttp.ClientTimeout(total=LONGEST_S)
    try:
        async with session.post("/v1/chat/completions", json=body, timeout=timeout) as response:
            answer = Answer(response.status, await response.text())
        async with session.get("/healthz", timeout=timeout) as response:
            is_well = response.status == 200
    except (aiohttp.ClientError, TimeoutError) as error:
        if isinstance(error, aiohttp.ClientError) and not gateway.has_ended:
            await _maybe_ended(gateway)
        return [f"{each}: {'the server ended' if gateway.has_ended else repr(error)}"]
    wrong = [] if is_well else ["the server is not well afterwards"]
    wrong += _skipped(each, answer) if each.on_error == "skip" else failed(each, answer)
    return [f"{each}: {why}" for why in wrong]


async def _maybe_ended(gateway: GatewayProcess) -> None:
    """Give a process that closed a connection the time to end, so that it is known that it does."""
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            await gateway.process.wait()


def _skipped(each: Try, answer: Answer) -> list[str]:
    """Return what is wrong with the answer of a request whose hook is skipped."""
    if answer.status != 200:
        return [f"{answer.status} although on_error is skip"]
    if each.stream and "data: [DONE]" not in answer.body:
        return ["the stream is not whole"]
    said = _said(answer.body) if each.stream else orjson.loads(answer.body)["choices"][0]["message"]["content"]
    return [] if said == PROMPT else [f"the answer is {said!r}"]


def failed(each: Try, answer: Answer) -> list[str]:
    """Return what is wrong with the answer of a request whose hook may not fail."""
    if answer.status == 200 and each.stream and each.place == "post":
        if "data: [DONE]" in answer.body or '"finish_reason":"stop"' in answer.body:
            return ["the stream looks whole"]
        events = [line[6:] for line in answer.body.splitlines() if line.startswith("data: ")]
        error = orjson.loads(events[-1]).get("error") if events else None
    elif answer.status == 500:
        error = orjson.loads(answer.body).get("error")
    else:
        return [f"{answer.status} although the hook failed"]
    if not error or error["code"] != "hook_failed" or each.hook not in error["message"]:
        return [f"the error does not name the hook: {error}"]
    return [f"the error repeats the prompt: {error}"] if PROMPT in error["message"] else []


def _said(body: str) -> str:
    """Return a stream's text."""
    said = ""
    for line in body.splitlines():
        if line.startswith("data: {"):
            for choice in orjson.loads(line[6:])["choices"]:
                said += choice["delta"].get("content") or ""
    return said


def _faults_in_log(log: Path, *, asked: int) -> list[str]:
    lines = log.read_text(errors="replace").splitlines()
    wrong = [f"the log has {line[:200]!r}" for line in lines if not line.startswith("{")][:3]
    wrong += [f"the log tells the prompt: {line[:300]}" for line in lines if PROMPT in line][:3]
    named = sum(_failing_hooks.__name__ in line and '"hook failed"' in line for line in lines)
    return wrong if named >= asked else [*wrong, f"{asked} hooks failed, and the log names {named}"]
