"""What the engine and its adapters say to each other: calls, replies, streams, and the adapter protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from gateway.policy.params import NO_PARAMS, Params
from gateway.policy.target import AdapterName, Limits, Target
from gateway.wire import sse
from gateway.wire.json import EMPTY, Json, JsonObject, decode_json, encode_json

MAX_REPLY_BYTES: Final = 256 * 1024 * 1024
"""A longer plain answer is a `bad_response`."""
MAX_ERROR_BYTES: Final = 64 * 1024
"""A longer error body is not read: the status alone decides the kind."""
ERROR_BODY_S: Final = 1.0
"""Seconds that the body of an error may take, else the status alone decides the kind."""


# Neither frozen nor keyword-only, like Reply, Attempt and CallReport: made for each request, which would take several
# times as long.
@dataclass(slots=True)
class Call:
    """One attempt as an adapter sees it. Never changed."""

    operation: Operation
    target: Target
    params: Mapping[str, Json]
    """The request after its hooks. Holds neither `model` nor `stream` nor anything of FORBIDDEN_PARAMS."""
    limits: Limits
    overrides: Params = NO_PARAMS
    """The file's `params` for this target: they win over `params`. Trusted."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """What goes upstream of the request's own headers: `x-request-id` and `traceparent`."""


@dataclass(slots=True)
class Reply:
    """A plain answer."""

    data: JsonObject
    """The body in OpenAI's shape."""
    raw: bytes | None = None
    """The body as the upstream sent it; None when there is none or `data` was changed since."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """What may go back to the client: `retry-after`, `x-ratelimit-*`, `openai-*`. Lower-case names."""


@dataclass(slots=True)
class Event:
    """One event of a stream."""

    data: JsonObject | None
    """The event in the wire's shape; None for a comment, an event without data, and a run."""
    raw: bytes | None = None
    """The event as it came, blank line included; None when there is none or `data` was changed since."""
    name: bytes | None = None
    """The event's `event` field."""
    is_run: bool = False
    """`raw` is one or more events that carry text and nothing else. They were not parsed: see `singly`."""
    is_end: bool = False
    """`raw` is what the wire ends a stream with, and nothing follows. A stream may as well end without."""

    def singly(self) -> list[Event]:
        """Return the events of a run, parsed; any other event alone."""
        if not self.is_run:
            return [self]
        assert self.raw is not None, "a run is made of bytes"
        return [Event(decode_json(sse.event_data(raw) or b""), raw) for raw in sse.Splitter().split(self.raw)]

    def encoded(self) -> bytes:
        """Return the event as bytes. Raises TypeError for data that JSON cannot hold."""
        if self.raw is not None:
            return self.raw
        return b"" if self.data is None else sse.encode(encode_json(self.data), name=self.name)


class Stream(Protocol):
    """An upstream's stream, open: its response headers have arrived. Whoever holds it closes it."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What may go back to the client. Lower-case names."""

    async def read(self) -> list[Event]:
        """Wait for the next events and return all that have come, in order; an empty list at the end, closed then.

        Raises UpstreamError on any break, once what came before it was returned. Adapters do not judge wholeness.
        """

    async def aclose(self) -> None:
        """Close the stream, whole or not. Safe to call twice, and before the first `read`."""


class GeneratedStream:
    """A stream whose events an async generator yields."""

    def __init__(self, events: AsyncGenerator[Event, None], headers: Mapping[str, str]) -> None:
        self.headers = headers
        self._events = events

    async def read(self) -> list[Event]:
        """Return the next event, or nothing at the end."""
        async for event in self._events:
            return [event]
        return []

    async def aclose(self) -> None:
        """Close the generator."""
        await self._events.aclose()


class StreamJudge(Protocol):
    """Follows one stream, event by event."""

    has_content: bool
    """Content has come: what the client asked for, not only that an answer begins."""
    usage: JsonObject | None
    """The newest token counts."""

    def see(self, data: JsonObject) -> None:
        """Take the next event into account. Raises UpstreamError when it is an error or malformed."""

    @property
    def is_whole(self) -> bool:
        """The stream may end here."""


class Operation(Protocol):
    """One thing that can be asked for, on one wire. `gateway/operations/` has them; nothing else knows their wires."""

    @property
    def name(self) -> str:
        """In logs, metrics and the config file."""

    @property
    def path(self) -> str:
        """Below `/v1` here, and below a base URL upstream."""

    @property
    def field(self) -> str:
        """The request's own field, which no other operation has."""

    @property
    def params(self) -> frozenset[str]:
        """The fields that a request may have, but for `model` and `stream`."""

    @property
    def takes_hooks(self) -> bool:
        """Hooks that do not say which operations they are for see its requests and answers."""

    @property
    def id_prefix(self) -> str:
        """What the ids of its replies begin with; empty if they have none."""

    @property
    def stream_end(self) -> bytes:
        """What a whole stream ends with."""

    def check(self, body: JsonObject) -> None:
        """Raise BadRequest for what no upstream could take."""

    def wants_stream(self, body: Mapping[str, Json]) -> bool:
        """Tell whether the request asks for a stream."""

    def usage_wanted(self, params: Mapping[str, Json], overrides: Mapping[str, Json]) -> bool:
        """Tell whether a stream is to end with its token counts."""

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError for a plain reply with a good status that is an error, or no answer."""

    def judge(self) -> StreamJudge:
        """Return what follows one stream."""

    def tokens(self, data: JsonObject) -> dict[str, int] | None:
        """Return the `prompt` and `completion` counts of a reply or an event; None if it has none."""

    def break_event(self, envelope: JsonObject) -> bytes:
        """Return the event that tells a client, within a stream, that it broke off."""

    def lone_text(self, choice: JsonObject) -> tuple[str, Json]:
        """Return the field of a choice of an event that carries its text, and the text."""

    def prompt(self, params: Mapping[str, Json]) -> str:
        """Return the text that a mock echoes."""

    def reply(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return a mock's reply that says `text`, without what `signed` adds."""

    def event(self, text: str, finish_reason: str | None = None, *, first: bool = False) -> JsonObject:
        """Return an event of a mock's stream."""

    def usage(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return a mock's token counts."""

    def text(self, data: JsonObject) -> str | None:
        """Return the text that a reply or an event carries; None if this operation answers no text."""


class Adapter(Protocol):
    """Reaches one sort of upstream. Raises UpstreamError for whatever the upstream does wrong."""

    async def prepare(self) -> None:
        """Make ready what a call needs, such as a slow import. Counts against no attempt's limits."""

    async def complete(self, call: Call) -> Reply:
        """Return the plain answer. Whoever waits for it keeps the limits and cancels it when one has passed."""

    async def stream(self, call: Call) -> Stream:
        """Return the stream once its response headers are there. Cancelling closes the upstream."""

    async def close(self) -> None:
        """Give back connections. Nothing is called afterwards."""


Adapters: TypeAlias = Mapping[AdapterName, Adapter]


def signed(call: Call, data: JsonObject, *, serial: object, created: int) -> JsonObject:
    """Add to a mock's reply or event what tells which call of which model it answers."""
    prefix = call.operation.id_prefix
    about: JsonObject = {"id": f"{prefix}{serial}", "created": created} if prefix else {}
    return {**about, "model": call.target.model, **data}
