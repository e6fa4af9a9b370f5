"""The usage of a stream comes once, alone, and last, wherever the upstream put it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from gateway.adapters.events import Event
from gateway.operations import CHAT
from gateway.operations.base import UsageLast
from gateway.wire.json import JsonObject

HEAD: Final = {"id": "x", "model": "m"}
COMMENT: Final = Event(None, b": hi\n\n")


def text(words: str, **fields: Any) -> Event:
    return Event(
        {**HEAD, "choices": [{"index": 0, "delta": {"content": words}, "finish_reason": None}], **fields}, b"raw"
    )


def without_usage(words: str) -> Event:
    return Event({**(text(words).data or {}), "usage": None})


def alone(count: int, **fields: Any) -> Event:
    return Event({**HEAD, "choices": [], "usage": counted(count), **fields}, b"own")


def counted(count: int) -> JsonObject:
    return {"total_tokens": count}


def passed(*events: Event) -> list[Event]:
    one_by_one, together = UsageLast(), UsageLast()
    passing = [passed for event in events for passed in one_by_one.passing([event])] + one_by_one.last()
    assert together.passing(list(events)) + together.last() == passing
    return passing


@pytest.mark.parametrize(
    "events",
    [[], [text("a")], [text("a", usage=None), COMMENT], [text("a"), alone(7)], [text("a"), alone(7, choices=[])]],
)
def test_what_is_as_it_should_be_passes_as_it_came(events: list[Event]) -> None:
    assert passed(*events) == events


def test_usage_beside_content_comes_alone_instead() -> None:
    """LangChain adds up the usage of all events: OpenRouter's beside a last empty choice counted twice."""
    events = [text("a", usage=counted(1)), text("b", usage=counted(2))]
    assert passed(*events) == [
        without_usage("a"), without_usage("b"), Event({**HEAD, "choices": [], "usage": counted(2)})
    ]  # fmt: skip


def test_the_name_of_an_event_outlives_its_usage() -> None:
    event = text("a", usage=counted(1))
    event.name = b"chunk"
    assert passed(event)[0] == Event(without_usage("a").data, name=b"chunk")


def test_usage_of_its_own_waits_for_the_end_and_the_newest_counts() -> None:
    assert passed(alone(1), text("a"), alone(2), COMMENT) == [text("a"), COMMENT, alone(2)]
    assert passed(alone(1), text("a", usage=counted(3))) == [
        without_usage("a"),
        Event({**HEAD, "choices": [], "usage": counted(3)}),
    ]


@pytest.mark.parametrize("choices", [{}, {"choices": None}])
def test_a_usage_without_choices_gets_the_empty_list(choices: JsonObject) -> None:
    assert passed(Event({**HEAD, **choices, "usage": counted(1)}, b"own")) == [
        Event({**HEAD, "choices": [], "usage": counted(1)})
    ]


def test_an_error_is_not_held_back_whatever_it_carries() -> None:
    events = [text("a"), Event({"error": {"message": "x"}, "usage": counted(1)})]
    assert passed(*events)[:2] == events


@pytest.mark.parametrize(
    ("params", "overrides", "wanted"),
    [
        ({}, {}, False),
        ({"stream_options": {"include_usage": True}}, {}, True),
        ({"stream_options": {"include_usage": True}}, {"stream_options": None}, False),
        ({"stream_options": {"include_usage": False}}, {"stream_options": {"include_usage": True}}, True),
        ({"stream_options": "yes"}, {}, False),
        ({"stream_options": {"include_usage": True, "continuous_usage_stats": True}}, {}, False),
        ({"stream_options": {"include_usage": True, "continuous_usage_stats": False}}, {}, True),
    ],
)
def test_it_is_asked_for_by_the_request_or_by_the_file(params: Any, overrides: Any, wanted: bool) -> None:
    assert CHAT.usage_wanted(params, overrides) is wanted
