"""A stream of LiteLLM's, checked: it detects truncated streams, adds lost finish reasons, and closes the upstream."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from gateway.adapters.events import Event
from gateway.adapters.litellm.beneath import beneath, plain_response, tapped, without_signs
from gateway.adapters.litellm.call import OurCall
from gateway.adapters.litellm.errors import error_inside, map_error
from gateway.adapters.litellm.translate import chunk_data, finished_dicts
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.finish import index_of
from gateway.wire.json import JsonObject


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
        self._tap = tapped(stream, call)
        self._several = choices > 1
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
                    mapped = map_error(error, opened=True, handled=handled)
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
        for part in (self._stream, *beneath(raw)):
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
        response = plain_response(self._raw)
        if response is not None:
            with contextlib.suppress(Exception):
                await response.aread()
            if (error := error_inside(response)) is not None:
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
            if self._usage_wanted and self._call.usage is not None and self._last:
                self._pending.append({**self._last, "choices": [], "usage": self._call.usage})
                self._call.usage = None
            return
        data = chunk_data(item, model=getattr(self._stream, "_provider_response_model", None))
        choices = data.get("choices")
        if choices == [] and data.get("usage"):
            self._pending.extend(self._unfinished())
            if self._usage_wanted and self._call.usage is None and self._is_told(data["usage"]):
                self._pending.append(data)
            return
        if self._call.refused:
            without_signs(data)
        self._pending.append(data)
        self._last = data
        finished: set[int] = set()
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and choice.get("finish_reason"):
                finished.add(index_of(choice.get("index")))
        if not finished:
            return
        self._finished |= finished
        received = getattr(self._stream, "received_finish_reason", "unknown")
        if received is None and getattr(self._stream, "intermittent_finish_reason", None) is None:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        self._doubtful = bool(self._call.begun) and not self._call.finished
        reasons = self._tap.reasons if self._tap is not None and self._several else None
        if reasons and not reasons.keys() >= finished:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)

    def _is_told(self, usage: JsonObject) -> bool:
        """Tell whether an event had token counts, and remove from `usage` the details that none had.

        LiteLLM counts itself what the upstream did not tell.
        """
        chunks = getattr(self._stream, "chunks", None)
        if not chunks:
            return True
        told = [one for chunk in chunks if (one := getattr(chunk, "usage", None)) is not None]
        for name in ("completion_tokens_details", "prompt_tokens_details"):
            if not any(getattr(one, name, None) for one in told):
                usage.pop(name, None)
        return bool(told)

    def _unfinished(self) -> Iterator[JsonObject]:
        """Yield events with the finish reasons that LiteLLM drops: those of the second and further choices."""
        for index, reason in sorted(self._tap.reasons.items()) if self._tap is not None and self._several else ():
            if index not in self._finished:
                self._finished.add(index)
                yield {**self._last, "choices": [{"index": index, "delta": {}, "finish_reason": reason}]}
