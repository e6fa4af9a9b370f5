"""Events and streams, as adapters hand them to the engine, and the judge of a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.adapters.text_runs import Shape
from gateway.wire import sse
from gateway.wire.json import JsonObject, decode_json, encode_json, has_many_digits


@dataclass(slots=True)
class Event:
    """One event of a stream."""

    data: JsonObject | None
    """The event in the wire's shape; None for a comment, an event without data, and a run."""
    raw: bytes | None = None
    """The event's bytes, blank line included; None if there are none or `data` was changed."""
    name: bytes | None = None
    """The event's `event` field."""
    is_run: bool = False
    """`raw` is one or more unparsed events that carry text only; `singly` parses them."""
    is_end: bool = False
    """`raw` is the wire's end of a stream; nothing follows. A stream may end without it."""
    shape: Shape | None = None
    """What the events of a run have in common, where that is known."""

    def singly(self) -> list[Event]:
        """Return the parsed events of a run, with data of their own; any other event alone."""
        if not self.is_run:
            return [self]
        run = self.raw
        assert run is not None, "a run is made of bytes"
        # They differ in texts and short numbers only: the lines around these are alike, and each blank line ends one.
        first, _, _ = run.partition(b"\n\n")
        if first.find(b"\r") >= 0 or not first.endswith(b"}"):  # other line ends, or fields behind the data
            return [
                Event(decode_json(sse.event_data(raw) or b"", exact=has_many_digits(raw)), raw, sse.event_name(raw))
                for raw in sse.Splitter().split(run)
            ]
        head = b"data:" if first.startswith(b"data:") else first[: first.index(b"\ndata:") + 6]
        array = b"[" + run[len(head) : -2].replace(b"\n\n" + head, b",") + b"]"
        data = decode_json(array, exact=has_many_digits(first))
        name = sse.event_name(first)
        return [Event(each, raw + b"\n\n", name) for each, raw in zip(data, run[:-2].split(b"\n\n"), strict=True)]

    def encoded(self) -> bytes:
        """Return the event as bytes. Raises TypeError for data that JSON cannot hold."""
        if self.raw is not None:
            return self.raw
        if self.data is None:
            return b""
        data = encode_json(self.data)
        return b"data: " + data + b"\n\n" if self.name is None else sse.encode(data, name=self.name)


def typed_event(data: JsonObject) -> Event:
    """Return an event named by the type of its data, if that has one, as chunks of chat have none.

    Encoded here, once: what follows searches the bytes, and sends them.
    """
    name = data["type"].encode() if "type" in data else None
    return Event(data, sse.encode(encode_json(data), name=name), name)


class Stream(Protocol):
    """An open stream of an upstream, response headers received. Its owner closes it."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers for the client. Lower-case names. A `content-type` says that it is bytes, each `Event` a run."""

    async def read(self) -> list[Event]:
        """Wait for the next events and return all that have arrived, in order; an empty list at the end, then closed.

        Raises UpstreamError when the stream breaks, after all earlier events. Adapters do not check wholeness.
        """

    async def aclose(self) -> None:
        """Close the stream, whole or not. Safe to call twice, and before the first `read`."""


class GeneratedStream:
    """A stream whose events an async generator yields."""

    def __init__(self, events: AsyncGenerator[Event, None], headers: Mapping[str, str]) -> None:
        self.headers = headers
        self._events = events

    async def read(self) -> list[Event]:
        """Return the next event; an empty list at the end."""
        async for event in self._events:
            return [event]
        return []

    async def aclose(self) -> None:
        """Close the generator."""
        await self._events.aclose()


class StreamJudge(Protocol):
    """Checks one stream, event by event."""

    @property
    def has_content(self) -> bool:
        """An event had content, not only the start of an answer."""

    @property
    def hears_runs(self) -> bool:
        """Whether `skip` has to be called."""

    def skip(self, run: bytes) -> None:
        """Take note of a run, which needs no check."""

    @property
    def next_number(self) -> int:
        """The number of the next event, on a wire that numbers them; else 0."""

    @property
    def tokens(self) -> dict[str, int] | None:
        """The newest `prompt` and `completion` counts; None if there were none."""

    def see(self, data: JsonObject) -> None:
        """Check the next event. Raises UpstreamError if it is an error or malformed."""

    @property
    def is_whole(self) -> bool:
        """The stream may end here."""
