"""Streams of images and sound: what is content, what makes them whole, what is an error in them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.operations import OPERATIONS
from gateway.operations.typed_events import BytesJudge
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import JsonObject

IMAGES, SPEECH = OPERATIONS["images"], OPERATIONS["speech"]


@pytest.mark.parametrize(
    ("name", "content", "end"),
    [
        ("images", "image_generation.partial_image", "image_generation.completed"),
        ("speech", "speech.audio.delta", "speech.audio.done"),
    ],
)
def test_content_commits_and_the_end_makes_it_whole(name: str, content: str, end: str) -> None:
    judge = OPERATIONS[name].judge()
    judge.see({"type": "note"})
    judge.see({"other": 1})
    assert not judge.has_content
    judge.see({"type": content, "audio": "AAAA"})
    judge.skip(b"run")
    assert (judge.has_content, judge.is_whole, judge.next_number) == (True, False, 0)
    judge.see({"type": end, "usage": {"input_tokens": 1, "output_tokens": 2}})
    assert (judge.is_whole, judge.tokens) == (True, {"prompt": 1, "completion": 2})


@pytest.mark.parametrize(
    ("name", "empty"),
    [
        ("speech", {"type": "speech.audio.delta", "audio": ""}),
        ("transcriptions", {"type": "transcript.text.delta", "delta": ""}),
    ],
)
def test_an_empty_delta_is_no_content(name: str, empty: JsonObject) -> None:
    judge = OPERATIONS[name].judge()
    judge.see(empty)
    assert not judge.has_content


@pytest.mark.parametrize(
    ("params", "overrides", "ends"),
    [
        ({}, {}, 1), ({"n": 2}, {}, 2), ({"n": "2"}, {}, 2), ({"n": 2}, {"n": 1}, 1), ({"n": 2}, {"n": None}, 1),
        ({"n": 0}, {}, 1), ({"n": -1}, {}, 1), ({"n": True}, {}, 1), ({"n": "many"}, {}, 1), ({"n": "9" * 9}, {}, 1),
    ],
)  # fmt: skip
def test_each_image_that_was_asked_for_must_come(params: Any, overrides: Any, ends: int) -> None:
    judge = IMAGES.judge_for(params, overrides)
    for _ in range(ends):
        assert not judge.is_whole
        judge.see({"type": "image_generation.completed"})
    assert judge.is_whole


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"code": "rate_limit_exceeded"}}, Kind.RATE_LIMIT),
        ({"type": "error", "error": {"type": "overloaded_error"}}, Kind.OVERLOADED),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "later"}, Kind.RATE_LIMIT),
        ({"type": "error"}, Kind.SERVER_ERROR),
    ],
)
def test_an_error_has_its_kind(event: Any, kind: Kind) -> None:
    with pytest.raises(UpstreamError) as told:
        SPEECH.judge().see(event)
    assert told.value.kind is kind


def test_bytes_are_whole_once_there_are_any() -> None:
    judge = BytesJudge()
    judge.see({})
    judge.skip(b"")
    assert (judge.is_whole, judge.has_content, judge.tokens, judge.next_number) == (False, False, None, 0)
    judge.skip(b"x")
    assert judge.is_whole


@pytest.mark.parametrize(
    ("name", "event", "has_text", "is_final"),
    [
        ("transcriptions", {"type": "transcript.text.delta", "delta": "a"}, True, False),
        ("transcriptions", {"type": "transcript.text.done", "text": "a"}, True, True),
        ("transcriptions", {"choices": [{"delta": {"content": "a"}}]}, True, False),
        ("transcriptions", {"choices": [{"delta": {}, "finish_reason": "stop"}]}, False, True),
        ("images", {"type": "image_generation.completed"}, True, True),
        ("speech", {"type": "speech.audio.done"}, False, True),
        ("speech", {"type": "note"}, False, False),
    ],
)
def test_post_hooks_get_the_events_that_they_ask_for(name: str, event: Any, has_text: bool, is_final: bool) -> None:
    operation = OPERATIONS[name]
    assert (operation.is_text_event(event), operation.is_final_event(event)) == (has_text, is_final)
