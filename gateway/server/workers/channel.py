"""Messages between the supervisor and one worker, over a pair of connected sockets.

Each is a JSON object behind its length in four bytes. A question has an `id`, its answer the same as `re`; a message
without either wants no answer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Final, TypeAlias

import orjson

from gateway.wire.json import Json, JsonObject

log = logging.getLogger(__name__)

LENGTH_BYTES: Final = 4
MAX_BYTES: Final = 512 * 1024 * 1024
"""The longest message: a table's files in base64."""

Answer: TypeAlias = Callable[[str, JsonObject], Awaitable[JsonObject]]
"""(what is asked, fields) → fields of the answer."""
Hear: TypeAlias = Callable[[str, JsonObject], None]
"""(what is told, fields). In the order in which it was sent."""


class ChannelClosed(Exception):
    """The other process is gone, or did not answer in time."""


class Channel:
    """One end of a channel. For one event loop, but `ask_from_thread`."""

    def __init__(self, *, answer: Answer, hear: Hear) -> None:
        """`answer` is called for each question, several at a time; `hear` for what wants no answer."""
        self._answer = answer
        self._hear = hear
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[JsonObject]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unsent: list[bytes] = []
        self.closed = False

    async def run(self, sock: socket.socket) -> None:
        """Read messages until the other end closes. Call it once."""
        self._loop = asyncio.get_running_loop()
        reader, self._writer = await asyncio.open_connection(sock=sock, limit=MAX_BYTES)
        for data in self._unsent:
            self._writer.write(data)
        self._unsent.clear()
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        size = int.from_bytes(await reader.readexactly(LENGTH_BYTES))
                        message = orjson.loads(await reader.readexactly(size))
                    except (asyncio.IncompleteReadError, ConnectionError):
                        break
                    if "re" in message:
                        future = self._waiting.pop(message.pop("re"), None)
                        if future is not None and not future.done():
                            future.set_result(message)
                    elif "id" in message:
                        group.create_task(self._reply(message.pop("id"), message.pop("op"), message))
                    else:
                        self._take(message.pop("op"), message)
        finally:
            self.close()

    async def ask(self, op: str, *, within_s: float, **fields: Json) -> JsonObject:
        """Return the answer to a question. Raises ChannelClosed."""
        if self.closed:
            raise ChannelClosed("the other process is gone")
        number = next(self._ids)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send({"id": number, "op": op, **fields})
            async with asyncio.timeout(within_s):
                answer: JsonObject = await future
                return answer
        except TimeoutError:
            raise ChannelClosed(f"no answer to {op!r} within {within_s:g} s") from None
        finally:
            self._waiting.pop(number, None)

    def ask_from_thread(self, op: str, *, within_s: float, **fields: Json) -> JsonObject:
        """Return the answer, likewise, from a thread that may block."""
        if self._loop is None:
            raise ChannelClosed("the channel is not open yet")
        asked = asyncio.run_coroutine_threadsafe(self.ask(op, within_s=within_s, **fields), self._loop)
        return asked.result(within_s + 1.0)  # the loop may have ended meanwhile

    def tell(self, op: str, **fields: Json) -> None:
        """Send a message that wants no answer; it is dropped if the other end is closed."""
        if not self.closed:
            self._send({"op": op, **fields})

    def close(self) -> None:
        """Close this end. What waits for answers gets ChannelClosed."""
        self.closed = True
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(ChannelClosed("the other process is gone"))
        if self._writer is not None:
            self._writer.close()

    def _take(self, op: str, fields: JsonObject) -> None:
        try:
            self._hear(op, fields)
        except Exception:
            log.exception("what the other process told could not be taken", extra={"op": op})

    async def _reply(self, number: int, op: str, fields: JsonObject) -> None:
        try:
            self._send({"re": number, **await self._answer(op, fields)})
        except ConnectionError:
            return
        except Exception:
            log.exception("a question of the other process could not be answered", extra={"op": op})
            with suppress(ConnectionError):
                self._send({"re": number, "failed": True})

    def _send(self, message: Mapping[str, Json]) -> None:
        data = orjson.dumps(message, option=orjson.OPT_NON_STR_KEYS)
        frame = len(data).to_bytes(LENGTH_BYTES) + data
        if self._writer is None:
            self._unsent.append(frame)
        else:
            self._writer.write(frame)
