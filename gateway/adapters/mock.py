"""Answers without any network: for demos, tests and drills. A script, or else the model's name, says what it does."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from itertools import count
from typing import Final

import orjson

from gateway.adapters.base import Call, Event, GeneratedStream, Reply, Stream, signed
from gateway.policy.failures import Kind, UpstreamError, classify, retry_after
from gateway.policy.params import merged
from gateway.policy.target import Endpoint, ScriptedOutcome, Target
from gateway.wire.json import EMPTY, JsonObject
from gateway.words import seconds

_FOREVER_S: Final = 365 * 86400.0
_STATUS_MODEL: Final = re.compile(r"status-([45]\d\d)")
_SLOW_MODEL: Final = re.compile(r"slow-(\d{1,6}(?:\.\d{1,3})?(?:ms|s|m))")
_WORD: Final = re.compile(r"\S+\s*|\s+")


class MockAdapter:
    """Plays each provider entry's script, one outcome a call; its place outlives a reload that keeps the script."""

    def __init__(self) -> None:
        self._plays: dict[str, tuple[tuple[ScriptedOutcome, ...], int]] = {}
        self._serials = count(1)

    async def prepare(self) -> None:
        """There is nothing to make ready."""

    async def complete(self, call: Call) -> Reply:
        """Return the plain answer. Cancelling is the only end of a stall."""
        outcome, headers = await self._begin(call)
        if outcome.stall is not None:
            await asyncio.sleep(_FOREVER_S)
        if outcome.cut is not None:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        return Reply(data=self._signed(call, call.operation.reply(outcome.text, _params(call))), headers=headers)

    async def stream(self, call: Call) -> Stream:
        """Return the answer word by word."""
        outcome, headers = await self._begin(call)
        return GeneratedStream(self._events(call, outcome), headers)

    async def close(self) -> None:
        """There is nothing to give back."""

    def peek(self, target: Target, ahead: int) -> ScriptedOutcome:
        """Return what a call comes to after so many others of the target's provider. Plays nothing."""
        script = target.endpoint.script
        if not script:
            return _named_outcome(target, said="")
        known, place = self._plays.get(target.endpoint.provider, (script, 0))
        return script[min((place if known == script else 0) + ahead, len(script) - 1)]

    async def _begin(self, call: Call) -> tuple[ScriptedOutcome, dict[str, str]]:
        """Wait as the outcome says; return it with its response headers. Raises UpstreamError for an error status."""
        endpoint = call.target.endpoint
        outcome = (
            self._next(endpoint)
            if endpoint.script
            else _named_outcome(call.target, said=call.operation.prompt(_params(call)))
        )
        if outcome.delay_s > 0:
            await asyncio.sleep(outcome.delay_s)
        headers: dict[str, str] = {}
        if outcome.retry_after_s is not None:
            headers["retry-after"] = retry_after(outcome.retry_after_s)
        if outcome.status < 400:
            return outcome, headers
        error = {"message": f"mock status {outcome.status}", "type": "mock_error", "param": None, "code": None}
        raise UpstreamError(
            classify(outcome.status, {"error": error}),
            status=outcome.status,
            code="mock_error",
            retry_after_s=outcome.retry_after_s,
            body=orjson.dumps({"error": error}),
            headers=headers,
        )

    def _next(self, endpoint: Endpoint) -> ScriptedOutcome:
        script, place = self._plays.get(endpoint.provider, ((), 0))
        if script != endpoint.script:
            script, place = endpoint.script, 0
        self._plays[endpoint.provider] = (script, min(place + 1, len(script) - 1))
        return script[place]

    def _signed(self, call: Call, data: JsonObject) -> JsonObject:
        return signed(call, data, serial=f"mock-{next(self._serials)}", created=int(time.time()))

    async def _events(self, call: Call, outcome: ScriptedOutcome) -> AsyncGenerator[Event, None]:
        operation, params = call.operation, _params(call)
        about = self._signed(call, {})

        def event(data: JsonObject) -> Event:
            return Event({**about, **data})

        words = _WORD.findall(outcome.text)
        ends = [place for place in (outcome.stall, outcome.cut) if place is not None]
        yield event(operation.event("", first=True))
        for word in words[: min(ends, default=None)]:
            yield event(operation.event(word))
        if ends and outcome.stall == min(ends):
            await asyncio.sleep(_FOREVER_S)
        if ends:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        yield event(operation.event("", "stop"))
        if operation.usage_wanted(params, EMPTY):
            yield event({**operation.event(""), "choices": [], "usage": operation.usage(outcome.text, params)})


def _named_outcome(target: Target, *, said: str) -> ScriptedOutcome:
    """Return what a model's name asks for."""
    model = target.model
    greeting = f"Hello from {target.name}, a model that needs no network."
    if model == "echo":
        return ScriptedOutcome(text=said)
    if model == "cut":
        return ScriptedOutcome(text=greeting, cut=2)
    if model == "stall":
        return ScriptedOutcome(text=greeting, stall=1)
    if status := _STATUS_MODEL.fullmatch(model):
        return ScriptedOutcome(status=int(status[1]))
    slow = _SLOW_MODEL.fullmatch(model)
    return ScriptedOutcome(text=greeting, delay_s=seconds(slow[1]) if slow else 0.0)


def _params(call: Call) -> JsonObject:
    """Return the request as an upstream would get it."""
    return merged(call.params, call.overrides.sent, call.target.model)
