"""Reading a stream to its end."""

from __future__ import annotations

from contextlib import aclosing

from gateway.adapters.events import Event, Stream
from gateway.wire.json import JsonObject


async def events_of(stream: Stream, into: list[Event] | None = None) -> list[Event]:
    """Return all events but the wire's end, one by one, and close the stream.

    `into` keeps those that came before a break.
    """
    into = [] if into is None else into
    async with aclosing(stream):
        while events := await stream.read():
            into += [event for arrived in events for event in arrived.singly() if not event.is_end]
    return into


async def data_of(stream: Stream, into: list[JsonObject] | None = None) -> list[JsonObject]:
    """Return the data of all events, `{}` for those without."""
    events: list[Event] = []
    into = [] if into is None else into
    try:
        await events_of(stream, events)
    finally:
        into += [event.data or {} for event in events]
    return into


async def read_at_least(stream: Stream, count: int) -> list[Event]:
    """Return the first events, at least `count` of them."""
    events: list[Event] = []
    while len(events) < count:
        more = await stream.read()
        assert more, "the stream has ended"
        events += [event for arrived in more for event in arrived.singly()]
    return events
