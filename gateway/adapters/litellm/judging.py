"""Judges the body of a good response before LiteLLM reads it, which would invent what is missing."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.adapters.base import plain_answer
from gateway.adapters.events import Event
from gateway.adapters.litellm.bodies import error_in, has_end, tells_usage
from gateway.adapters.litellm.call import OurCall
from gateway.policy.failures import answer_error, error_object, failed_by, no_answer
from gateway.wire.json import Json, JsonObject, json_in


def check_answer(raw: bytes, ours: OurCall, headers: Iterable[str], *, is_answer: bool) -> None:
    """Raise UpstreamError for a plain body that is no answer, and note in `ours` whether it tells token counts.

    `is_answer`: it answers the call itself, not a download that LiteLLM makes for it. An answer that does not say how
    it ended is refused because LiteLLM would invent that.
    """
    value = json_in(raw)
    said = error_in(value)
    if said is not None and is_answer:
        raise failed_by(said)
    if isinstance(value, dict) and (failed := answer_error(value)) is not None:
        raise failed_by(error_object(value) or failed)
    # A stream labelled as JSON is no JSON: it is read for what it is.
    is_stream = ours.streaming and value is None and bool(raw.strip())
    if is_answer and not is_stream and not (value and (isinstance(value, list) or _is_finished(value))):
        raise no_answer()
    if is_answer:
        ours.usage_told = tells_usage(value, headers)


def refuse_failed(data: JsonObject) -> None:
    """Raise UpstreamError for an event that tells a failure, on any vendor's wire."""
    said = error_in(data)
    failed = said if said is not None else answer_error(data)
    if failed is not None:
        raise failed_by(error_object(data) or failed)


def answer_as_events(raw: bytes, ours: OurCall) -> list[Event]:
    """Return a plain body that came instead of a stream as events. Raises UpstreamError for one that is no answer."""
    value = json_in(raw)
    said = error_in(value)
    if said is not None:
        raise failed_by(said)
    events = plain_events(value, ours)
    if events is None:
        raise no_answer()
    return events


def plain_events(value: Json, ours: OurCall) -> list[Event] | None:
    """Return a plain answer as the events of a stream; None if it is no answer."""
    return plain_answer(value, ours.operation) if ours.operation is not None else None


def _is_finished(value: Json) -> bool:
    return isinstance(value, dict) and has_end(value)
