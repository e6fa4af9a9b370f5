"""Answers without a network, by a script or the model's name: for demos, tests, drills and simulations."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from collections.abc import AsyncGenerator, Callable
from itertools import count
from typing import Final, TypeAlias

import orjson

from gateway.adapters.base import Call, NotSupported, Operation, Reply, Translated, Translator, signed, whole
from gateway.adapters.events import Event, GeneratedStream, Stream
from gateway.policy.failures import Kind, UpstreamError, classify, retry_after
from gateway.policy.params import merged
from gateway.policy.target import Endpoint, ScriptedOutcome, Target
from gateway.policy.wires import TRANSLATED
from gateway.wire.json import EMPTY, JsonObject
from gateway.words import seconds

_FOREVER_S: Final = 365 * 86400.0
_STATUS_MODEL: Final = re.compile(r"status-([45]\d\d)")
_SLOW_MODEL: Final = re.compile(r"slow-(\d{1,6}(?:\.\d{1,3})?(?:ms|s|m))")
_WORD: Final = re.compile(r"\S+\s*|\s+")

OutcomeOf: TypeAlias = Callable[[Call], ScriptedOutcome | None]
"""Returns the outcome of a call, once for each call; None: by the provider's script or the model's name."""


class MockAdapter:
    """Plays each provider entry's script, one outcome a call. The position survives reloads that keep the script.

    A simulation decides the calls of all providers with `outcome_of`.
    """

    def __init__(self, outcome_of: OutcomeOf = lambda _: None, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns seconds since the epoch, for the answers' `created`."""
        self._outcome_of = outcome_of
        self._clock = clock
        self._plays: dict[str, tuple[tuple[ScriptedOutcome, ...], int]] = {}
        self._serials = count(1)

    def twin(self, outcome_of: OutcomeOf) -> MockAdapter:
        """Return an independent mock at the same positions of its scripts."""
        twin = MockAdapter(outcome_of, clock=self._clock)
        twin._plays = dict(self._plays)
        return twin

    async def prepare(self) -> None:
        """Do nothing."""

    async def complete(self, call: Call) -> Reply:
        """Return the plain answer. A stall ends by cancelling only."""
        outcome, headers = await self._begin(call)
        if outcome.stall is not None:
            await asyncio.sleep(_FOREVER_S)
        if outcome.cut is not None:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        if outcome.body is not None or outcome.code is not None:
            return Reply(data=_error(outcome) if outcome.body is None else outcome.body, headers=headers)
        said = call.operation.mock_bytes(_said(call, outcome), _params(call))
        if said is not None:
            return Reply({}, body=GeneratedStream(_once(said[1]), {**headers, "content-type": said[0]}))
        data = self._signed(call, _told(_spoken(call).reply(_said(call, outcome), _params(call)), outcome))
        translated = _translated(call, stream=False)
        return Reply(data=data if translated is None else translated.answer(data), headers=headers)

    async def stream(self, call: Call) -> Stream:
        """Return the answer word by word."""
        outcome, headers = await self._begin(call)
        events = self._events(call, outcome)
        translated = _translated(call, stream=True)
        if translated is not None:
            events = _events_of(events, translated.events())
        return GeneratedStream(events, headers)

    async def close(self) -> None:
        """Do nothing."""

    async def _begin(self, call: Call) -> tuple[ScriptedOutcome, dict[str, str]]:
        """Wait as the outcome says; return it with its response headers. Raises UpstreamError if it fails at once."""
        outcome = self._outcome_of(call) or self._own_outcome(call)
        if outcome.delay_s == math.inf:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(_FOREVER_S)
        elif outcome.delay_s > 0:
            await asyncio.sleep(outcome.delay_s)
        headers = dict(outcome.headers)
        if outcome.retry_after_s is not None:
            headers.setdefault("retry-after", retry_after(outcome.retry_after_s))
        if outcome.status >= 400:
            body = _error(outcome) if outcome.body is None else outcome.body
            raise UpstreamError(
                outcome.kind or classify(outcome.status, body),
                status=outcome.status,
                code=outcome.code or "mock_error",
                retry_after_s=outcome.retry_after_s,
                body=orjson.dumps(body),
                headers=headers,
            )
        if outcome.kind is not None:
            raise UpstreamError(outcome.kind, status=200 if outcome.kind is Kind.BAD_RESPONSE else None)
        return outcome, headers

    def _own_outcome(self, call: Call) -> ScriptedOutcome:
        if call.target.endpoint.script:
            return self._next(call.target.endpoint)
        return _named_outcome(call.target, said=call.operation.prompt(_params(call)))

    def _next(self, endpoint: Endpoint) -> ScriptedOutcome:
        script, place = self._plays.get(endpoint.provider, ((), 0))
        if script != endpoint.script:
            script, place = endpoint.script, 0
        self._plays[endpoint.provider] = (script, min(place + 1, len(script) - 1))
        return script[place]

    def _signed(self, call: Call, data: JsonObject) -> JsonObject:
        serial, created = f"mock-{next(self._serials)}", int(self._clock())
        return signed(_spoken(call), call.target.model, data, serial=serial, created=created)

    async def _events(self, call: Call, outcome: ScriptedOutcome) -> AsyncGenerator[Event, None]:
        operation, params = _spoken(call), _params(call)
        signature = self._signed(call, {})

        def event(data: JsonObject) -> Event:
            return Event({**signature, **data})

        if outcome.body is not None:
            choices = outcome.body.get("choices") or []
            for choice in choices:
                said = {"index": choice.get("index", 0), "delta": choice.get("message") or {}, "finish_reason": None}
                yield event({**operation.event(""), "choices": [said]})
            for choice in choices:
                end = {"index": choice.get("index", 0), "delta": {}, "finish_reason": choice.get("finish_reason")}
                yield event({**operation.event(""), "choices": [end]})
            return
        text = _said(call, outcome)
        told = operation.mock_events(text, params)
        ends = [place for place in (outcome.stall, outcome.cut) if place is not None]
        if outcome.code is not None and not ends:
            ends = [0]
        if told is None:
            yield event(operation.event("", first=True))
        for own in (told or ())[: min(ends, default=None)]:
            yield own if outcome.tokens is None or own.data is None else Event(_told(own.data, outcome), name=own.name)
        for word in () if told is not None else _WORD.findall(text)[: min(ends, default=None)]:
            if outcome.pace_s:
                await asyncio.sleep(outcome.pace_s)
            yield event(operation.event(word))
        if ends and outcome.stall == min(ends):
            await asyncio.sleep(_FOREVER_S)
        if ends and outcome.code is not None:
            yield Event(_error(outcome))
        elif ends:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        elif told is None:
            yield event(operation.event("", "stop"))
        if told is None and not ends and (call.operation.name in TRANSLATED or operation.usage_wanted(params, EMPTY)):
            end = {**operation.event(""), "choices": [], "usage": operation.usage(text, params)}
            yield event(_told(end, outcome))


def _spoken(call: Call) -> Operation:
    """Return the operation whose answers are made: one that can be translated is made in the other one's words."""
    operation = call.operation
    translation = operation.translation_for(call.target.endpoint) if operation.name in TRANSLATED else None
    return operation if translation is None else translation.operation


def _translated(call: Call, *, stream: bool) -> Translated | None:
    """Return the request as it is answered in another operation's words; None if it is answered in its own."""
    translation = call.operation.translation_for(call.target.endpoint)
    if translation is None or call.operation.name not in TRANSLATED:
        return None
    try:
        return translation.request(_params(call), call.target, stream=stream)
    except NotSupported:  # a mock of an endpoint that would not have to translate
        return translation.request({}, call.target, stream=stream)


async def _events_of(events: AsyncGenerator[Event, None], translator: Translator) -> AsyncGenerator[Event, None]:
    async for event in events:
        if event.data is not None and "error" in event.data:
            yield event
            return
        for data in translator.feed(event.data or {}):
            yield Event(data, name=data["type"].encode())
    for data in translator.end():
        yield Event(data, name=data["type"].encode())


async def _once(data: bytes) -> AsyncGenerator[Event, None]:
    yield Event(None, data, is_run=True)


def _named_outcome(target: Target, *, said: str) -> ScriptedOutcome:
    """Return the outcome that a model's name stands for."""
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


def _said(call: Call, outcome: ScriptedOutcome) -> str:
    return f"hello from {call.target.name}" if outcome.text is None else outcome.text


def _told(data: JsonObject, outcome: ScriptedOutcome) -> JsonObject:
    """Return an answer, or an event, with the usage that a script tells, wherever it has one."""
    if outcome.tokens is None:
        return data
    given, output = outcome.tokens
    counts = {"total_tokens": given + output}
    counts |= dict.fromkeys(("prompt_tokens", "input_tokens"), given)
    counts |= dict.fromkeys(("completion_tokens", "output_tokens"), output)
    changed: JsonObject = {}
    for key, value in data.items():
        if key == "usage" and isinstance(value, dict):
            value = {name: counts.get(name, count) for name, count in value.items()}
        elif key in ("message", "response") and isinstance(value, dict):
            value = _told(value, outcome)
        changed[key] = value
    return changed


def _error(outcome: ScriptedOutcome) -> JsonObject:
    message = f"mock status {outcome.status}" if outcome.status >= 400 else "mock error"
    return {"error": {"message": message, "type": "mock_error", "param": None, "code": outcome.code}}


def _params(call: Call) -> JsonObject:
    """Return the request's body as an upstream would get it."""
    return merged(whole(call.params), call.overrides.sent, call.target.model)
