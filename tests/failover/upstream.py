"""The scripted upstream as its own server on the loopback: the model's name chooses the fault, every call is noted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import formatdate
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import unquote

from tests.failover.faults import Fault
from tests.failover.speech import SPEECHES, Event, Saying
from tests.scripted_openai import _MODEL, _PATHS, RecordedRequest, _ClientLeft, _Cut, _read_request, _Response

DRIP_S: Final = 0.1
"""Between two bytes of a response that drips."""
BEFORE_FAULT_S: Final = 0.15
"""Silence before a stream breaks, so that what came before has certainly been delivered."""
BOM: Final = b"\xef\xbb\xbf"
_COMMENT_S: Final = 0.1
"""Between two comments or pings."""
_PINGS: Final = 25
_IN_PATH: Final = re.compile(r"/v1/models/([^/:]+):")


@dataclass(slots=True)
class UpstreamCall:
    """One call as the upstream saw it. Times are on the event loop's clock."""

    model: str
    began_s: float
    ended_s: float | None = None
    """None while it runs."""
    ending: Literal["whole", "cut", "left"] | None = None
    """`cut`: the script broke it off. `left`: the client went away before it was whole."""


@dataclass(slots=True)
class FaultyUpstream:
    """The server. A model that has no script answers "hello from <model>"; a script's last fault stays for ever."""

    port: int = 0
    """0 takes a free one."""
    calls: list[UpstreamCall] = field(default_factory=list)
    _scripts: dict[str, deque[Fault]] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _handlers: set[asyncio.Task[Any]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        """Where the endpoint under test finds it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def play(self, model: str, faults: Sequence[Fault]) -> None:
        """Let a model do these things from now on, and forget its earlier calls."""
        self._scripts[model] = deque(faults)
        self.calls = [call for call in self.calls if call.model != model]

    def calls_of(self, models: Sequence[str]) -> list[UpstreamCall]:
        """Return the calls of these models in the order they came."""
        return [call for call in self.calls if call.model in models]

    async def wait(self, reached: Callable[[], bool], *, timeout_s: float) -> None:
        """Return when something about the calls has come true, or when it took too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(reached)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**22, backlog=256)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for handler in tuple(self._handlers):
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            while (request := await _read_request(reader, 0, is_enough=self._is_unread)) is not None:
                await self._answer(reader, writer, request)
        except asyncio.CancelledError:
            writer.transport.abort()
        except (_ClientLeft, _Cut, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            self._handlers.discard(task)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: RecordedRequest
    ) -> None:
        request = _named(request)
        call = UpstreamCall(request.model, asyncio.get_running_loop().time())
        self.calls.append(call)
        ending: Literal["whole", "cut", "left"] = "whole"
        try:
            await _FaultyResponse(reader, writer, request, self._next_fault(request.model), len(self.calls)).send()
        except _Cut:
            ending = "cut"
            raise
        except (_ClientLeft, ConnectionError, asyncio.CancelledError):
            ending = "left"
            raise
        finally:
            call.ended_s, call.ending = asyncio.get_running_loop().time(), ending
            async with self._changed:
                self._changed.notify_all()

    def _is_unread(self, begun: bytes) -> bool:
        """Tell whether a long body that begins so is not to be read: by the next fault of the model in it."""
        named = _MODEL.search(begun)
        script = self._scripts.get((named[1] or named[2]).decode()) if named else None
        return bool(script and script[0].unread)

    def _next_fault(self, model: str) -> Fault:
        script = self._scripts.get(model)
        if not script:
            return Fault()
        return script.popleft() if len(script) > 1 else script[0]


def _named(request: RecordedRequest) -> RecordedRequest:
    """Return a request with its model, which may be in the path, and then with the path of all models."""
    found = _IN_PATH.match(request.path)
    if found is None:
        return request
    path = f"{request.path[: found.start(1)]}MODEL{request.path[found.end(1) :]}"
    return replace(request, model=unquote(found[1]), path=path)


class _FaultyResponse(_Response):
    """Writes one response on the wire of its path, the slow faults included."""

    _outcome: Fault
    _paths = (*_PATHS, *SPEECHES)
    _is_sound = False

    async def send(self) -> None:
        """Write it; what was not read before is not read then."""
        speech = SPEECHES.get(self._request.path)
        if speech is not None:
            self._stream = speech.is_streamed(self._request)
        await super().send()
        if self._outcome.unread:
            raise _Cut

    @property
    def _saying(self) -> Saying:
        return Saying(self._request, self._outcome, self._texts(), self._error())

    async def _send_head(self, content_type: str, extra: Any) -> None:
        fault = self._outcome
        extra = dict(extra)
        if fault.retry_after_date_s is not None:
            extra["retry-after"] = formatdate(time.time() + fault.retry_after_date_s, usegmt=True)
        if fault.limit_resets_s is not None:
            resets_at = datetime.fromtimestamp(time.time() + fault.limit_resets_s, UTC)
            extra["anthropic-ratelimit-requests-remaining"] = "0"
            extra["anthropic-ratelimit-requests-reset"] = resets_at.isoformat()
        while fault.drip == "hints":
            self._writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
            await self._drain()
            await self._pause(DRIP_S)
        if fault.drip != "head":
            await super()._send_head(content_type, extra)
            return
        await self._drip(f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n".encode() + b"x-filler: " + b"x" * 1000)

    def _plain_body(self) -> tuple[bytes, str] | None:
        self._stream = self._stream and not self._outcome.plain
        body = super()._plain_body()
        return (body[0], "audio/mpeg") if self._is_sound and body is not None else body

    def _answer(self) -> Any:
        speech = SPEECHES.get(self._request.path)
        said = super()._answer() if speech is None else speech.answer(self._saying)
        self._is_sound = isinstance(said, bytes)
        return said

    def _error_body(self) -> dict[str, Any]:
        speech = SPEECHES.get(self._request.path)
        return super()._error_body() if speech is None else speech.error(self._saying, self._status)

    async def _send_events(self) -> None:
        speech = SPEECHES.get(self._request.path)
        if speech is None:
            await super()._send_events()
            return
        fault, saying, place, tried = self._outcome, self._saying, 0, -1
        if fault.mark:
            await self._write_part(BOM)
        events = speech.events(saying)
        count = sum(map(speech.is_content, events))
        for number, event in enumerate(events):
            is_content = speech.is_content(event)
            if tried < place and (is_content or place == count):
                tried = place
                await self._break_at(place)
                if fault.malformed_after == place:
                    await self._send_text(speech.malformed)
                if fault.error_event_after == place:
                    await self._tell(speech.error_event(saying, number), form=fault.error_form)
                    return
            if is_content:
                await self._pause(fault.chunk_delay_s)
                place += 1
            await self._tell(event)

    async def _tell(self, event: Event, *, form: str | None = None) -> None:
        data = json.dumps(event)
        if form == "bare":
            await self._send_text(f"{data}\n\n")
        elif form == "unnamed" or "type" not in event:
            await self._send_text(f"data: {data}\n\n")
        else:
            await self._send_text(f"event: {event['type']}\ndata: {data}\n\n")

    async def _break_at(self, place: int) -> None:
        if place in self._outcome.breaks_after:
            await self._pause(BEFORE_FAULT_S)
        for _ in range(_PINGS if place == self._outcome.pings_after else 0):
            await self._tell({"type": "ping"})
            await self._pause(_COMMENT_S)
        while place == self._outcome.only_comments_after:
            await self._write_part(b": waiting\n\n")
            await self._pause(_COMMENT_S)
        await super()._break_at(place)

    async def _write(self, data: bytes) -> None:
        if self._outcome.drip == "body":
            await self._drip(data)
        else:
            await super()._write(data)

    async def _drip(self, data: bytes) -> None:
        for place in range(len(data)):
            self._writer.write(data[place : place + 1])
            await self._drain()
            await self._pause(DRIP_S)
