"""Upstreams that play a script: the one part of a simulated request that is not the gateway's own code."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from gateway.adapters.base import Adapters, Call, Event, GeneratedStream, Reply, Stream, signed
from gateway.adapters.mock import MockAdapter
from gateway.policy.failures import Kind, UpstreamError, classify, retry_after
from gateway.policy.params import merged, merged_for_output
from gateway.policy.target import Target
from gateway.simulation.failures import OF_KIND, best_match
from gateway.wire.json import EMPTY, Json, JsonObject

_WORD: Final = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """What one call of a target comes to. An error status, a `kind` or a `code` fails; else `text` is the answer."""

    kind: Kind | None = None
    status: int | None = None
    text: str | None = None
    """None says hello and names the target."""
    code: str | None = None
    """The error body's code. With a good status the error comes inside the answer."""
    body: JsonObject | None = None
    """The whole body in place of `text` or the error that `code` makes."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """What may go back to the client, with lower-case names."""
    retry_after_s: float | None = None
    delay_s: float = 0.0
    """Waited before anything is answered."""
    pace_s: float = 0.0
    """Streams only: waited before each chunk."""
    cut: int | None = None
    """Break off after so many content chunks (a plain answer breaks off at once)."""
    stall: int | None = None
    """Fall silent for ever after so many content chunks (a plain answer never comes)."""


HELLO: Final = Scripted()


def named(kind: Kind) -> Scripted:
    """Return the outcome that a kind alone stands for. A `timeout` answers never, so the policy's own limits count."""
    if kind is Kind.TIMEOUT:
        return Scripted(stall=0)
    status, code = OF_KIND.get(kind, (None, None))
    return Scripted(kind=kind, status=status, code=code)


class Script:
    """What each target's calls come to: in order, the last one for ever. A `*` at a name's end takes any rest."""

    def __init__(self, outcomes: Mapping[str, tuple[Scripted, ...]]) -> None:
        self._outcomes = outcomes
        self._plays: dict[str, int] = {}

    def next(self, target: str) -> Scripted | None:
        """Return what the next call of a target comes to; None when the script does not have the target."""
        outcomes = self.find(target)
        if not outcomes:
            return None
        play = self._plays.get(target, 0)
        self._plays[target] = play + 1
        return outcomes[min(play, len(outcomes) - 1)]

    def find(self, target: str) -> tuple[Scripted, ...]:
        """Return a target's outcomes: those of its exact name, else of the longest pattern that fits."""
        return self._outcomes.get(best_match(target, self._outcomes) or "", ())


@dataclass(frozen=True, slots=True)
class Called:
    """One call that reached a target."""

    target: Target
    started_s: float
    params: Mapping[str, Json]
    """The request after its hooks."""
    sent: JsonObject
    """The parameters as the target got them, merged with the file's, `model` included."""
    shown: JsonObject
    """The same as an output may show it."""


class ScriptedAdapter:
    """Stands in for every adapter and notes each call. Without a script a mock plays itself, others say hello."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.calls: list[Called] = []
        self._mock = MockAdapter()

    def for_all(self) -> Adapters:
        """Return this adapter under every adapter's name."""
        return {"relay": self, "litellm": self, "mock": self}

    async def prepare(self) -> None:
        """There is nothing to make ready."""

    async def complete(self, call: Call) -> Reply:
        """Return the plain answer that the script has next."""
        outcome = self._begin(call)
        if outcome is None:
            return await self._mock.complete(call)
        await _answer_or_fail(outcome)
        if outcome.stall is not None:
            await _silence()
        if outcome.cut is not None:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        return Reply(data=_body(call, outcome), headers=_headers(outcome))

    async def stream(self, call: Call) -> Stream:
        """Return the stream that the script has next, word by word."""
        outcome = self._begin(call)
        if outcome is None:
            return await self._mock.stream(call)
        await _answer_or_fail(outcome)
        return GeneratedStream(_events(call, outcome), _headers(outcome))

    async def close(self) -> None:
        """There is nothing to give back."""

    def _begin(self, call: Call) -> Scripted | None:
        """Note the call; return what it comes to, None where the mock adapter is to say."""
        sent = merged(call.params, call.overrides.sent, call.target.model)
        shown = merged_for_output(call.params, call.overrides, call.target.model)
        self.calls.append(Called(call.target, asyncio.get_running_loop().time(), call.params, sent, shown))
        outcome = self.script.next(call.target.name)
        if outcome is None and call.target.endpoint.adapter == "mock":
            return None
        return outcome or HELLO


async def _answer_or_fail(outcome: Scripted) -> None:
    """Wait as the outcome says, then raise UpstreamError when it is a failure from the start."""
    if outcome.delay_s:
        await asyncio.sleep(outcome.delay_s)
    status = outcome.status
    if status is None or status < 400:
        if outcome.kind is not None:
            raise UpstreamError(outcome.kind, status=200 if outcome.kind is Kind.BAD_RESPONSE else None)
        return
    body = outcome.body if outcome.body is not None else _error(outcome)
    raise UpstreamError(
        outcome.kind or classify(status, body),
        status=status,
        code=outcome.code,
        retry_after_s=outcome.retry_after_s,
        body=orjson.dumps(body),
        headers=_headers(outcome),
    )


async def _silence() -> None:
    await asyncio.get_running_loop().create_future()


def _error(outcome: Scripted) -> JsonObject:
    status = f"status {outcome.status}" if outcome.status else "error"
    return {"error": {"message": f"simulated {status}", "type": "simulated", "param": None, "code": outcome.code}}


def _headers(outcome: Scripted) -> dict[str, str]:
    headers = dict(outcome.headers)
    if outcome.retry_after_s is not None:
        headers.setdefault("retry-after", retry_after(outcome.retry_after_s))
    return headers


def _text(call: Call, outcome: Scripted) -> str:
    return f"hello from {call.target.name}" if outcome.text is None else outcome.text


def _signed(call: Call, data: JsonObject) -> JsonObject:
    return signed(call, data, serial="simulated", created=0)


def _body(call: Call, outcome: Scripted) -> JsonObject:
    """Return the body of a plain answer, which may be an error all the same."""
    if outcome.body is not None:
        return outcome.body
    if outcome.code is not None:
        return _error(outcome)
    return _signed(call, call.operation.reply(_text(call, outcome), call.params))


async def _events(call: Call, outcome: Scripted) -> AsyncGenerator[Event, None]:
    """Yield the events of a stream, each in the wire's shape, up to where the outcome ends it."""
    operation = call.operation

    def event(data: JsonObject) -> Event:
        return Event(_signed(call, data))

    if outcome.body is not None:
        choices = outcome.body.get("choices") or []
        for choice in choices:
            said = {"index": choice.get("index", 0), "delta": choice.get("message") or {}, "finish_reason": None}
            yield event({**operation.event(""), "choices": [said]})
        for choice in choices:
            end = {"index": choice.get("index", 0), "delta": {}, "finish_reason": choice.get("finish_reason")}
            yield event({**operation.event(""), "choices": [end]})
        return
    words = _WORD.findall(_text(call, outcome))
    ends = [place for place in (outcome.stall, outcome.cut) if place is not None]
    if outcome.code is not None and not ends:
        ends = [0]
    yield event(operation.event("", first=True))
    for word in words[: min(ends, default=None)]:
        if outcome.pace_s:
            await asyncio.sleep(outcome.pace_s)
        yield event(operation.event(word))
    if ends and outcome.stall == min(ends):
        await _silence()
    if ends and outcome.code is not None:
        yield Event(_error(outcome))
    elif ends:
        raise UpstreamError(Kind.BAD_RESPONSE, status=200)
    else:
        yield event(operation.event("", "stop"))
