"""What is an answer of Gemini's, whole or not, and whose failure it is otherwise."""

from __future__ import annotations

import pytest

from gateway.adapters.text_runs import shape_of
from gateway.operations import OPERATIONS
from gateway.operations.generate import BatchEmbed, CountContents, GenerateContent
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.target import GEMINI_OPERATIONS
from gateway.wire.json import JsonObject
from tests.unit.adapters.gemini.shapes import USAGE, answered, called, candidate, piece, said, text
from tests.wires import gemini

GENERATE, EMBED, COUNT = GenerateContent(), BatchEmbed(), CountContents()
BLOCKED: JsonObject = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}


def kind_of(data: JsonObject) -> Kind | None:
    try:
        GENERATE.check_reply(data)
    except UpstreamError as error:
        return error.kind
    return None


def test_no_client_asks_for_them() -> None:
    assert (GENERATE.name, EMBED.name, COUNT.name) == GEMINI_OPERATIONS
    assert not set(GEMINI_OPERATIONS) & OPERATIONS.keys()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (said(text("a")), None),
        (said(), None),
        (said(text("a"), finish="SAFETY"), None),
        (answered(candidate(text("a"), finish="STOP"), candidate(text("b"), finish="MAX_TOKENS", index=1)), None),
        (answered(candidate(text("a"), finish="STOP"), candidate(text("b"), index=1)), Kind.BAD_RESPONSE),
        (piece(text("a")), Kind.BAD_RESPONSE),
        (said(text("a"), finish="FINISH_REASON_UNSPECIFIED"), Kind.BAD_RESPONSE),
        (said(text("a"), finish="MALFORMED_FUNCTION_CALL"), Kind.BAD_RESPONSE),
        ({"candidates": []}, Kind.BAD_RESPONSE),
        ({"candidates": 7}, Kind.BAD_RESPONSE),
        ({"candidates": [7]}, Kind.BAD_RESPONSE),
        ({}, Kind.BAD_RESPONSE),
        (BLOCKED, Kind.CONTENT_FILTER),
        ({**BLOCKED, "candidates": []}, Kind.CONTENT_FILTER),
        ({"promptFeedback": {}}, Kind.BAD_RESPONSE),
        ({"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}, Kind.OVERLOADED),
    ],
)
def test_a_plain_answer(data: JsonObject, kind: Kind | None) -> None:
    found = kind_of(data)
    assert found is kind or (kind is Kind.BAD_RESPONSE and found is Kind.SERVER_ERROR)


@pytest.mark.parametrize(
    "data", [{}, {"embeddings": []}, {"embeddings": [{"values": []}]}, {"embeddings": [7]}, {"error": {"code": 500}}]
)
def test_embeddings_that_are_none(data: JsonObject) -> None:
    with pytest.raises(UpstreamError):
        EMBED.check_reply(data)


def test_embeddings() -> None:
    EMBED.check_reply({"embeddings": [{"values": [0.5]}]})


@pytest.mark.parametrize("data", [{}, {"totalTokens": "7"}, {"totalTokens": True}, {"error": {"code": 500}}])
def test_a_count_is_a_number(data: JsonObject) -> None:
    with pytest.raises(UpstreamError):
        COUNT.check_reply(data)
    COUNT.check_reply({"totalTokens": 0})


@pytest.mark.parametrize(
    ("events", "has_content", "is_whole"),
    [
        ([], False, False),
        ([{"usageMetadata": USAGE}], False, False),
        ([piece(text(""))], False, False),
        ([piece(text("a"))], True, False),
        ([piece(text("a", thought=True))], True, False),
        ([piece(called())], True, False),
        ([piece(text("a")), said()], True, True),
        ([said()], False, True),
        ([said(), {"usageMetadata": USAGE}], False, True),
        ([answered({"finishReason": "STOP"}, {"content": {"parts": [text("a")]}})], True, False),
        ([answered({"finishReason": "STOP"}, {"finishReason": "STOP"})], False, True),
    ],
)
def test_a_stream(events: list[JsonObject], has_content: bool, is_whole: bool) -> None:
    judge = GENERATE.judge()
    for event in events:
        judge.see(event)
    judge.skip(b"")
    assert (judge.has_content, judge.is_whole, judge.next_number) == (has_content, is_whole, 0)


def test_a_stream_tells_its_newest_counts() -> None:
    judge = GENERATE.judge()
    assert judge.tokens is None
    judge.see(piece(text("a")))
    judge.see(answered(candidate(text("b")), usage={"promptTokenCount": 1, "candidatesTokenCount": 9}))
    assert judge.tokens == {"prompt": 1, "completion": 9}
    assert GENERATE.tokens(said()) == {"prompt": 10, "completion": 5}
    assert GENERATE.tokens({}) is None


@pytest.mark.parametrize(
    "data", [{"candidates": 7}, {"candidates": [7]}, BLOCKED, {"error": {"code": 500, "message": "x"}}]
)
def test_a_stream_that_fails(data: JsonObject) -> None:
    with pytest.raises(UpstreamError):
        GENERATE.judge().see(data)


def test_feedback_after_content_is_none() -> None:
    judge = GENERATE.judge()
    judge.see(said(text("a")))
    judge.see(BLOCKED)
    assert judge.is_whole


def test_only_events_with_one_text_are_alike() -> None:
    event = piece(text("a"))
    assert GENERATE.varying(event) == {"text": "a", "candidatesTokenCount": 5, "totalTokenCount": 15}
    bare = {"candidates": [candidate(text("a"))]}
    assert GENERATE.varying(bare) == {"text": "a"}
    shape = shape_of(gemini.event(event), event, GENERATE.varying)
    assert shape is not None
    other = gemini.event(
        answered(candidate(text("bc")), usage={**USAGE, "candidatesTokenCount": 123, "totalTokenCount": 7})
    )
    assert shape.measure(other, 0) == len(other)
    for unlike in (piece(text("a", thought=True)), piece(called()), said(text("a")), piece(text("a"), index=1)):
        assert shape.measure(gemini.event(unlike), 0) == 0


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"candidates": [7]},
        {"candidates": [{"content": 7}]},
        piece(),
        piece(text("")),
        piece(text("a"), text("b")),
        piece(text("a", thought=True)),
        piece(text("a"), logprobsResult={}),
        piece(text("a"), index=1),
        said(text("a")),
        answered(candidate(text("a")), candidate(text("b"), index=1)),
    ],
)
def test_events_that_say_more_are_parsed(data: JsonObject) -> None:
    assert GENERATE.varying(data) is None


def test_what_hooks_and_plain_answers_ask() -> None:
    assert GENERATE.is_answer(said())
    assert GENERATE.is_answer(BLOCKED)
    assert not GENERATE.is_answer({"error": {}})
    assert GENERATE.is_text_event(piece(text("a")))
    assert not GENERATE.is_text_event(said())
    assert GENERATE.is_final_event(said())
    assert not GENERATE.is_final_event(piece(text("a")))
    assert [event.data for event in GENERATE.as_events(said())] == [said()]
