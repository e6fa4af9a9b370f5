"""Runs post hooks on the events of a stream. Events that no hook asks for pass as they came."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import product
from typing import Final

from gateway.adapters.base import Operation
from gateway.adapters.events import Event, Stream
from gateway.engine.hooks import own_data, run_hooks
from gateway.errors import GatewayError
from gateway.policy.table import Hook
from gateway.wire import sse
from gateway.wire.json import JsonObject

EVENTS_AT_ONCE: Final = 64
"""After so many events through hooks other tasks run, once a run is through."""


class HookedStream:
    """A stream whose events pass post hooks. The hooks of one event may take as long as the route's deadline."""

    def __init__(self, source: Stream, hooks: tuple[Hook, ...], operation: Operation, *, limit_s: float) -> None:
        """`limit_s`: most seconds for the hooks of one event."""
        self.headers = source.headers
        self._source = source
        self._operation = operation
        self._hooks = {
            (is_text, is_final): tuple(
                [hook for hook in hooks if {"all": True, "text": is_text, "final": is_final}[hook.events]]
            )
            for is_text, is_final in product((False, True), repeat=2)
        }
        """(has content, is one of the last) → the hooks that get such an event."""
        self._may_skip = any(hook.on_error == "skip" for hook in hooks)
        wanted = {hook.events for hook in hooks}
        self._all = () if wanted != {"all"} else hooks
        """The hooks, if they get every event."""
        self._some_ask_text = "text" in wanted
        self._some_ask_final = "final" in wanted
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._error: GatewayError | None = None
        """A hook's error, raised after the events of the last `read` were returned."""

    async def read(self) -> list[Event]:
        if self._error is not None:
            raise self._error
        arrived = await self._source.read()
        for_runs = self._hooks[True, False]
        if not for_runs and len(arrived) == 1 and arrived[0].is_run:
            return arrived
        passed: list[Event] = []
        hooked = 0
        for some in arrived:
            is_run = some.is_run
            if is_run and not for_runs:
                passed.append(some)
                continue
            if hooked >= EVENTS_AT_ONCE:
                hooked = 0
                await asyncio.sleep(0)
            for event in some.singly():
                data = event.data
                if data is None or not (hooks := self._all or self._hooks_for(data, is_run=is_run)):
                    passed.append(event)
                    continue
                hooked += 1
                try:
                    data = await run_hooks(
                        hooks,
                        data if is_run else _own(event),
                        deadline_s=self._loop.time() + self._limit_s,
                        again=partial(_own, event) if self._may_skip else None,
                    )
                except GatewayError as error:
                    if not passed:
                        raise
                    self._error = error
                    return passed
                if is_run:  # taken apart for us alone
                    event.data, event.raw = data, None
                    passed.append(event)
                else:
                    passed.append(Event(data, name=event.name))
        return passed

    async def aclose(self) -> None:
        await self._source.aclose()

    def _hooks_for(self, data: JsonObject, *, is_run: bool) -> tuple[Hook, ...]:
        """Return the hooks that get an event. Those of a run are none of the last ones."""
        return self._hooks[
            self._some_ask_text and self._operation.is_text_event(data),
            self._some_ask_final and not is_run and self._operation.is_final_event(data),
        ]


def _own(event: Event) -> JsonObject:
    """Return a copy of an event's data as it came."""
    assert event.data is not None, "hooks get events with data"
    return own_data(event.data, None if event.raw is None else sse.event_data(event.raw))
