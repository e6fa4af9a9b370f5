"""Reads the events of a relayed stream: splits its bytes, checks each event, and keeps its bytes as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Literal

from gateway.adapters.base import Operation, plain_answer
from gateway.adapters.events import Event
from gateway.adapters.text_runs import Shape, shape_of
from gateway.concurrency.deadlines import until
from gateway.policy.echoes import Echoes
from gateway.policy.failures import Kind, UpstreamError, error_object
from gateway.wire import sse
from gateway.wire.http1 import client as http1
from gateway.wire.json import json_in

EVENTS_AT_ONCE: Final = 512
"""After so many events of one read other tasks run."""
PARSED_AT_ONCE: Final = 16 * 1024
"""After so many bytes of parsed events, too. Events that differ in their text only are not parsed."""

_DONE: Final = sse.encode(sse.DONE)


class RelayedStream:
    """The events of one response. The connection is reused if the stream has ended, else closed."""

    __slots__ = (
        "_arrival", "_echoes", "_end_grace_s", "_error", "_is_fed", "_is_full", "_is_last", "_next",
        "_operation", "_over", "_response", "_shape", "_silent_bytes", "_silent_events", "_splitter", "_tail",
        "_varying", "headers",
    )  # fmt: skip

    def __init__(
        self,
        response: http1.Response,
        headers: Mapping[str, str],
        operation: Operation,
        echoes: Echoes,
        *,
        end_grace_s: float,
        begun: bytes = b"",
    ) -> None:
        """`end_grace_s` is how long the response may take to end after `[DONE]`; `begun` was read of it already."""
        self.headers = headers
        self._response = response
        self._arrival = response.arrival
        self._echoes = echoes
        self._operation = operation
        self._varying = operation.varying
        self._is_last = operation.is_last
        self._end_grace_s = end_grace_s
        self._splitter = sse.Splitter()
        self._next: bytes | None = None
        """The next event, if it was looked at already: one that ends or breaks the stream."""
        self._shape: Shape | Literal[False] | None = None
        """None before the first event with data, False while none of them carried text only."""
        self._error: sse.EventTooLarge | None = None
        self._tail: bytes | None = None
        """The last event, once the response has ended without a blank line behind it."""
        self._is_fed = False
        """Something came that was not cut into events yet."""
        self._is_full = False
        """As many events as one read returns were cut, and there are more."""
        self._silent_events = 0
        """Number of events without data since the last one with data."""
        self._silent_bytes = 0
        self._over = False
        if begun:
            self._splitter.feed(begun)
            self._is_fed = True

    async def read(self) -> list[Event]:
        """Return the events that have come, up to one that ends or breaks the stream; wait if there are none."""
        response = self._response
        while True:
            if self._is_fed:
                if events := self._sound_events():
                    if self._is_full:
                        self._is_full = False
                        await self._let_others_run()
                    return events
                if self._next is not None:
                    return await self._last(self._next)
            if self._over:
                return []
            if response.must_wait and self._error is None:
                try:
                    await self._arrival
                except asyncio.CancelledError:
                    self._close()
                    raise
            if data := response.take():
                self._splitter.feed(data)
            else:
                await self._receive()
            self._is_fed = True

    async def aclose(self) -> None:
        """Close the response, read to its end or not."""
        self._close()

    def _sound_events(self) -> list[Event]:
        """Return what has come. Events that differ in their text only come as one run."""
        events: list[Event] = []
        parsed = 0
        while self._next is None:
            if self._shape and (run := self._splitter.cut_run(self._shape.measure)):
                events.append(Event(None, run, is_run=True, shape=self._shape))
                self._silent_events = 0
            try:
                raw = self._splitter.cut()
            except sse.EventTooLarge as error:
                self._error = error
                self._is_fed = False
                break
            if raw is None:
                if self._tail is None:
                    self._is_fed = False
                    break
                raw, self._tail = self._tail, None
            event = self._sound(raw)
            if event is not None:
                events.append(event)
                if self._is_last(event):
                    self._next = _DONE  # the wire has no such mark; the response has to end now as after one
                    break
                parsed += len(raw)
                if len(events) >= EVENTS_AT_ONCE or parsed >= PARSED_AT_ONCE:
                    self._is_full = True
                    break
            elif raw == _DONE and self._response.is_whole:
                events.append(Event(None, raw if self._operation.stream_end else b"", is_end=True))
                self._close()
                break
            else:
                self._next = raw
        return events

    def _sound(self, raw: bytes) -> Event | None:
        """Return an event; None when it ends or breaks the stream."""
        try:
            data = sse.event_data(raw)
        except (sse.StrayText, sse.EventTooLarge):
            return None
        if not data:
            return None if self._is_flood(raw) else Event(None, raw.removeprefix(sse.BOM), sse.event_name(raw))
        self._silent_events = 0
        event = None if data == sse.DONE else _event(data, raw)
        # Runs are not searched, so no shape may repeat a secret.
        if event is not None and event.data is not None and not self._echoes.in_answer(raw):
            self._shape = shape_of(raw, event.data, self._varying) or self._shape or False
        return event

    def _is_flood(self, raw: bytes) -> bool:
        """Count an event without data; tell whether there are too many of them in a row."""
        self._silent_bytes = (self._silent_bytes if self._silent_events else 0) + len(raw)
        self._silent_events += 1
        return self._silent_events > sse.MAX_SILENT_EVENTS or self._silent_bytes > sse.MAX_SILENT_BYTES

    async def _last(self, raw: bytes) -> list[Event]:
        """Take the event that ends or breaks the stream. Raises UpstreamError."""
        self._next = data = None
        try:
            data = sse.event_data(raw)
        except sse.EventTooLarge:
            pass
        except sse.StrayText as stray:
            data = stray.text
            value = json_in(data)
            if error_object(value) is not None:
                return [Event(value)]  # a server wrote its error between the events
            if self._shape is None and (answer := plain_answer(value, self._operation)) is not None:
                self._shape = False
                return answer
        if data is not None and sse.is_done(data):
            await self._end()
            return []
        self._close()
        raise UpstreamError(Kind.BAD_RESPONSE, status=self._response.status)

    async def _let_others_run(self) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._close()
            raise

    async def _receive(self) -> None:
        """Read the body; at its end the last event too, with a blank line if it had none. Raises UpstreamError."""
        received = False
        try:
            if self._error is not None:
                raise self._error
            data = await self._response.readany()
            if data:
                self._splitter.feed(data)
            else:
                self._over = True
                rest = self._splitter.flush()
                if rest is not None:
                    self._tail = rest + b"\n\n"
            received = True
        except (http1.Http1Error, sse.EventTooLarge) as error:
            raise UpstreamError(Kind.BAD_RESPONSE, status=self._response.status) from error
        finally:
            if not received:
                self._close()

    async def _end(self) -> None:
        """After `[DONE]`: the response's own end gives the connection back, if it comes soon."""
        try:
            with suppress(TimeoutError, http1.Http1Error):
                if self._response.ended:
                    await self._response.readany()
                else:
                    with until(asyncio.get_running_loop().time() + self._end_grace_s):
                        while await self._response.readany():
                            pass
        finally:
            self._close()

    def _close(self) -> None:
        self._over = True
        self._is_fed = False
        self._next = self._tail = None
        self._splitter.flush()
        self._response.close()


def _event(data: bytes, raw: bytes) -> Event | None:
    """Return an event, or None when its data is no JSON object."""
    value = json_in(data)
    name = None
    if not raw.startswith(b"data:") or raw.find(b"\n") != len(raw) - 2:
        name, raw = sse.event_name(raw), raw.removeprefix(sse.BOM)
    if name == b"error" and error_object(value) is None:
        error = value if isinstance(value, dict) else {"message": data.decode(errors="replace")}
        return Event({"error": error})
    return Event(value, raw, name) if isinstance(value, dict) else None
