"""A worker's side of what is one for all: it asks the supervisor, hears of what the others know, and tells its own."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from gateway.engine.limits.shared_memory import Seat
from gateway.engine.makers import Maker
from gateway.errors import UsageError
from gateway.server.workers.channel import LENGTH_BYTES, Channel, ChannelClosed
from gateway.wire.json import JsonObject

log = logging.getLogger(__name__)

VARIABLE: Final = "GATEWAY_SUPERVISED_PROCESS"
"""Set for a worker by its supervisor: JSON with `number`, and with `channel`, `listeners` and `admin`, descriptors all;
`limits` is the descriptor of the buckets that workers fill together, with the two numbers of a seat."""
ASK_S: Final = 5.0
RELOAD_S: Final = 300.0
"""Seconds for a reload by hand: all workers may have to load LiteLLM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a worker was started with."""

    number: int
    channel: socket.socket
    listeners: tuple[socket.socket, ...]
    admin: socket.socket | None
    limits: tuple[int, Seat] | None
    """The descriptor of `SharedMemory`, and this worker's seat; None: it counts limits alone."""
    hello: JsonObject
    """The supervisor's first message: the files, and what all workers know."""


def place(environ: MutableMapping[str, str] = os.environ) -> Place | None:
    """Return this worker's place, and take it out of `environ`; None for a process that no supervisor started."""
    given = environ.pop(VARIABLE, None)
    if given is None:
        return None
    try:
        fields = json.loads(given)
        channel = _socket(fields["channel"])
        listeners = tuple([_socket(number) for number in fields["listeners"]])
        admin = None if fields["admin"] is None else _socket(fields["admin"])
        limits = None if fields["limits"] is None else _limits(*fields["limits"])
    except (ValueError, TypeError, KeyError, OSError):
        raise UsageError(f"{VARIABLE} is set by the gateway alone, for its workers") from None
    hello = _first_message(channel)
    return Place(number=fields["number"], channel=channel, listeners=listeners, admin=admin, limits=limits, hello=hello)


def variable(
    *,
    number: int,
    channel: socket.socket,
    listeners: Sequence[socket.socket],
    admin: socket.socket | None,
    limits: tuple[int, Seat] | None,
) -> str:
    """Return the value of VARIABLE for a worker."""
    descriptors = [listener.fileno() for listener in listeners]
    return json.dumps(
        {
            "number": number,
            "channel": channel.fileno(),
            "listeners": descriptors,
            "admin": None if admin is None else admin.fileno(),
            "limits": None if limits is None else [limits[0], *limits[1]],
        }
    )


def _socket(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


def _limits(descriptor: int, number: int, serial: int) -> tuple[int, Seat]:
    os.set_inheritable(descriptor, False)
    return descriptor, Seat(number, serial)


def _first_message(channel: socket.socket) -> JsonObject:
    """Return the supervisor's first message. Blocks until it is there."""
    size = int.from_bytes(_exactly(channel, LENGTH_BYTES))
    message: JsonObject = orjson.loads(_exactly(channel, size))
    return message


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = channel.recv(min(1 << 20, size - len(data)))
        if not part:
            raise UsageError("the supervisor of this worker is gone")
        data += part
    return bytes(data)


async def _pong(_: JsonObject) -> JsonObject:
    return {}


class Member:
    """One worker among others."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.is_replaced = False
        """Another process has taken this one's place: it leaves its clients to that."""
        self.all_ready: bool = place.hello["all_ready"]
        """The start of all workers is complete. Before, a client of this one may meet another that is not ready."""
        self.on_end: Callable[[], None] = lambda: None
        """Called when this worker has to end: it is replaced, or its supervisor is gone."""
        self.on_stop: Callable[..., None] = lambda *, again: None
        """Called when the supervisor has got a stop signal, or a second one: `again`."""
        self._answers: dict[str, Callable[[JsonObject], Awaitable[JsonObject]]] = {"ping": _pong}
        self._hears: dict[str, Callable[[JsonObject], object]] = {
            "leave": lambda _: self._leave(),
            "all_ready": lambda _: self._note_all_ready(),
            "stop": lambda fields: self.on_stop(again=fields["again"]),
        }
        self.channel = Channel(answer=self._answer, hear=self._hear)

    def answers(self, op: str, how: Callable[[JsonObject], Awaitable[JsonObject]]) -> None:
        """Have a question of the supervisor answered."""
        self._answers[op] = how

    def hears(self, op: str, how: Callable[[JsonObject], object]) -> None:
        """Have what the supervisor or another worker tells taken."""
        self._hears[op] = how

    async def run(self) -> None:
        """Talk with the supervisor until one of both ends."""
        try:
            await self.channel.run(self.place.channel)
        finally:
            self.on_end()

    async def metrics(self, accept: str) -> tuple[AsyncIterator[bytes], str] | None:
        """Return the metrics of all workers in the format that `accept` asks for, and its content type.

        None if the supervisor does not answer. The iterator raises ChannelClosed if it answers no more.
        """
        try:
            answer = await self.channel.ask("metrics", within_s=ASK_S, accept=accept)
        except ChannelClosed:
            return None
        return None if "failed" in answer else (self._pieces(answer), answer["content_type"])

    async def _pieces(self, answer: JsonObject) -> AsyncIterator[bytes]:
        yield answer["text"].encode()
        for place in range(1, answer["pieces"]):
            answer = await self.channel.ask("piece", within_s=ASK_S, number=answer["number"], place=place)
            if "failed" in answer:
                raise ChannelClosed("the metrics are gone")
            yield answer["text"].encode()

    async def targets(self) -> list[list[JsonObject]]:
        """Return the rows of `/-/targets` of each worker that answers."""
        try:
            parts: list[list[JsonObject]] = (await self.channel.ask("targets", within_s=ASK_S)).get("parts", [])
        except ChannelClosed:
            return []
        return parts

    async def maker(self, key: str) -> Maker | None:
        """Return who made an id, as another worker has noted."""
        try:
            found = (await self.channel.ask("maker", within_s=ASK_S, key=key)).get("maker")
        except ChannelClosed:
            return None
        return None if found is None else Maker(*found)

    def _note_all_ready(self) -> None:
        self.all_ready = True

    def _leave(self) -> None:
        self.is_replaced = True
        self.on_end()

    async def _answer(self, op: str, fields: JsonObject) -> JsonObject:
        return await self._answers[op](fields)

    def _hear(self, op: str, fields: JsonObject) -> None:
        how = self._hears.get(op)
        if how is None:
            log.error("the supervisor tells what is not known", extra={"op": op})
        else:
            how(fields)
