"""A real OpenAI-wire server on the loopback whose every answer, and every fault, is scripted per model.

    async with ScriptedOpenAI() as upstream:
        upstream.script("a", status=500).script("a", reply="hello")     # first 500, then "hello" for ever
        upstream.script("b", chunks=["one ", "two"], cut_after=1)
        endpoint = Endpoint(..., base_url=upstream.base_url)

It writes HTTP by hand on asyncio streams, so that it can break at any byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

_REASONS: Final = {200: "OK", 204: "No Content", 302: "Found", 429: "Too Many Requests", 500: "Internal Server Error"}
_PATHS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
_BODILESS: Final = (101, 204, 304)
_LONG: Final = 2**16
_MODEL: Final = re.compile(rb'"model": ?"([^"]+)"|name="model"\r\n\r\n([^\r]+)\r\n')
_HTML: Final = b"<!doctype html><html><body>a proxy's page</body></html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happens on one call. Faults of a stream count content chunks, those of a plain answer count body bytes."""

    status: int = 200
    reply: str | None = None
    """The text of the answer; a stream sends it word by word."""
    chunks: Sequence[str] | int | None = None
    """The content chunks of a stream, or how many; a plain answer joins them."""
    tool_calls: Sequence[Mapping[str, Any]] | None = None
    """OpenAI `tool_calls`; a stream sends one chunk for each."""
    finish_reason: str | None = None
    """`stop`, or `tool_calls` where there are any, unless said otherwise."""
    usage: Mapping[str, Any] | None = None
    model: str | None = None
    """The model the answer names; the one asked for unless said otherwise."""
    error: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the error object, for a status of 300 and above and for `error_event_after`."""
    body: bytes | str | Mapping[str, Any] | Sequence[Any] | None = None
    """Sent instead of an answer, in stream mode too."""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    """As the answer is unless said otherwise; an empty one is not sent."""
    retry_after: str | float | None = None
    html: bool = False
    """An HTML page, with the status given."""
    wire: bytes | None = None
    """Written to the socket instead of an HTTP response; then the connection closes."""
    reset: bool = False
    """The connection is reset before the response's headers, or at `cut_after` where that is given."""
    close: bool = False
    """The connection closes after a whole response."""
    delay_s: float = 0.0
    """Waited before the first byte of the response."""
    slow_headers: float = 0.0
    """Seconds between the status line and the other headers."""
    chunk_delay_s: float = 0.0
    """Streams: waited before each content chunk."""
    gate: asyncio.Event | None = None
    """With `stall_after`: the silence ends when this is set."""
    cut_after: int | None = None
    """The connection closes after so many content chunks (or bytes)."""
    stall_after: int | None = None
    """Silence after so many content chunks (or bytes), until the client leaves."""
    malformed_after: int | None = None
    """An event whose JSON is broken comes after so many content chunks."""
    error_event_after: int | None = None
    """After so many content chunks comes an `{"error": …}` event, and the end."""
    error_event_name: str | None = None
    """The `event:` field of that error event; its data is then the bare error object."""
    error_event_bare: bool = False
    """That error stands in the stream without being an event."""
    choices: int = 1
    """How many choices an answer has; all say the same."""
    finishes: int | None = None
    """How many of the choices get a finish reason; all unless said otherwise."""
    usage_beside: bool = False
    """A stream's usage comes with the finish reason, not in an event of its own."""
    torn: bool = False
    """The connection closes where the last chunk of a stream's body should be."""
    no_done: bool = False
    no_finish: bool = False
    """No finish reason is ever sent."""
    empty: bool = False
    """Nothing after the headers, but cleanly ended."""
    short_body: bool = False
    """Content-Length promises more than comes; then the connection closes."""
    gzip: bool = False
    crlf: bool = False
    comments: bool = False
    """Streams: a comment before each event."""
    split_bytes: int | None = None
    """Everything after the headers is written in pieces of so many bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Lower-case names."""
    raw: bytes
    body: Any
    """The parsed body; None when it is not JSON."""
    model: str
    time: float
    """`time.monotonic()` when the whole request had been read."""
    connection: int
    """Serial number of the connection, from 1."""


class _ClientLeft(Exception):
    """The client closed its connection before the response was whole."""


class _Cut(Exception):
    """The script wants the connection closed here."""


class ScriptedOpenAI:
    """The server. Unscripted models answer "hello from <model>"; the last outcome of a script stays for ever."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        """The models asked for, in order."""
        self.requests: list[RecordedRequest] = []
        self.disconnects = 0
        """How many clients left before their response was whole."""
        self.connections = 0
        """How many connections were ever accepted."""
        self.port = 0
        self._scripts: dict[str, deque[Outcome]] = {}
        self._changed = asyncio.Condition()
        self._handlers: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        """The endpoint's `base_url`, such as `http://127.0.0.1:40123/v1`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, model: str, /, **outcome: Any) -> Self:
        """Queue one outcome (fields of `Outcome`) for a model."""
        self._scripts.setdefault(model, deque()).append(Outcome(**outcome))
        return self

    def script_key(self, key: str, /, **outcome: Any) -> Self:
        """Queue one outcome for calls with a bearer token, whatever their model."""
        return self.script(f"Bearer {key}", **outcome)

    @property
    def keys(self) -> list[str]:
        """The bearer tokens of all requests, in order."""
        return [request.headers.get("authorization", "").removeprefix("Bearer ") for request in self.requests]

    def reset_script(self, model: str) -> Self:
        """Forget what a model was told to do; the next `script` counts from now."""
        self._scripts.pop(model, None)
        return self

    async def wait_for_calls(self, count: int, timeout: float = 5.0) -> None:
        """Return once so many requests have arrived, all models together; TimeoutError if they never do."""
        await self._wait(lambda: len(self.calls) >= count, timeout)

    async def wait_for_disconnect(self, timeout: float = 5.0, *, count: int = 1) -> None:
        """Return once so many clients have left before their response was whole; TimeoutError if they never do."""
        await self._wait(lambda: self.disconnects >= count, timeout)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**22, backlog=1024)
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

    async def _wait(self, reached: Any, timeout: float) -> None:
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(reached)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        serial = self.connections
        try:
            while (request := await _read_request(reader, serial)) is not None:
                outcome = self._next_outcome(request.headers.get("authorization", ""), request.model)
                self.requests.append(request)
                self.calls.append(request.model)
                await self._notify()
                await _Response(reader, writer, request, outcome, len(self.calls)).send()
        except _ClientLeft:
            self.disconnects += 1
            await self._notify()
        except asyncio.CancelledError:
            writer.transport.abort()
        except (_Cut, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            self._handlers.discard(task)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _next_outcome(self, authorization: str, model: str) -> Outcome:
        queue = self._scripts.get(authorization) or self._scripts.get(model)
        if not queue:
            return Outcome()
        return queue.popleft() if len(queue) > 1 else queue[0]


async def _read_request(
    reader: asyncio.StreamReader, connection: int, *, is_enough: Callable[[bytes], bool] = lambda begun: False
) -> RecordedRequest | None:
    """Return the next request, None at the end. `is_enough`: a long body that begins so is not read further."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        raw = b""
        while size := int(await reader.readline(), 16):
            raw += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        size = int(headers.get("content-length", "0"))
        raw = await reader.readexactly(min(size, _LONG))
        if size > _LONG and not is_enough(raw):
            raw += await reader.readexactly(size - _LONG)
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    model = body.get("model") if isinstance(body, dict) else None
    if model is None and (named := _MODEL.search(raw)):
        model = (named[1] or named[2]).decode()
    return RecordedRequest(
        method=method, path=path, headers=headers, raw=raw, body=body, model=model if isinstance(model, str) else "",
        time=time.monotonic(), connection=connection,
    )  # fmt: skip


class _Response:
    """Writes one response, faults included."""

    _paths: Sequence[str] = _PATHS

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        request: RecordedRequest,
        outcome: Outcome,
        serial: int,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._request = request
        self._outcome = outcome
        self._id = f"chatcmpl-{serial}"
        self._model = outcome.model or request.model
        self._stream = isinstance(request.body, dict) and request.body.get("stream") is True
        known = request.path in self._paths or outcome.body is not None
        self._status = outcome.status if known else 404
        self._gzip = zlib.compressobj(wbits=31) if outcome.gzip else None

    async def send(self) -> None:
        outcome = self._outcome
        await self._pause(outcome.delay_s)
        if outcome.reset and outcome.cut_after is None:
            self._reset()
        if outcome.wire is not None:
            await self._write(outcome.wire)
            raise _Cut
        if (body := self._plain_body()) is None:
            await self._send_stream()
        else:
            await self._send_plain(*body)
        if outcome.close:
            raise _Cut

    def _plain_body(self) -> tuple[bytes, str] | None:
        """Return body and content type, or None when this response is a stream of events."""
        outcome, path = self._outcome, self._request.path
        content: Any
        if outcome.html:
            return _HTML, "text/html"
        if outcome.body is not None:
            content = outcome.body.encode() if isinstance(outcome.body, str) else outcome.body
        elif path not in self._paths:
            content = {"error": {"message": f"no such path: {path}", "type": "invalid_request_error", "code": None}}
        elif outcome.status in _BODILESS:
            content = b""
        elif outcome.status >= 300:
            content = self._error_body()
        elif self._stream and path != "/v1/embeddings":
            return None
        elif outcome.empty:
            content = b""
        else:
            content = self._answer()
        return content if isinstance(content, bytes) else json.dumps(content).encode(), "application/json"

    def _answer(self) -> dict[str, Any]:
        return self._embeddings() if self._request.path == "/v1/embeddings" else self._completion()

    def _error_body(self) -> dict[str, Any]:
        return {"error": self._error()}

    def _error(self) -> dict[str, Any]:
        standard = {
            "message": "scripted error",
            "type": "scripted_error",
            "param": None,
            "code": None,
        }
        return standard | dict(self._outcome.error)

    def _texts(self) -> list[str]:
        outcome = self._outcome
        if isinstance(outcome.chunks, int):
            return [f"chunk{n} " for n in range(outcome.chunks)]
        if outcome.chunks is not None:
            return list(outcome.chunks)
        if outcome.reply is None and outcome.tool_calls:
            return []
        return re.findall(
            r"\S+\s*|\s+", f"hello from {self._request.model}" if outcome.reply is None else outcome.reply
        )

    def _finish_reason(self) -> str | None:
        if self._outcome.no_finish:
            return None
        return self._outcome.finish_reason or ("tool_calls" if self._outcome.tool_calls else "stop")

    def _usage(self) -> dict[str, Any]:
        count = len(self._texts())
        return dict(self._outcome.usage or {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count})

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": 1_700_000_000, "model": self._model}

    def _completion(self) -> dict[str, Any]:
        if self._request.path == "/v1/completions":
            choice: dict[str, Any] = {
                "text": "".join(self._texts()),
                "logprobs": None,
                "finish_reason": self._finish_reason(),
            }
            choices = [{"index": index, **choice} for index in range(self._outcome.choices)]
            return self._envelope("text_completion") | {"choices": choices, "usage": self._usage()}
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._texts())}
        if self._outcome.tool_calls:
            message |= {"content": message["content"] or None, "tool_calls": list(self._outcome.tool_calls)}
        choices = [
            {"index": index, "message": message, "finish_reason": self._finish_reason()}
            for index in range(self._outcome.choices)
        ]
        return self._envelope("chat.completion") | {"choices": choices, "usage": self._usage()}

    def _embeddings(self) -> dict[str, Any]:
        given = self._request.body.get("input")
        count = len(given) if isinstance(given, list) and not (given and isinstance(given[0], int)) else 1
        data = [{"object": "embedding", "index": n, "embedding": [0.6, 0.8, 0.0]} for n in range(count)]
        usage = self._outcome.usage or {"prompt_tokens": count, "total_tokens": count}
        return {"object": "list", "data": data, "model": self._model, "usage": dict(usage)}

    async def _send_plain(self, body: bytes, content_type: str) -> None:
        outcome = self._outcome
        if self._gzip:
            body = self._gzip.compress(body) + self._gzip.flush()
        bodiless = outcome.status in _BODILESS
        length = len(body) + (10 if outcome.short_body else 0)
        await self._send_head(content_type, {} if bodiless else {"content-length": str(length)})
        sent = 0
        for place in sorted(n for n in (outcome.cut_after, outcome.stall_after) if n is not None):
            await self._write(body[sent:place])
            sent = place
            await self._break_at(place)
        await self._write(body[sent:])
        if outcome.short_body:
            raise _Cut

    async def _send_stream(self) -> None:
        outcome = self._outcome
        await self._send_head("text/event-stream; charset=utf-8", {"transfer-encoding": "chunked"})
        if not outcome.empty:
            await self._send_events()
        if self._gzip:
            await self._write_part(self._gzip.flush())
        if outcome.torn:
            raise _Cut
        await self._write(b"0\r\n\r\n")

    async def _send_events(self) -> None:
        outcome = self._outcome
        await self._choice({"role": "assistant", "content": ""})
        texts = self._texts()
        for place in range(len(texts) + 1):
            await self._break_at(place)
            if outcome.malformed_after == place:
                await self._event('{"id": "broken", "choices": [')
            if outcome.error_event_after == place:
                error = self._error()
                await self._event(json.dumps(error if outcome.error_event_name else {"error": error}), error=True)
                return
            if place < len(texts):
                await self._pause(outcome.chunk_delay_s)
                await self._choice({"content": texts[place]})
        for index, tool_call in enumerate(outcome.tool_calls or ()):
            await self._choice({"tool_calls": [{"index": index, **tool_call}]})
        options = self._request.body.get("stream_options")
        usage_wanted = isinstance(options, dict) and bool(options.get("include_usage"))
        beside = {"usage": self._usage()} if usage_wanted and outcome.usage_beside else {}
        if not outcome.no_finish:
            await self._choice({}, self._finish_reason(), **beside)
        if usage_wanted and not beside:
            await self._chunk({"choices": [], "usage": self._usage()})
        if not outcome.no_done:
            await self._event("[DONE]")

    async def _break_at(self, place: int) -> None:
        outcome = self._outcome
        if outcome.stall_after == place:
            await self._stall()
        if outcome.cut_after == place:
            if outcome.reset:
                self._reset()
            raise _Cut

    async def _choice(self, delta: dict[str, Any], finish_reason: str | None = None, **fields: Any) -> None:
        if self._request.path == "/v1/completions":
            if "role" in delta:
                return  # a text has no role
            carried: dict[str, Any] = {"text": delta.get("content", ""), "logprobs": None}
        else:
            carried = {"delta": delta}
        count, finishes = self._outcome.choices, self._outcome.finishes
        for index in range(count if finish_reason is None or finishes is None else finishes):
            choice = {"index": index, **carried, "finish_reason": finish_reason}
            await self._chunk({"choices": [choice], **fields})

    async def _chunk(self, fields: dict[str, Any]) -> None:
        is_text = self._request.path == "/v1/completions"
        await self._event(
            json.dumps(self._envelope("text_completion" if is_text else "chat.completion.chunk") | fields)
        )

    async def _event(self, data: str, *, error: bool = False) -> None:
        text = f"event: {self._outcome.error_event_name}\n" if error and self._outcome.error_event_name else ""
        await self._send_text(
            text + (f"{data}\n\n" if error and self._outcome.error_event_bare else f"data: {data}\n\n")
        )

    async def _send_text(self, text: str) -> None:
        """Send the text of one event."""
        if self._outcome.comments:
            text = f": keep-alive\n\n{text}"
        encoded = text.replace("\n", "\r\n" if self._outcome.crlf else "\n").encode()
        if self._gzip:
            encoded = self._gzip.compress(encoded) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        await self._write_part(encoded)

    async def _write_part(self, data: bytes) -> None:
        """Write one part of a body in transfer-encoding chunked."""
        step = self._outcome.split_bytes or len(data) or 1
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            await self._write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")

    async def _send_head(self, content_type: str, extra: Mapping[str, str]) -> None:
        outcome = self._outcome
        named = content_type if outcome.content_type is None else outcome.content_type
        headers = {**({"content-type": named} if named else {}), **extra}
        if outcome.gzip:
            headers["content-encoding"] = "gzip"
        if outcome.retry_after is not None:
            headers["retry-after"] = str(outcome.retry_after)
        if outcome.close:
            headers["connection"] = "close"
        headers |= outcome.headers
        status_line = f"HTTP/1.1 {self._status} {_REASONS.get(self._status, 'Scripted')}\r\n".encode()
        rest = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode() + b"\r\n"
        if outcome.slow_headers:
            self._writer.write(status_line)
            await self._pause(outcome.slow_headers)
            status_line = b""
        self._writer.write(status_line + rest)
        await self._drain()

    async def _write(self, data: bytes) -> None:
        step = self._outcome.split_bytes or len(data) or 1
        for start in range(0, len(data), step):
            self._writer.write(data[start : start + step])
            await self._drain()
            await asyncio.sleep(0)

    async def _drain(self) -> None:
        if self._reader.at_eof():
            raise _ClientLeft
        try:
            await self._writer.drain()
        except ConnectionError:
            raise _ClientLeft from None

    async def _pause(self, seconds: float) -> None:
        """Wait, and notice a client that leaves meanwhile."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._left()
                    raise _ClientLeft

    async def _stall(self) -> None:
        """Stay silent until the client leaves or the gate opens."""
        gate = self._outcome.gate or asyncio.Event()
        async with asyncio.TaskGroup() as group:
            left = group.create_task(self._left())
            opened = group.create_task(gate.wait())
            await asyncio.wait({left, opened}, return_when=asyncio.FIRST_COMPLETED)
            left.cancel()
            opened.cancel()
        if not left.cancelled():
            raise _ClientLeft

    async def _left(self) -> None:
        """Return once the client has closed its end."""
        try:
            data = await self._reader.read(1)
        except ConnectionError:
            data = b""
        assert not data, "the client sent more before the response was whole"

    def _reset(self) -> None:
        """Close with a TCP reset: what was sent and not yet read may be lost, and no end is announced."""
        with socket.socket(fileno=os.dup(self._writer.get_extra_info("socket").fileno())) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        raise _Cut
