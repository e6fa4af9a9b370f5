"""Answers of each wire, and what they are to be called: as the vendors' SDKs would see them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.failover.client import Ending, Heard
from tests.failover.judge import Word, read
from tests.failover.reading import READERS
from tests.failover.scenario import Wire


def heard(*events: dict[str, Any] | bytes, ending: Ending = Ending.WHOLE) -> Heard:
    body = b"".join(event if isinstance(event, bytes) else named(event) for event in events)
    return Heard(1.0, 1.5, 200, {"content-type": "text/event-stream"}, body, ending, [(0.1, len(body))])


def named(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\n".encode() + unnamed(event)


def unnamed(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def response(text: str, status: str = "completed", **fields: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}]
    return {
        "object": "response", "status": status, "output": [{"type": "message", "content": content}],
        "usage": {"output_tokens": 1}, **fields,
    }  # fmt: skip


def delta(text: str) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "delta": text}


CREATED = {"type": "response.created", "response": response("", "in_progress")}
COMPLETED = {"type": "response.completed", "response": response("one")}
FAILED = {"type": "response.failed", "response": response("", "failed", error={"code": "server_error"})}
NO = {"message": "no", "code": "server_error"}

START = {"type": "message_start", "message": {"content": []}}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
SAID = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "one"}}
STOP = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}
END = {"type": "message_stop"}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}


@pytest.mark.parametrize(
    ("got", "word", "why"),
    [
        (heard(CREATED, delta("one"), COMPLETED), Word.COMPLETE, ""),
        (heard(CREATED, delta("on"), COMPLETED), Word.UNCLEAN, "the last event says 3 characters, the deltas 2"),
        (heard(CREATED, delta("one")), Word.TRUNCATED, "a clean end of an unfinished answer"),
        (heard(CREATED), Word.NO_ANSWER, "a clean end of an unfinished answer"),
        (heard(CREATED, delta("one"), ending=Ending.CUT), Word.BROKEN, "cut without an error event"),
        (heard(delta("one"), FAILED), Word.BROKEN, ""),
        (heard(delta("one"), {"type": "error", "error": NO}), Word.BROKEN, ""),
        (heard(delta("one"), {"type": "error", **NO}), Word.BROKEN, "OpenAI's SDKs raise nothing for this error event"),
        (heard(delta("one"), b"data: {broken\n\n"), Word.UNCLEAN, "an event that is no JSON"),
    ],
)
def test_a_stream_of_responses_is_called_what_a_client_can_know_of_it(got: Heard, word: Word, why: str) -> None:
    found = read(got, "stream", "responses")
    assert (found.word, found.why) == (word, why)


@pytest.mark.parametrize(
    ("got", "word", "why"),
    [
        (heard(START, BLOCK, SAID, STOP, END), Word.COMPLETE, ""),
        (heard(START, BLOCK, SAID, STOP), Word.UNCLEAN, "the event that ends a stream is missing"),
        (heard(START, BLOCK, SAID, END), Word.TRUNCATED, "a clean end of an unfinished answer"),
        (heard(START, BLOCK, SAID, STOP, END, ending=Ending.CUT), Word.BROKEN, "the response breaks off at its end"),
        (heard(START, BLOCK, SAID, OVERLOADED), Word.BROKEN, ""),
        (heard(START, OVERLOADED, STOP, END), Word.BROKEN, "an end as of a whole stream beside an error event"),
        # Anthropic's SDKs pass over an event without a name.
        (heard(START, SAID, unnamed(OVERLOADED)), Word.TRUNCATED, "a clean end of an unfinished answer"),
    ],
)
def test_a_stream_of_messages_is_called_what_a_client_can_know_of_it(got: Heard, word: Word, why: str) -> None:
    found = read(got, "stream", "messages")
    assert (found.word, found.why) == (word, why)


def test_tool_calls_and_usage_of_each_wire_are_read() -> None:
    call = {"type": "function_call", "name": "f", "arguments": ""}
    of_responses = heard(
        {"type": "response.output_item.added", "output_index": 0, "item": call},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"a":1}'},
        {"type": "response.completed", "response": response("") | {"output": [{**call, "arguments": '{"a": 1}'}]}},
    )
    of_messages = heard(
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "f", "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'}},
        STOP, END,
    )  # fmt: skip
    for got in (read(of_responses, "stream", "responses"), read(of_messages, "stream", "messages")):
        assert (got.word, got.text, got.usage_last, got.first_content_s) == (Word.COMPLETE, 'f{"a": 1}', True, 0.1)


@pytest.mark.parametrize(
    ("body", "content_type", "ending", "word"),
    [
        (b"sound", "audio/mpeg", Ending.WHOLE, Word.COMPLETE),
        (b"sou", "audio/mpeg", Ending.CUT, Word.BROKEN),
        (b"", "audio/mpeg", Ending.WHOLE, Word.NO_ANSWER),
        (b'{"error": {"message": "no"}}', "application/json", Ending.WHOLE, Word.UNCLEAN),
        (b"{}", "application/json", Ending.WHOLE, Word.NO_ANSWER),
    ],
)
def test_bytes_have_no_end_but_that_of_the_response(body: bytes, content_type: str, ending: Ending, word: Word) -> None:
    got = read(Heard(1.0, 1.5, 200, {"content-type": content_type}, body, ending), "plain", "speech")
    assert got.word is word


def test_events_of_sound_and_of_its_text_are_read() -> None:
    said = heard({"type": "speech.audio.delta", "audio": "b25l"}, {"type": "speech.audio.done", "usage": {"x": 1}})
    text = {"type": "transcript.text.delta", "delta": "one"}
    done = {"type": "transcript.text.done", "text": "one", "usage": {"x": 1}}
    for got in (read(said, "stream", "speech"), read(heard(text, done), "stream", "transcriptions")):
        assert (got.word, got.text, got.usage_last) == (Word.COMPLETE, "one", True)
    assert read(heard(text, text, done), "stream", "transcriptions").word is Word.UNCLEAN
    assert read(heard(text, {"type": "error", "error": NO}), "stream", "transcriptions").word is Word.BROKEN


@pytest.mark.parametrize(
    ("wire", "answer", "word"),
    [
        ("responses", response("one"), Word.COMPLETE),
        ("responses", response("one", "in_progress"), Word.NO_ANSWER),
        ("responses", response("", "failed", error=NO), Word.UNCLEAN),
        ("messages", {"type": "message", "content": [], "stop_reason": "end_turn"}, Word.COMPLETE),
        ("messages", {"type": "message", "content": [], "stop_reason": None}, Word.NO_ANSWER),
        ("messages", OVERLOADED, Word.UNCLEAN),
        ("transcriptions", {"text": ""}, Word.COMPLETE),
        ("transcriptions", {}, Word.NO_ANSWER),
    ],
)
def test_a_plain_answer_is_called_what_it_is(wire: Wire, answer: dict[str, Any], word: Word) -> None:
    got = Heard(1.0, 1.5, 200, {"content-type": "application/json"}, json.dumps(answer).encode(), Ending.WHOLE)
    assert read(got, "plain", wire).word is word


def test_an_error_has_to_have_the_shape_of_its_wire() -> None:
    openai = {"error": {"message": "no", "type": "x"}}
    assert READERS["messages"].error(openai) is None
    assert READERS["messages"].error(OVERLOADED) == OVERLOADED["error"]
    assert READERS["responses"].error(openai) == openai["error"]


def test_our_own_errors_are_worded_as_their_wire_words_their_status() -> None:
    error = {"type": "overloaded_error", "message": "no"}
    assert READERS["messages"].code_fault(error, 503, None) is None
    assert READERS["messages"].code_fault(error, 502, None) == "type overloaded_error, not api_error"
    assert READERS["chat"].code_fault({"code": "a"}, 400, "b") == "code a, not b"
