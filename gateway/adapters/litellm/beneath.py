"""Reaches under LiteLLM's streams: notes what LiteLLM loses of an upstream's events, and finds the HTTP response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

from gateway.adapters.content_types import JSON, content_type
from gateway.adapters.litellm.call import OurCall
from gateway.policy.finish import index_of
from gateway.wire.json import Json, JsonObject

_SIGN: Final = "gateway_refusal"
"""Type of the annotation that marks a delta with a refusal: LiteLLM skips an event with nothing but a refusal."""


class Tap:
    """Iterates the stream of OpenAI's SDK for LiteLLM, and notes what LiteLLM loses of its events."""

    def __init__(self, source: Any, call: OurCall) -> None:
        self.reasons: dict[int, str] = {}
        """Finish reasons by choice."""
        self._source = source
        self._iterator = aiter(source)
        self._call = call

    def __aiter__(self) -> Tap:
        return self

    async def __anext__(self) -> Any:
        item = await anext(self._iterator)
        for choice in getattr(item, "choices", None) or ():
            reason = getattr(choice, "finish_reason", None)
            if isinstance(reason, str):
                self.reasons[index_of(getattr(choice, "index", 0))] = reason
                _note_usage(getattr(choice, "usage", None), self._call)
            delta: Any = getattr(choice, "delta", None)
            if getattr(delta, "refusal", None) and not isinstance(delta, dict):
                delta.annotations = [{"type": _SIGN}]
                self._call.refused = True
        return item

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def tapped(stream: Any, call: OurCall) -> Tap | None:
    """Note what LiteLLM loses of a stream's events: in its own iterator, or in a Tap, which is returned."""
    source = getattr(stream, "completion_stream", None)
    if not hasattr(source, "__aiter__"):
        return None
    if hasattr(source, "chunk_parser"):
        _watch_parser(source, call)
        return None
    tap = Tap(source, call)
    stream.completion_stream = tap
    return tap


def _watch_parser(iterator: Any, call: OurCall) -> None:
    """Have LiteLLM's iterator for a provider show us each decoded event first."""
    parse = iterator.chunk_parser

    def parse_noted(*args: Any, **kwargs: Any) -> Any:
        for event in (*args, *kwargs.values()):
            if isinstance(event, dict):
                call.note(event)
                _note_losses(event, call)
        return parse(*args, **kwargs)

    iterator.chunk_parser = parse_noted


def _note_losses(event: JsonObject, call: OurCall) -> None:
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            _note_usage(choice.get("usage"), call)
            delta = choice.get("delta")
            if isinstance(delta, dict) and delta.get("refusal"):
                delta["annotations"] = [{"type": _SIGN}]
                call.refused = True


def _note_usage(usage: Json, call: OurCall) -> None:
    """Note the token counts that Moonshot tells beside the last choice."""
    if isinstance(usage, dict):
        call.usage = usage


def without_signs(data: JsonObject) -> None:
    """Remove the marks of refusals from an event."""
    for choice in data.get("choices") or ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict) and any(_is_sign(one) for one in delta.get("annotations") or ()):
            del delta["annotations"]


def _is_sign(annotation: Json) -> bool:
    return isinstance(annotation, dict) and annotation.get("type") == _SIGN


def beneath(raw: Any) -> Iterator[Any]:
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


def plain_response(raw: Any) -> Any:
    """Return the unread HTTP response of a stream if its body is plain JSON; else None."""
    for response in chain((getattr(raw, "response", None),), beneath(raw)):
        headers = getattr(response, "headers", None)
        kind = headers.get("content-type") if isinstance(headers, Mapping) else None
        if isinstance(kind, str):
            return response if content_type(kind) == JSON else None
    return None
