"""A stream of LiteLLM's, checked: it detects truncated streams, adds lost finish reasons, and closes the upstream."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import chain
from typing import Any

from gateway.adapters.base import Event
from gateway.adapters.litellm.call import OurCall
from gateway.adapters.litellm.errors import error_inside, map_error
from gateway.adapters.litellm.translate import chunk_data, finished_dicts
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import Json, JsonObject


class LiteLLMStream:
    """The events of one open stream, as plain dicts. The owner closes it, even before the first event."""

    def __init__(
        self, stream: Any, *, headers: Mapping[str, str], call: OurCall, choices: int, usage_wanted: bool
    ) -> None:
        self.headers = headers
        self._stream = stream
        self._call = call
        self._usage_wanted = usage_wanted
        self._raw = getattr(stream, "completion_stream", None)
        _note_ends(self._raw, call)
        self._tap = _tapped(stream) if choices > 1 else None
        self._source = self._open()
        self._was_read = False
        self._last: JsonObject = {}
        self._finished: set[int] = set()
        self._pending: deque[JsonObject] = deque()
        self._doubtful = False
        """The last pending event has a finish reason that did not come over the wire; it waits for that or the end."""
        self._closed = False

    async def read(self) -> list[Event]:
        """Return the next event, or nothing at the end. Raises UpstreamError, after closing, when the stream breaks."""
        if self._closed:
            return []
        handled = sys.exception()
        try:
            if not self._was_read:
                self._was_read = True
                await self._refuse_plain_error()
            while not self._pending or self._doubtful:
                try:
                    with self._call:  # LiteLLM runs, and prints, only in here
                        item = await anext(self._source, None)
                except Exception as error:
                    mapped = map_error(error, opened=True, key=self._call.key, handled=handled)
                    if mapped is error:
                        raise
                    raise mapped from (error if isinstance(mapped, UpstreamError) else None)
                self._call.asking = False
                self._feed(item)
                if item is None and not self._pending:
                    await self.aclose()
                    return []
            return [Event(self._pending.popleft())]
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Close the upstream's connection. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        raw = getattr(self._stream, "completion_stream", None)
        for part in (self._stream, *_beneath(raw)):
            close = getattr(part, "aclose", None)
            if close is not None:
                # Errors of LiteLLM's generators while closing do not matter.
                with contextlib.suppress(Exception):
                    await close()

    def _open(self) -> AsyncIterator[Any]:
        source = aiter(self._stream) if hasattr(self._stream, "__aiter__") else self._stream
        return source if type(self._stream).__module__.startswith("litellm.") else finished_dicts(source)

    async def _refuse_plain_error(self) -> None:
        """Raise the error that came as one JSON body, which LiteLLM takes for an empty stream.

        LiteLLM can still read any other body. In a process of our own `wire` has raised it already.
        """
        response = _plain_response(self._raw)
        if response is not None:
            with contextlib.suppress(Exception):
                await response.aread()
            if (error := error_inside(response, key=self._call.key)) is not None:
                raise error

    def _feed(self, item: Any) -> None:
        """Take the next item, None at the end, and note finish reasons.

        Raises UpstreamError for one that LiteLLM invented: the upstream's stream was truncated.
        """
        self._doubtful = False
        if item is None:
            if self._call.broken is not None or self._call.unfinished:
                raise self._call.broken or UpstreamError(Kind.BAD_RESPONSE, status=200)
            self._pending.extend(self._unfinished())
            return
        data = chunk_data(item, model=getattr(self._stream, "_provider_response_model", None))
        choices = data.get("choices")
        if choices == [] and data.get("usage"):
            self._pending.extend(self._unfinished())
            if self._usage_wanted:
                self._pending.append(data)
            return
        self._pending.append(data)
        self._last = data
        finished: set[int] = set()
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and choice.get("finish_reason"):
                finished.add(_index(choice.get("index")))
        if not finished:
            return
        self._finished |= finished
        received = getattr(self._stream, "received_finish_reason", "unknown")
        if received is None and getattr(self._stream, "intermittent_finish_reason", None) is None:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        self._doubtful = bool(self._call.begun) and not self._call.finished
        if self._tap is not None and self._tap.reasons and not self._tap.reasons.keys() >= finished:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)

    def _unfinished(self) -> Iterator[JsonObject]:
        """Yield events with the finish reasons that LiteLLM drops: those of the second and further choices."""
        for index, reason in sorted(self._tap.reasons.items()) if self._tap else ():
            if index not in self._finished:
                self._finished.add(index)
                yield {**self._last, "choices": [{"index": index, "delta": {}, "finish_reason": reason}]}


class _FinishTap:
    """Iterates the stream below LiteLLM for it, and notes each choice's finish reason."""

    def __init__(self, source: Any) -> None:
        self.reasons: dict[int, str] = {}
        self._source = source
        self._iterator = aiter(source)

    def __aiter__(self) -> _FinishTap:
        return self

    async def __anext__(self) -> Any:
        item = await anext(self._iterator)
        for choice in getattr(item, "choices", None) or ():
            reason = getattr(choice, "finish_reason", None)
            if isinstance(reason, str):
                self.reasons[_index(getattr(choice, "index", 0))] = reason
        return item

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def _tapped(stream: Any) -> _FinishTap | None:
    source = getattr(stream, "completion_stream", None)
    if not hasattr(source, "__aiter__"):
        return None
    tap = _FinishTap(source)
    stream.completion_stream = tap
    return tap


def _note_ends(raw: Any, call: OurCall) -> None:
    """Have LiteLLM's iterator note the finish reasons of the events that it reads: for Google's it invents them.

    In a process of our own `wire` has noted them already.
    """
    parse = getattr(raw, "chunk_parser", None)
    if parse is None or not type(raw).__module__.startswith("litellm."):
        return

    def parse_noted(*args: Any, **kwargs: Any) -> Any:
        for event in (*args, *kwargs.values()):
            if isinstance(event, dict):
                call.note(event)
        return parse(*args, **kwargs)

    raw.chunk_parser = parse_noted


def _beneath(raw: Any) -> Iterator[Any]:
    """Yield what LiteLLM does not close: the HTTP response under its iterator.

    The iterator holds httpx's generator of lines. Closing a generator that never ran does not close its response, so
    that is taken from the generator's frame. Newer releases keep the response in the iterator.
    """
    lines = getattr(raw, "streaming_response", None)
    if lines is not None:
        yield lines
        frame = getattr(lines, "ag_frame", None)
        if frame is not None and (response := frame.f_locals.get("self")) is not None:
            yield response
    for name in ("http_response", "_response"):
        if (response := getattr(raw, name, None)) is not None:
            yield response


def _plain_response(raw: Any) -> Any:
    """Return the unread HTTP response of a stream if its body is plain JSON; else None."""
    for response in chain((getattr(raw, "response", None),), _beneath(raw)):
        headers = getattr(response, "headers", None)
        kind = headers.get("content-type") if isinstance(headers, Mapping) else None
        if isinstance(kind, str):
            return response if kind.partition(";")[0].strip().lower() == "application/json" else None
    return None


def _index(value: Json) -> int:
    return value if isinstance(value, int) else 0
